//! `cargo xtask loom`: every model check, on the product's own code.
//!
//! loom replaces the atomics and locks of `kernel-sync` when `--cfg loom` is set. The flag reaches all
//! crates, so these builds have a target directory of their own.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use clap::Args;

use crate::Outcome;

/// Which model checks to run.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Run only this test binary
    #[arg(long)]
    only: Option<String>,
}

/// A test binary with models in it.
struct Models {
    package: &'static str,
    features: &'static [&'static str],
    test: &'static str,
}

const MODELS: &[Models] = &[
    Models { package: "tests-host", features: &["pgd-init-late"], test: "loom_protocol" },
    Models { package: "tests-host", features: &["pgd-init-late"], test: "loom_tasks" },
    Models { package: "kernel-task", features: &[], test: "pid_loom" },
    Models { package: "kernel-task", features: &[], test: "epoch_loom" },
    Models { package: "kernel-task", features: &[], test: "mm_list_loom" },
];

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    if let Some(only) = &arguments.only
        && !MODELS.iter().any(|models| models.test == only)
    {
        let known: Vec<&str> = MODELS.iter().map(|models| models.test).collect();
        return Err(format!("no models {only:?}; known are {}", known.join(", ")).into());
    }
    for models in MODELS {
        if arguments.only.as_deref().is_none_or(|only| only == models.test)
            && !command(models).status()?.success()
        {
            return Err(format!("the models of {} failed", models.test).into());
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The command that explores the models of the test binary `test`, for `cargo xtask mutants`.
pub(crate) fn command_for(test: &str) -> Option<Command> {
    MODELS.iter().find(|models| models.test == test).map(command)
}

fn command(models: &Models) -> Command {
    let mut command = Command::new(env!("CARGO"));
    command
        .current_dir(root())
        // Optimised: loom runs each model thousands of times.
        .args(["test", "--release", "--package", models.package, "--test", models.test])
        .arg("--target-dir")
        .arg(root().join("target/loom"))
        // loom makes the atomics of all crates its own; it has no other switch.
        .env("RUSTFLAGS", "--cfg loom")
        .env("RUST_BACKTRACE", "0");
    if !models.features.is_empty() {
        command.arg("--features").arg(models.features.join(","));
    }
    // One model at a time, with what it says: the number of executions, and who was killed.
    command.args(["--", "--nocapture", "--test-threads=1"]);
    command
}

/// The workspace's root.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}
