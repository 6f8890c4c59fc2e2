//! `cargo xtask verify spin`: searches the TSO model of the protocol (`tests-host/spin`) completely.
//!
//! A scenario is a file that says which CPU does what. SPIN turns it into a C program that visits every reachable state: nothing
//! is hashed away (no bitstate), and a search that is cut off by memory, depth or time has failed. The scenario names the wrong
//! variants that it catches; each must be caught, and every variant that the model has must be caught by a scenario.

use std::collections::BTreeSet;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::Verdict;
use crate::{loom, package};

/// Bounds of one search. The largest is over in 20 seconds on a core of its own; a busy machine needs more.
const MEMORY_MIB: u32 = 2048;
const SECONDS: u32 = 300;
const DEPTH: u32 = 1_000_000;

/// What the names of wrong variants begin with, in the model.
const MUTANT: &str = "MUTANT_";

/// One search: a scenario, right or with a mutant.
struct Search {
    scenario: String,
    file: PathBuf,
    mutant: Option<String>,
}

/// What a search found.
struct Found {
    states: u64,
    violation: Option<String>,
}

pub(crate) fn run(only: Option<&str>) -> Verdict {
    package::require("spin", "spin")?;
    package::require("gcc", "gcc")?;
    let folder = loom::root().join("tests-host/spin");
    let searches = searches(&folder.join("scenarios"), only)?;
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from).min(4) {
            scope.spawn(|| {
                while let Some(search) = searches.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let found = search.run().map_err(|error| error.to_string());
                    let line = search.judge(&found);
                    println!("  {search}: {}", line.as_ref().unwrap_or_else(|bad| bad));
                    let states = found.map_or(0, |found| found.states);
                    let failed = line.is_err().then(|| search.to_string());
                    results.lock().expect("nobody panics").push((states, failed));
                }
            });
        }
    });
    let results = results.into_inner()?;
    let failed: Vec<_> = results.iter().filter_map(|(_, failed)| failed.as_deref()).collect();
    if !failed.is_empty() {
        return Err(failed.join(", ").into());
    }
    let caught: BTreeSet<&str> =
        searches.iter().filter_map(|search| search.mutant.as_deref()).collect();
    if only.is_none() {
        let known = mutants(&fs::read_to_string(folder.join("pgd.pml"))?);
        let missed: Vec<_> =
            known.iter().filter(|mutant| !caught.contains(mutant.as_str())).cloned().collect();
        if !missed.is_empty() {
            return Err(format!("no scenario catches {}", missed.join(", ")).into());
        }
    }
    let states: u64 = results.iter().map(|(states, _)| states).sum();
    let scenarios = searches.iter().filter(|search| search.mutant.is_none()).count();
    Ok(format!(
        "{scenarios} scenarios searched completely, {} mutants caught, {states} states",
        caught.len()
    ))
}

/// The scenarios of `folder`, each by itself and with every mutant that it says it catches.
fn searches(folder: &Path, only: Option<&str>) -> Result<Vec<Search>, Box<dyn Error>> {
    let mut files = fs::read_dir(folder)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<PathBuf>, std::io::Error>>()?;
    files.sort();
    let mut searches = Vec::new();
    let mut known = Vec::new();
    for file in files {
        let scenario = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        known.push(scenario.clone());
        if only.is_some_and(|only| only != scenario) {
            continue;
        }
        let text = fs::read_to_string(&file)?;
        let catches = text.lines().find_map(|line| line.trim_start().strip_prefix("* Catches:"));
        let catches = catches.ok_or_else(|| format!("{scenario} does not say what it catches"))?;
        let mutants = catches.split_whitespace().map(|mutant| Some(mutant.to_owned()));
        searches.extend(std::iter::once(None).chain(mutants).map(|mutant| Search {
            scenario: scenario.clone(),
            file: file.clone(),
            mutant,
        }));
    }
    if searches.is_empty() {
        let only = only.unwrap_or_default();
        return Err(format!("no scenario {only:?}; known are {}", known.join(", ")).into());
    }
    // The long ones first, so that the cores end together.
    searches.sort_by_key(|search| search.mutant.is_some());
    Ok(searches)
}

