//! `cargo xtask verify loom`: every model check, on the product's own code.
//!
//! loom replaces the atomics and locks of `kernel-sync` when `--cfg loom` is set. The flag reaches all
//! crates, so these builds have a target directory of their own.

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A test binary with models in it.
struct Models {
    package: &'static str,
    features: &'static [&'static str],
    test: &'static str,
}

const MODELS: &[Models] = &[
    Models { package: "kernel-sync", features: &[], test: "gate_loom" },
    Models { package: "kernel-sync", features: &[], test: "magazines_loom" },
    Models { package: "kernel-sync", features: &[], test: "rcu_arc_loom" },
    Models { package: "kernel-sync", features: &[], test: "arc_cache_loom" },
    Models { package: "tests-host", features: &["pgd-init-late"], test: "loom_protocol" },
    Models { package: "tests-host", features: &["pgd-init-late"], test: "loom_tables" },
    Models { package: "tests-host", features: &["pgd-init-late"], test: "loom_tasks" },
    Models { package: "tests-host", features: &["pgd-init-late"], test: "loom_task_updates" },
    Models { package: "tests-host", features: &["pgd-init-late"], test: "loom_vfork" },
    Models { package: "kernel-task", features: &[], test: "pid_loom" },
    Models { package: "kernel-task", features: &[], test: "epoch_loom" },
    Models { package: "kernel-task", features: &[], test: "epoch_members_loom" },
    Models { package: "kernel-task", features: &[], test: "mm_list_loom" },
];

/// Explores the models, or those of the test binary `only`; returns how many executions that were.
pub(crate) fn run(only: Option<&str>) -> Result<String, Box<dyn Error>> {
    if let Some(only) = only
        && !MODELS.iter().any(|models| models.test == only)
    {
        let known: Vec<&str> = MODELS.iter().map(|models| models.test).collect();
        return Err(format!("no models {only:?}; known are {}", known.join(", ")).into());
    }
    let (mut executions, mut killed) = (0, 0);
    for models in MODELS.iter().filter(|models| only.is_none_or(|only| only == models.test)) {
        let mut exploring = command(models).stdout(Stdio::piped()).spawn()?;
        for line in BufReader::new(exploring.stdout.take().ok_or("no output")?).lines() {
            let line = line?;
            // Printed by tests-host/src/model and by the tests themselves.
            if let Some(number) = line.strip_suffix(" executions") {
                // With one processor, the harness has begun the line with the test's name.
                let number = number.rsplit(' ').next().unwrap_or(number);
                executions += number.parse::<u64>()?;
            }
            killed += u64::from(line.contains(": killed by loom, "));
            println!("{line}");
        }
        if !exploring.wait()?.success() {
            return Err(format!("the models of {} failed", models.test).into());
        }
    }
    Ok(format!("{executions} executions that must be right, {killed} mutants killed"))
}

/// The command that runs the mutants through the models of the protocol, and none of the explorations that must be right:
/// each of these tests has `mutant` in its name.
pub(crate) fn mutants_command() -> Option<Command> {
    let mut command = MODELS.iter().find(|models| models.test == "loom_protocol").map(command)?;
    command.arg("mutant");
    Some(command)
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
    // With what each model says: the number of executions, and who was killed. As many models at a time as there are processors: a model
    // explores on one thread, and keeps what it has there.
    command.args(["--", "--nocapture"]);
    command
}

/// The workspace's root.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}
