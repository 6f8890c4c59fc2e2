//! QEMU: finding it, describing a guest, running it.

use crate::package;
use crate::qemu_monitor::Monitor;
use clap::ValueEnum;
use std::error::Error;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

pub(crate) const QEMU: &str = "qemu-system-x86_64";
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
    /// The file that the kernel's debug console writes to, where a program is run.
    pub(crate) debug_console: Option<PathBuf>,
}

/// Where the guest's serial port leads.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Serial<'a> {
    /// To the terminal this runs in. Ctrl-A x ends QEMU, Ctrl-C goes to the guest.
    Terminal,
    /// To a file.
    File(&'a Path),
    /// To pipes in place of QEMU's standard input and output.
    Pipes,
}

/// How a guest ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The kernel reported success.
    Success,
    /// The kernel ran a program, which ended with this status.
    Exited(u8),
    /// The kernel reported failure.
    Failure,
    /// It did neither in time, and was ended: by its own report of where it was, if it could still make one.
    Timeout(Duration),
    /// QEMU ended by itself.
    Other(ExitStatus),
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Success => f.write_str("success"),
            Self::Exited(status) => write!(f, "the program ended with status {status}"),
            Self::Failure => f.write_str("the kernel reported failure"),
            Self::Timeout(after) => write!(f, "no end after {} s", after.as_secs()),
            Self::Other(status) => write!(f, "QEMU ended with {status}"),
        }
    }
}

/// A QEMU that runs.
#[derive(Debug)]
pub(crate) struct Qemu {
    pub(crate) process: Child,
    monitor: Monitor,
}

/// Time that a guest has to report where it is.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// Makes sure that QEMU is there: installs it as root on Debian, else says what to install.
pub(crate) fn require() -> Result<(), Box<dyn Error>> {
    package::require(QEMU, PACKAGE)
}

/// Makes sure that QEMU knows the processor of `cpu`, which may have features behind its name.
pub(crate) fn require_cpu(cpu: &str) -> Result<(), Box<dyn Error>> {
    let name = cpu.split(',').next().unwrap_or(cpu);
    let output = Command::new(QEMU).args(["-cpu", "help"]).output()?;
    let list = String::from_utf8(output.stdout)?;
    // Lines such as `x86 max   Enables all features ...`, or without the first word in newer ones.
    let processors = list.lines().take_while(|line| !line.starts_with("Recognized"));
    let mut names = processors.filter_map(|line| {
        line.split_whitespace().find(|word| *word != "x86" && *word != "Available")
    });
    if names.any(|known| known == name) {
        return Ok(());
    }
    Err(format!("QEMU knows no processor {name:?}; {QEMU} -cpu help lists those it does").into())
}

impl Guest {
    fn command(&self, serial: Serial<'_>, monitor: &Monitor) -> Command {
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
            .args(monitor.options())
            .arg("-kernel")
            .arg(&self.kernel)
            .args(["-append", &self.command_line]);
        if let Some(initramfs) = &self.initramfs {
            command.arg("-initrd").arg(initramfs);
        }
        if let Some(debug_console) = &self.debug_console {
            let device = format!("file,id=debug,path={}", debug_console.display());
            command
                .args(["-chardev", &device])
                .args(["-device", "isa-debugcon,iobase=0xe9,chardev=debug"]);
        }
        match serial {
            Serial::Terminal => {
                command.args(["-serial", "mon:stdio"]);
            }
            Serial::Pipes => {
                command.args(["-serial", "stdio"]);
                command.stdin(Stdio::piped()).stdout(Stdio::piped());
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
        let start = Instant::now();
        let qemu = self.spawn(serial)?;
        self.wait(qemu, start, timeout)
    }

    /// Runs the guest as [`Guest::run`] does, with all of its memory touched by the host before it starts: the
    /// first touch of a page costs more than most things that are worth timing.
    pub(crate) fn run_touched(
        &self,
        serial: Serial<'_>,
        timeout: Option<Duration>,
    ) -> Result<Ending, Box<dyn Error>> {
        let monitor = Monitor::new();
        let mut command = self.command(serial, &monitor);
        let memory = format!("memory-backend-ram,id=memory,size={},prealloc=on", self.memory);
        command.args(["-object", &memory, "-machine", "memory-backend=memory"]);
        let start = Instant::now();
        let process = command.spawn()?;
        self.wait(Qemu { process, monitor }, start, timeout)
    }

    /// Starts the guest.
    pub(crate) fn spawn(&self, serial: Serial<'_>) -> Result<Qemu, Box<dyn Error>> {
        let monitor = Monitor::new();
        let process = self.command(serial, &monitor).spawn()?;
        Ok(Qemu { process, monitor })
    }

    /// Waits for the end of a guest, or until `timeout` has passed since `start`. Then the guest is made to report where it is.
    pub(crate) fn wait(
        &self,
        mut qemu: Qemu,
        start: Instant,
        timeout: Option<Duration>,
    ) -> Result<Ending, Box<dyn Error>> {
        let status = loop {
            if let Some(status) = qemu.process.try_wait()? {
                break status;
            }
            if let Some(timeout) = timeout.filter(|&timeout| start.elapsed() > timeout) {
                qemu.end()?;
                return Ok(Ending::Timeout(timeout));
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        Ok(match status.code() {
            Some(SUCCESS) => self.program_status()?.map_or(Ending::Success, Ending::Exited),
            Some(FAILURE) => Ending::Failure,
            _ => Ending::Other(status),
        })
    }

    /// Reads the status of the program, if the kernel ran one, from the debug console.
    fn program_status(&self) -> Result<Option<u8>, Box<dyn Error>> {
        let Some(debug_console) = &self.debug_console else { return Ok(None) };
        let text = fs::read_to_string(debug_console)?;
        let Some(status) = text.lines().find_map(|line| line.strip_prefix("exit ")) else {
            return Ok(None);
        };
        let status = status.parse().map_err(|_| format!("`exit {status}` names no status"))?;
        Ok(Some(status))
    }
}

impl Qemu {
    /// Makes the guest report where its processors are, and ends it.
    pub(crate) fn end(&mut self) -> Result<(), Box<dyn Error>> {
        // A QEMU that is about to end anyway has no monitor any more.
        if self.monitor.interrupt().is_ok() {
            let deadline = Instant::now() + LAST_WORDS;
            while Instant::now() < deadline {
                if self.process.try_wait()?.is_some() {
                    return Ok(());
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }
}