/// The mutants that the model has.
fn mutants(model: &str) -> BTreeSet<String> {
    let is_of_name = |c: char| c.is_ascii_uppercase() || c == '_';
    let names = model.split(MUTANT).skip(1);
    let names = names.map(|rest| rest.split(|c| !is_of_name(c)).next().unwrap_or_default());
    names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

impl Search {
    fn run(&self) -> Result<Found, Box<dyn Error>> {
        // SPIN writes its files into the current folder.
        let folder = loom::root().join("target/spin").join(self.to_string().replace(' ', "-"));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder)?;
        let file = self.file.canonicalize()?;
        let model = file.parent().and_then(Path::parent).ok_or("a scenario lies in a folder")?;
        fs::write(
            folder.join("search.pml"),
            // SPIN takes the includes of the folder it runs in.
            fs::read_to_string(&file)?.replace("../pgd.pml", "pgd.pml"),
        )?;
        fs::copy(model.join("pgd.pml"), folder.join("pgd.pml"))?;

        let mut spin = Command::new("spin");
        spin.arg("-a");
        if let Some(mutant) = &self.mutant {
            spin.arg(format!("-D{MUTANT}{mutant}"));
        }
        output(spin.arg("search.pml").current_dir(&folder))?;
        let mut gcc = Command::new("gcc");
        // Safety and deadlock only; states compressed and kept, all of them.
        gcc.args(["-O1", "-w", "-DSAFETY", "-DCOLLAPSE", "-DVECTORSZ=2048"]);
        gcc.arg(format!("-DMEMLIM={MEMORY_MIB}")).args(["-o", "pan", "pan.c"]);
        output(gcc.current_dir(&folder))?;
        let mut pan = Command::new("timeout");
        pan.arg(SECONDS.to_string()).arg(folder.join("pan")).arg(format!("-m{DEPTH}"));
        let report = output(pan.current_dir(&folder))?;
        report_of(&report)
    }

    /// Says how the search went, as an error where it should have gone otherwise.
    fn judge(&self, found: &Result<Found, String>) -> Result<String, String> {
        match (found, &self.mutant) {
            (Err(error), _) => Err(format!("DID NOT RUN: {error}")),
            (Ok(Found { states, violation: None }), None) => Ok(format!("holds, {states} states")),
            (Ok(Found { violation: Some(what), .. }), None) => Err(format!("VIOLATED: {what}")),
            (Ok(Found { states, violation: Some(what) }), Some(_)) => {
                Ok(format!("caught after {states} states: {what}"))
            }
            (Ok(Found { violation: None, .. }), Some(_)) => Err("NOT CAUGHT".to_owned()),
        }
    }
}

impl std::fmt::Display for Search {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.scenario)?;
        self.mutant.iter().try_for_each(|mutant| write!(f, " {MUTANT}{mutant}"))
    }
}

/// Reads what the searching program prints.
fn report_of(report: &str) -> Result<Found, Box<dyn Error>> {
    let first = |line: &str| line.split_whitespace().next().and_then(|word| word.parse().ok());
    let states = report.lines().find(|line| line.contains("states, stored")).and_then(first);
    let states = states.ok_or_else(|| format!("no number of states in {report:?}"))?;
    // "pan:1: assertion violated ... (at depth 12)"
    let violation = report.lines().find_map(|line| line.strip_prefix("pan:1: "));
    let is_complete = !["Search not completed", "max search depth too small", "out of memory"]
        .iter()
        .any(|sign| report.contains(sign));
    if violation.is_none() && (!is_complete || !report.contains("errors: 0")) {
        return Err(format!("the search was cut off after {states} states:\n{report}").into());
    }
    Ok(Found { states, violation: violation.map(str::to_owned) })
}

