//! `cargo xtask verify loom`: every model check, on the product's own code.
//!
//! loom replaces the atomics and locks of `kernel-sync` when `--cfg loom` is set. The flag reaches all
//! crates, so these builds have a target directory of their own.

use std::error::Error;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

/// A test binary with models in it.
struct Models {
    package: &'static str,
    features: &'static [&'static str],
    test: &'static str,
    /// Part of the names of tests that are explored beside the others.
    apart: Option<&'static str>,
}

/// The longest first.
const MODELS: &[Models] = &[
    Models {
        package: "tests-host",
        features: &["pgd-init-late"],
        test: "loom_protocol",
        apart: Some("mutant"),
    },
    Models { package: "kernel-task", features: &[], test: "pid_loom", apart: Some("another_walk") },
    Models { package: "tests-host", features: &["pgd-init-late"], test: "loom_tasks", apart: None },
    Models {
        package: "tests-host",
        features: &["pgd-init-late"],
        test: "loom_task_updates",
        apart: None,
    },
    Models { package: "kernel-task", features: &[], test: "mm_list_loom", apart: None },
    Models { package: "kernel-sync", features: &[], test: "gate_loom", apart: None },
    Models { package: "kernel-sync", features: &[], test: "magazines_loom", apart: None },
    Models { package: "kernel-sync", features: &[], test: "rcu_arc_loom", apart: None },
    Models { package: "kernel-sync", features: &[], test: "arc_cache_loom", apart: None },
    Models {
        package: "tests-host",
        features: &["pgd-init-late"],
        test: "loom_tables",
        apart: None,
    },
    Models { package: "tests-host", features: &["pgd-init-late"], test: "loom_vfork", apart: None },
    Models {
        package: "tests-host",
        features: &["pgd-init-late"],
        test: "loom_announced",
        apart: None,
    },
    Models { package: "kernel-task", features: &[], test: "epoch_loom", apart: None },
    Models { package: "kernel-task", features: &[], test: "epoch_members_loom", apart: None },
];

/// Explores the models, or those of the test binary `only`; returns how many executions that were.
pub(crate) fn run(only: Option<&str>) -> Result<String, Box<dyn Error>> {
    if let Some(only) = only
        && !MODELS.iter().any(|models| models.test == only)
    {
        let known: Vec<&str> = MODELS.iter().map(|models| models.test).collect();
        return Err(format!("no models {only:?}; known are {}", known.join(", ")).into());
    }
    let chosen = MODELS.iter().filter(|models| only.is_none_or(|only| only == models.test));
    let mut runs = Vec::new();
    for models in chosen {
        // Built one after the other, and not by those that explore beside each other.
        if !command(models, &["--list"]).stdout(Stdio::null()).status()?.success() {
            return Err(format!("the models of {} do not build", models.test).into());
        }
        match models.apart {
            Some(apart) => runs.extend([(models, vec![apart]), (models, vec!["--skip", apart])]),
            None => runs.push((models, Vec::new())),
        }
    }
    // A model maps and unmaps stacks all the time, and threads of one process wait for each other there: so each run is a process
    // with one thread, as many at a time as there are processors.
    let runs = Mutex::new(runs.into_iter());
    let next = || runs.lock().unwrap_or_else(PoisonError::into_inner).next();
    let explored = Mutex::new((0, 0));
    let explore_all = || -> Result<(), String> {
        while let Some((models, tests)) = next() {
            let output = command(models, &tests)
                .output()
                .map_err(|error| format!("{}: {error}", models.test))?;
            let text = String::from_utf8_lossy(&output.stdout);
            let mut explored = explored.lock().unwrap_or_else(PoisonError::into_inner);
            print!("{text}");
            for line in text.lines() {
                // Printed by tests-host/src/model and by the tests themselves.
                if let Some(number) = line.strip_suffix(" executions") {
                    // The harness may have begun the line with the test's name.
                    let number = number.rsplit(' ').next().unwrap_or(number);
                    explored.0 +=
                        number.parse::<u64>().map_err(|error| format!("{line}: {error}"))?;
                }
                explored.1 += u64::from(line.contains(": killed by loom, "));
            }
            if !output.status.success() {
                print!("{}", String::from_utf8_lossy(&output.stderr));
                return Err(format!("the models of {} failed", models.test));
            }
        }
        Ok(())
    };
    let processors = std::thread::available_parallelism()?.get();
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..processors).map(|_| scope.spawn(explore_all)).collect();
        all.into_iter().try_for_each(|one| one.join().unwrap_or_else(|_| Err("a panic".into())))
    })?;
    let (executions, killed) = explored.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(format!("{executions} executions that must be right, {killed} mutants killed"))
}

/// The command that runs the mutants through the models of the protocol, and none of the explorations that must be right:
/// each of these tests has `mutant` in its name.
pub(crate) fn mutants_command() -> Option<Command> {
    let models = MODELS.iter().find(|models| models.test == "loom_protocol")?;
    Some(command(models, &["mutant"]))
}

fn command(models: &Models, tests: &[&str]) -> Command {
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
    // With what each model says: the number of executions, and who was killed.
    command.args(["--", "--nocapture", "--test-threads=1"]).args(tests);
    command
}

/// The workspace's root.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}
