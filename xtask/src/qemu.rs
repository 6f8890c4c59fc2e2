//! QEMU: finding it, describing a guest, running it.

use clap::ValueEnum;
use std::error::Error;
use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

const QEMU: &str = "qemu-system-x86_64";
/// Debian's package of it.
const PACKAGE: &str = "qemu-system-x86";

/// Statuses that the kernel ends QEMU with; see `exit.rs` of the kernel.
const SUCCESS: i32 = 33;
const FAILURE: i32 = 35;

/// A kind of machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Machine {
    /// A PC: firmware, ACPI with an RSDT, an HPET.
    Q35,
    /// A minimal machine: ACPI with an XSDT, no HPET.
    Microvm,
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Q35 => "q35",
            Self::Microvm => "microvm",
        })
    }
}

/// A guest.
#[derive(Clone, Debug)]
pub(crate) struct Guest {
    pub(crate) machine: Machine,
    /// QEMU's name of the processor, with features if any.
    pub(crate) cpu: String,
    pub(crate) processors: u32,
    /// Size with a unit, as QEMU takes it.
    pub(crate) memory: String,
    pub(crate) kernel: PathBuf,
    pub(crate) command_line: String,
    pub(crate) initramfs: Option<PathBuf>,
}

/// Where the guest's serial port leads.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Serial<'a> {
    /// To the terminal this runs in. Ctrl-A x ends QEMU, Ctrl-C goes to the guest.
    Terminal,
    /// To a file.
    File(&'a Path),
}

/// How a guest ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The kernel reported success.
    Success,
    /// The kernel reported failure.
    Failure,
    /// It did neither in time, and was ended.
    Timeout(Duration),
    /// QEMU ended by itself.
    Other(ExitStatus),
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Success => f.write_str("success"),
            Self::Failure => f.write_str("the kernel reported failure"),
            Self::Timeout(after) => write!(f, "no end after {} s", after.as_secs()),
            Self::Other(status) => write!(f, "QEMU ended with {status}"),
        }
    }
}

/// Makes sure that QEMU is there: installs it as root on Debian, else says what to install.
pub(crate) fn require() -> Result<(), Box<dyn Error>> {
    let present = || {
        let version = Command::new(QEMU).arg("--version").stdout(Stdio::null()).status();
        version.is_ok_and(|status| status.success())
    };
    if present() {
        return Ok(());
    }
    let root = std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
    if root {
        eprintln!("{QEMU} is missing; installing {PACKAGE}");
        let _ = Command::new("apt-get")
            .args(["install", "-y", "--no-install-recommends", PACKAGE])
            .env("DEBIAN_FRONTEND", "noninteractive")
            // Standard output belongs to the command that called us.
            .stdout(Stdio::null())
            .status();
        if present() {
            return Ok(());
        }
    }
    Err(format!("{QEMU} is missing; install Debian's package {PACKAGE}, or your system's").into())
}

impl Guest {
    fn command(&self, serial: Serial<'_>) -> Command {
        let mut command = Command::new(QEMU);
        command
            .args(["-machine", &self.machine.to_string()])
            .args(["-cpu", &self.cpu])
            .args(["-smp", &self.processors.to_string()])
            .args(["-m", &self.memory])
            // One host thread per processor: with a single one no store is ever delayed, and a
            // missing barrier could not show.
            .args(["-accel", "tcg,thread=multi"])
            .args(["-nodefaults", "-display", "none", "-no-reboot"])
            .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=4"])
            .arg("-kernel")
            .arg(&self.kernel)
            .args(["-append", &self.command_line]);
        if let Some(initramfs) = &self.initramfs {
            command.arg("-initrd").arg(initramfs);
        }
        match serial {
            Serial::Terminal => {
                command.args(["-serial", "mon:stdio"]);
            }
            Serial::File(path) => {
                command.arg("-serial").arg(format!("file:{}", path.display()));
                command.stdin(Stdio::null());
            }
        }
        command
    }

    /// Runs the guest to its end, or until `timeout` has passed.
    pub(crate) fn run(
        &self,
        serial: Serial<'_>,
        timeout: Option<Duration>,
    ) -> Result<Ending, Box<dyn Error>> {
        let mut qemu = self.command(serial).spawn()?;
        let start = Instant::now();
        let status = loop {
            if let Some(status) = qemu.try_wait()? {
                break status;
            }
            if let Some(timeout) = timeout.filter(|&timeout| start.elapsed() > timeout) {
                qemu.kill()?;
                qemu.wait()?;
                return Ok(Ending::Timeout(timeout));
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        Ok(match status.code() {
            Some(SUCCESS) => Ending::Success,
            Some(FAILURE) => Ending::Failure,
            _ => Ending::Other(status),
        })
    }
}
