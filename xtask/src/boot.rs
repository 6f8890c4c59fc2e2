//! `cargo xtask boot`: the reference kernel in this terminal.

use crate::kernel_image;
use crate::qemu::{self, Ending, Guest, Machine, Serial};
use clap::Args;
use std::process::ExitCode;
use std::time::Duration;

/// The machine to boot on.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Processors
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=8))]
    smp: u32,
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
    #[arg(long, default_value = "512M")]
    memory: String,
    /// Machine
    #[arg(long, value_enum, default_value_t = Machine::Q35)]
    machine: Machine,
    /// Seconds after which QEMU is ended
    #[arg(long)]
    timeout: Option<u64>,
    /// Cargo profile to build the kernel with
    #[arg(long, default_value = "release")]
    profile: String,
    /// Words for the kernel's command line
    #[arg(last = true)]
    command_line: Vec<String>,
}

/// Boots. Ends with success if the kernel does.
pub(crate) fn run(arguments: &Arguments) -> crate::Outcome {
    qemu::require()?;
    let mut cpu = arguments.cpu.clone();
    if arguments.la57 {
        cpu.push_str(",+la57");
    }
    let mut command_line = arguments.command_line.join(" ");
    if arguments.no_la57 {
        command_line.push_str(" nola57");
    }
    let guest = Guest {
        machine: arguments.machine,
        cpu,
        processors: arguments.smp,
        memory: arguments.memory.clone(),
        kernel: kernel_image::build(&arguments.profile)?,
        command_line,
        initramfs: None,
    };
    let ending = guest.run(Serial::Terminal, arguments.timeout.map(Duration::from_secs))?;
    if ending == Ending::Success {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("{ending}");
    Ok(ExitCode::FAILURE)
}
