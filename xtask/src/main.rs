//! One command per tool: `cargo xtask --help` lists them.

mod bench;
mod bench_linux;
mod boot;
mod boot_storm;
mod boot_test;
mod busybox;
mod dialogue;
mod fuzz;
mod hardware;
mod initramfs;
mod kernel_image;
mod loom;
mod memory_size;
mod mutants;
mod mutation;
mod no_std;
mod package;
mod programs;
mod qemu;
mod qemu_monitor;
mod static_elf;
mod symbols;
mod verify;
mod zero_cost;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// What a command returns: how the process shall end, or what stopped it.
type Outcome = Result<ExitCode, Box<dyn std::error::Error>>;

/// Tools of this project.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Compare this project with the schemes that exist: throughput, growth, memory, shared lines
    Bench(bench::Arguments),
    /// Measure the reference kernel side by side with Debian's Linux, in the same QEMU
    BenchLinux(bench_linux::Arguments),
    /// Boot the reference kernel in QEMU
    Boot(boot::Arguments),
    /// Storm the reference kernel in QEMU: processes come and go while the kernel grows and shrinks
    BootStorm(boot_storm::Arguments),
    /// Boot the reference kernel on every kind of machine it knows, and run its tests there
    BootTest(boot_test::Arguments),
    /// Fuzz what takes input from outside, for a bounded time
    Fuzz(fuzz::Arguments),
    /// Race pinned threads through litmus tests and duels of fork and growth, and write docs/hardware.md
    Hardware(hardware::Arguments),
    /// Run every mutant of the protocol and write docs/mutants.md
    Mutants(mutants::Arguments),
    /// Make every ordering, barrier and publication wrong, one at a time, and see what notices
    Mutation(mutation::Arguments),
    /// Prove that no std is in the product crates
    NoStd(no_std::Arguments),
    /// Run the independent checks: model checkers, other people's MMU, this machine's cores
    Verify(verify::Arguments),
    /// Prove that the hook costs nothing where an architecture leaves it alone
    ZeroCost(zero_cost::Arguments),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Bench(arguments) => bench::run(&arguments),
        Command::BenchLinux(arguments) => bench_linux::run(&arguments),
        Command::Boot(arguments) => boot::run(&arguments),
        Command::BootStorm(arguments) => boot_storm::run(&arguments),
        Command::BootTest(arguments) => boot_test::run(&arguments),
        Command::Fuzz(arguments) => fuzz::run(&arguments),
        Command::Hardware(arguments) => hardware::run(&arguments),
        Command::Mutants(arguments) => mutants::run(&arguments),
        Command::Mutation(arguments) => mutation::run(&arguments),
        Command::NoStd(arguments) => no_std::run(&arguments),
        Command::Verify(arguments) => verify::run(&arguments),
        Command::ZeroCost(arguments) => zero_cost::run(&arguments),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::FAILURE
    })
}