/// Runs a command to its end and returns what it printed.
fn output(command: &mut Command) -> Result<String, Box<dyn Error>> {
    let output = command.output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        Ok(text)
    } else {
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(format!("{command:?} ended with {}: {text}{error}", output.status).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMPLETE: &str =
        "State-vector 176 byte, depth reached 134, errors: 0\n    38392 states, stored\n";

    #[test]
    fn a_search_that_was_cut_off_is_an_error() {
        assert_eq!(report_of(COMPLETE).expect("complete").states, 38392);
        for sign in ["Warning: Search not completed\n", "error: max search depth too small\n"] {
            assert!(report_of(&format!("{sign}{COMPLETE}")).is_err(), "{sign}");
        }
        assert!(report_of("killed").is_err());
    }

    #[test]
    fn a_violation_is_found_in_an_incomplete_search() {
        let report = "pan:1: assertion violated 0 (at depth 9)\nWarning: Search not completed\n    81 states, stored\n";
        let found = report_of(report).expect("a violation ends the search");
        assert_eq!(found.violation.as_deref(), Some("assertion violated 0 (at depth 9)"));
    }

    #[test]
    fn mutants_are_read_off_the_model() {
        let model = "#ifdef MUTANT_ONE\n#if !defined(MUTANT_TWO_B) && x\n/* Every MUTANT_ is */";
        assert_eq!(mutants(model), BTreeSet::from(["ONE".to_owned(), "TWO_B".to_owned()]));
    }

    /// The sources that the model is about.
    fn product() -> String {
        let mut text = String::new();
        for folder in ["mm-generic/src", "arch-x86/src", "kernel-fork/src", "crates"] {
            let mut folders = vec![loom::root().join(folder)];
            while let Some(folder) = folders.pop() {
                for entry in fs::read_dir(folder).expect("a source folder") {
                    let path = entry.expect("an entry").path();
                    let is_product = !path.ends_with("target") && !path.ends_with("kernel");
                    if path.is_dir() && is_product {
                        folders.push(path);
                    } else if path.extension().is_some_and(|extension| extension == "rs") {
                        text += &fs::read_to_string(path).expect("a source file");
                    }
                }
            }
        }
        text
    }

    /// The functions that the model's steps are named after.
    fn modelled() -> BTreeSet<String> {
        let model =
            fs::read_to_string(loom::root().join("tests-host/spin/pgd.pml")).expect("there");
        let names = model.split("FN(").skip(1);
        let names = names.filter_map(|rest| rest.split_once(')')).map(|(name, _)| name.to_owned());
        names.filter(|name| name != "name").collect()
    }

    #[test]
    fn the_model_s_steps_are_functions_of_the_product() {
        let product = product();
        let is_there = |name: &String| {
            product.contains(&format!("fn {name}(")) || product.contains(&format!("fn {name}<"))
        };
        let gone: Vec<_> = modelled().into_iter().filter(|name| !is_there(name)).collect();
        assert!(gone.is_empty(), "the product has no {}", gone.join(", "));
    }

    #[test]
    fn every_named_barrier_of_the_pgd_crates_is_in_the_model() {
        let mut missing = Vec::new();
        for folder in ["mm-generic/src", "arch-x86/src"] {
            for entry in fs::read_dir(loom::root().join(folder)).expect("a source folder") {
                let path = entry.expect("an entry").path();
                let text = fs::read_to_string(&path).unwrap_or_default();
                let bodies = text.split("\nfn ").skip(1).filter(|body| {
                    body.split("\n}").next().is_some_and(|body| body.contains("smp_mb();"))
                });
                missing.extend(
                    bodies.filter_map(|body| body.split_once('(')).map(|(name, _)| name.to_owned()),
                );
            }
        }
        assert!(!missing.is_empty(), "the crates have barriers");
        let modelled = modelled();
        missing.retain(|name| !modelled.contains(name));
        assert!(missing.is_empty(), "the model lacks {}", missing.join(", "));
    }
}
