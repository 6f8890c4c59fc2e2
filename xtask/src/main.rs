//! One command per tool: `cargo xtask --help` lists them.

mod boot;
mod boot_test;
mod initramfs;
mod kernel_image;
mod qemu;
mod symbols;

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
    /// Boot the reference kernel in QEMU
    Boot(boot::Arguments),
    /// Boot the reference kernel on every kind of machine it knows, and run its tests there
    BootTest(boot_test::Arguments),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Boot(arguments) => boot::run(&arguments),
        Command::BootTest(arguments) => boot_test::run(&arguments),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::FAILURE
    })
}
