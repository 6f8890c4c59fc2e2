//! `cargo xtask mutants`: runs every mutant of the protocol and writes who caught it to `docs/mutants.md`.
//!
//! A mutant must be killed by the model checks, every one of them; a mutant whose entry says that it
//! shows on cores must be killed by the storm as well.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use clap::Args;
use mutants::Mutant;

use crate::Outcome;
use crate::loom;

/// How long to look for mutants on real cores.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Seconds of storm for a mutant, per attempt
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Attempts with different seeds before a mutant counts as not caught on cores
    #[arg(long, default_value_t = 4)]
    attempts: u64,
    /// Do not write docs/mutants.md, only check
    #[arg(long)]
    check: bool,
    /// Take whom the models kill from this output of `cargo xtask verify loom`, instead of exploring again
    #[arg(long, value_name = "FILE")]
    explored: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let explored = match &arguments.explored {
        Some(file) => {
            fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?
        }
        None => explore()?,
    };
    let killers = killers(&explored);
    let storm = build_storm()?;
    let mut table = String::from(
        "# The mutants and their killers\n\n\
         Written by `cargo xtask mutants`; do not edit.\n\n\
         | mutant | what is wrong | model checks that kill it | storm on real cores |\n\
         |---|---|---|---|\n",
    );
    let mut survivors = Vec::new();
    for &mutant in Mutant::ALL {
        let models = killers.get(mutant.name()).cloned().unwrap_or_default();
        if models.is_empty() {
            survivors.push(format!("{mutant}: no model check kills it"));
        }
        let on_cores = if mutant.shows_on_cores() {
            match storm_kills(&storm, mutant, arguments)? {
                Some(how) => how,
                None => {
                    survivors.push(format!("{mutant}: the storm does not catch it"));
                    String::from("NOT CAUGHT")
                }
            }
        } else {
            String::from("does not show it")
        };
        println!("{mutant}: {} model checks; storm: {on_cores}", models.len());
        writeln!(table, "| `{mutant}` | {} | {} | {on_cores} |", mutant.what(), models.join(", "))?;
    }
    if !arguments.check {
        fs::write(loom::root().join("docs/mutants.md"), table)?;
    }
    if survivors.is_empty() {
        println!("{} mutants, all killed", Mutant::ALL.len());
        Ok(ExitCode::SUCCESS)
    } else {
        Err(format!("surviving mutants:\n  {}", survivors.join("\n  ")).into())
    }
}

/// Runs the model checks with mutants, and returns what they print.
fn explore() -> Result<String, Box<dyn std::error::Error>> {
    let output = loom::mutants_command().ok_or("the protocol has models")?.output()?;
    let text = String::from_utf8(output.stdout)?;
    if output.status.success() {
        Ok(text)
    } else {
        Err(format!("the model checks failed:\n{text}").into())
    }
}

/// Reads off what the model checks print which scenario killed which mutant.
fn killers(text: &str) -> BTreeMap<&str, Vec<&str>> {
    let mut killers: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for line in text.lines() {
        // Printed by tests-host/tests/loom_protocol.rs.
        // The harness may have begun the line with the test's name.
        if let Some((mutant, scenario)) = line
            .find("mutant ")
            .and_then(|at| line[at..]["mutant ".len()..].split_once(": killed by loom, "))
        {
            killers.entry(mutant).or_default().push(scenario);
        }
    }
    killers
}

fn build_storm() -> Result<Command, Box<dyn std::error::Error>> {
    let built = Command::new(env!("CARGO"))
        .current_dir(loom::root())
        .args(["build", "--release", "--package", "storm"])
        .status()?;
    if !built.success() {
        return Err("the storm does not build".into());
    }
    Ok(Command::new(loom::root().join("target/release/storm")))
}

/// Runs the storm with the mutant until it is caught; says how, or `None` after all attempts.
fn storm_kills(
    storm: &Command,
    mutant: Mutant,
    arguments: &Arguments,
) -> Result<Option<String>, Box<dyn std::error::Error>> {
    for seed in 1..=arguments.attempts {
        let output = Command::new(storm.get_program())
            .args(["--mutant", mutant.name(), "--json"])
            .args(["--seconds", &arguments.seconds.to_string()])
            .args(["--seed", &seed.to_string()])
            .output()?;
        if output.status.success() {
            continue;
        }
        let figures: serde_json::Value = match serde_json::from_slice(&output.stdout) {
            Ok(figures) => figures,
            Err(_) => return Ok(Some(String::from("caught: crashed"))),
        };
        let seen: Vec<&str> = ["missed", "stale", "leaked_frames", "corrupted"]
            .into_iter()
            .filter(|&name| figures[name] != 0)
            .collect();
        return Ok(Some(format!("caught: {}", seen.join(", "))));
    }
    Ok(None)
}
