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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use mutants::Mutant;

    /// Adds every source file below `folder`, its path in front.
    fn read(folder: &Path, text: &mut String) {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                read(&path, text);
            } else if path
                .extension()
                .is_some_and(|extension| extension == "rs" || extension == "pml")
            {
                let stem = path.file_stem().expect("a name").to_string_lossy().into_owned();
                *text += &format!("\nfile {stem} {}\n", path.display());
                *text += &fs::read_to_string(path).expect("a source file");
            }
        }
    }

    #[test]
    fn what_the_table_of_invariants_names_exists() {
        let root = crate::loom::root();
        let document = fs::read_to_string(root.join("docs/verification.md")).expect("there");
        let mut text = String::new();
        for folder in [
            "tests-host/tests",
            "tests-host/spin/scenarios",
            "tests-mmu/tests",
            "fuzz/fuzz_targets",
            "crates/benches/tests",
        ] {
            read(&root.join(folder), &mut text);
        }
        let is_there = |name: &str| {
            name.starts_with("cargo xtask ")
                || Mutant::ALL.iter().any(|mutant| mutant.name() == name)
                || text.contains(&format!("file {name} "))
                || text.contains(&format!("fn {name}("))
                || text.contains(&format!("fn {name}<"))
                || text.contains(&format!("    {name}: "))
                || text.contains(&format!("/{name}/"))
        };
        let rows = document.lines().skip_while(|line| !line.starts_with("| invariant |"));
        let rows: Vec<&str> = rows.take_while(|line| line.starts_with('|')).collect();
        assert!(rows.len() > 7, "{rows:?}");
        let names: Vec<&str> =
            rows.iter().flat_map(|row| row.split('`').skip(1).step_by(2)).collect();
        assert!(names.len() > 40, "{names:?}");
        let gone: Vec<&str> = names.into_iter().filter(|name| !is_there(name)).collect();
        assert!(gone.is_empty(), "there is no {}", gone.join(", "));
    }
}
