//! `cargo xtask boot-storm`: the proof on a real MMU. Processes fork, exec and exit on all processors of a guest while
//! kernel threads grow its kernel into new top-level slots and give them back; see `crates/kernel/src/storm`.
//!
//! With `--mutant NAMES`, a kernel is built whose PGD protocol has one step wrong, and the storm must catch it. `--mutant
//! all` runs them all and writes `docs/mutants-guest.md`.

mod figures;
mod mutants;

use crate::kernel_image;
use crate::memory_size;
use crate::programs::{self, Library};
use crate::qemu::{self, Ending, Guest, Machine, Serial};
use crate::symbols::Symbols;
use clap::Args;
use figures::Figures;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// The machine to storm, for how long, and with what wrong.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Processors
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=8))]
    smp: u32,
    /// Seconds to storm, of the guest's time
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// QEMU's name of the processor: max has SMEP, SMAP and LA57, qemu64 has none of them
    #[arg(long, default_value = "max")]
    cpu: String,
    /// Give the processor five-level paging, if it does not have it anyway
    #[arg(long, conflicts_with = "no_la57")]
    la57: bool,
    /// Stay with four levels, whatever the processor has
    #[arg(long)]
    no_la57: bool,
    /// Memory, with a unit
    #[arg(long, default_value = "512M", value_parser = memory_size::parse)]
    memory: String,
    /// Machine
    #[arg(long, value_enum, default_value_t = Machine::Q35)]
    machine: Machine,
    /// Cargo profile to build the kernel with
    #[arg(long, default_value = "release")]
    profile: String,
    /// Build mutants in, which must be caught: names with commas between them, `scenes` for those that a scene shows every
    /// time, `all` for all (writes docs/mutants-guest.md), or `list` for the names
    #[arg(long, value_name = "NAMES")]
    mutant: Option<String>,
    /// Runs of a mutant before it counts as not caught
    #[arg(long, default_value_t = 3, requires = "mutant", value_parser = clap::value_parser!(u32).range(1..))]
    attempts: u32,
    /// Print the figures as one JSON object on standard output
    #[arg(long)]
    json: bool,
}

/// Storms.
pub(crate) fn run(arguments: &Arguments) -> crate::Outcome {
    match arguments.mutant.as_deref() {
        None => storm(arguments),
        Some("list") => {
            mutants::list();
            Ok(ExitCode::SUCCESS)
        }
        Some("all") => mutants::run_all(arguments),
        Some("scenes") => mutants::run_some(arguments, &mutants::with_scenes()),
        Some(names) => {
            let mutants: Result<Vec<_>, _> = names.split(',').map(str::parse).collect();
            mutants::run_some(arguments, &mutants?)
        }
    }
}

/// Storms the kernel as it is. Fails at the first mistake.
fn storm(arguments: &Arguments) -> crate::Outcome {
    let lab = Lab::new(arguments, &["storm"])?;
    let run = lab.run("")?;
    let Some(figures) = &run.figures else {
        return Err(format!("{}; the guest printed no figures: {}", run.ending, run.log()).into());
    };
    if arguments.json {
        println!("{}", figures.to_json());
    } else {
        print!("{figures}");
    }
    if run.ending == Ending::Success && figures.passed() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("{}", run.report());
    Err(format!("{}; {}", run.ending, run.log()).into())
}

/// A kernel and an initramfs to storm with.
struct Lab {
    guest: Guest,
    symbols: Symbols,
    folder: PathBuf,
    timeout: Duration,
}

impl Lab {
    fn new(arguments: &Arguments, features: &[&str]) -> Result<Self, Box<dyn Error>> {
        qemu::require()?;
        qemu::require_cpu(&arguments.cpu)?;
        let kernel = kernel_image::build_with_features(&arguments.profile, features)?;
        // Named after this process: several guests may run at once.
        let name = format!("boot-storm-{}", std::process::id());
        let folder = kernel.with_file_name(name);
        fs::create_dir_all(&folder)?;
        let mut archive = programs::root()?;
        let program = programs::compile("storm", Library::Bare, &folder)?;
        archive.file("bin/storm", 0o755, program);
        // Two workers to a processor: one runs while the other waits for its child.
        let workers = (2 * arguments.smp).to_string();
        programs::run_first(&mut archive, &["/bin/storm", &workers]);
        let initramfs = folder.join("initramfs.cpio");
        fs::write(&initramfs, archive.finish())?;
        let mut cpu = arguments.cpu.clone();
        if arguments.la57 {
            cpu.push_str(",+la57");
        }
        let mut command_line = format!("storm={}", arguments.seconds);
        if arguments.no_la57 {
            command_line.push_str(" nola57");
        }
        let symbols = Symbols::read(&kernel)?;
        Ok(Self {
            guest: Guest {
                machine: arguments.machine,
                cpu,
                processors: arguments.smp,
                memory: arguments.memory.clone(),
                kernel,
                command_line,
                initramfs: Some(initramfs),
                debug_console: None,
            },
            symbols,
            folder,
            // A guest that gets little of a busy host is slow, and that is no mistake. One that hangs ends here.
            timeout: Duration::from_secs(120 + 4 * arguments.seconds),
        })
    }

    /// Runs the guest once, with `words` on the kernel's command line.
    fn run(&self, words: &str) -> Result<Run, Box<dyn Error>> {
        let mut guest = self.guest.clone();
        guest.command_line.push(' ');
        guest.command_line.push_str(words);
        let log = self.folder.join("serial.log");
        fs::write(&log, "")?;
        let ending = guest.run(Serial::File(&log), Some(self.timeout))?;
        let text = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
        let text = self.symbols.annotate(&text);
        fs::write(&log, &text)?;
        Ok(Run { ending, figures: Figures::read(&text), text, log })
    }
}

impl Drop for Lab {
    /// Removes all but the last log.
    fn drop(&mut self) {
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            if entry.path().extension().is_none_or(|extension| extension != "log") {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

/// A run of a guest.
struct Run {
    ending: Ending,
    /// What the guest printed last, if it came to that.
    figures: Option<Figures>,
    text: String,
    log: PathBuf,
}

impl Run {
    /// What the storm said about a mistake, in one line.
    fn failure(&self) -> Option<&str> {
        self.text.lines().find_map(|line| line.strip_prefix("storm failure: "))
    }

    /// What the kernel died of, in one line.
    fn death(&self) -> Option<&str> {
        let mut lines = self.text.lines();
        lines.find(|line| line.starts_with("panicked at "))?;
        lines.next()
    }

    /// The guest's report of a mistake.
    fn report(&self) -> &str {
        let starts = ["storm failure: ", "\n---- kernel panic"];
        let start = starts.iter().filter_map(|start| self.text.find(start)).min();
        &self.text[start.unwrap_or(0)..]
    }

    fn log(&self) -> String {
        format!("serial log: {}", Path::display(&self.log))
    }
}
