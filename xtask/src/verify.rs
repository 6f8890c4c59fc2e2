//! `cargo xtask verify [NAME]`: the checks that do not trust each other, one file each.
//!
//! A check says what it covered: interleavings, states, inputs. One that cannot run has failed: there is no
//! skipping. docs/verification.md says which invariant each of them carries.

mod faults;
mod mmu;
mod sanitizers;
mod spin;

use std::error::Error;
use std::process::ExitCode;
use std::time::Instant;

use clap::Args;

use crate::{Outcome, fuzz, hardware, loom};

/// Which checks to run.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Run only this check; all of them without
    name: Option<String>,
    /// Print the names of the checks, one a line, and run nothing
    #[arg(long, conflicts_with_all = ["name", "only"])]
    list: bool,
    /// Run only this part of the check: a test binary of loom, a configuration of spin, a geometry of mmu, litmus or duels of hardware
    #[arg(long, value_name = "PART", requires = "name")]
    only: Option<String>,
}

/// What a check has to say for itself, or why it failed or could not run.
type Verdict = Result<String, Box<dyn Error>>;

/// One independent check.
struct Check {
    name: &'static str,
    /// Runs it, or the part of it that is named, and returns what was covered.
    run: fn(only: Option<&str>) -> Verdict,
}

const CHECKS: &[Check] = &[
    Check { name: "loom", run: loom::run },
    Check { name: "spin", run: spin::run },
    Check { name: "mmu", run: mmu::run },
    Check { name: "hardware", run: hardware::verify },
    Check { name: "faults", run: faults::run },
    Check { name: "fuzz", run: fuzz::verify },
    Check { name: "sanitizers", run: sanitizers::run },
];

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    if arguments.list {
        CHECKS.iter().for_each(|check| println!("{}", check.name));
        return Ok(ExitCode::SUCCESS);
    }
    let is_chosen =
        |check: &&Check| arguments.name.as_deref().is_none_or(|name| name == check.name);
    let chosen: Vec<&Check> = CHECKS.iter().filter(is_chosen).collect();
    if let (Some(name), []) = (&arguments.name, &chosen[..]) {
        let known: Vec<&str> = CHECKS.iter().map(|check| check.name).collect();
        return Err(format!("no check {name:?}; known are {}", known.join(", ")).into());
    }
    let mut failed = Vec::new();
    for check in chosen {
        println!("verify {}", check.name);
        let started = Instant::now();
        let verdict = (check.run)(arguments.only.as_deref());
        let seconds = started.elapsed().as_secs_f64();
        match verdict {
            Ok(covered) => println!("verify {}: passed in {seconds:.0} s: {covered}", check.name),
            Err(error) => {
                println!("verify {}: FAILED in {seconds:.0} s: {error}", check.name);
                failed.push(check.name);
            }
        }
    }
    if failed.is_empty() {
        Ok(ExitCode::SUCCESS)
    } else {
        Err(format!("failed: {}", failed.join(", ")).into())
    }
}
