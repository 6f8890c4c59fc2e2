//! `cargo xtask mutation`: every ordering, barrier and publication of the protocol crates made wrong, one at a time.
//!
//! The list of what can be wrong is taken from the source (`mutation/sites.rs`). Nothing is rebuilt for a mutant: a copy of the workspace
//! has all of them in it, each behind a number (`mutation/survey.rs`), is built once, and its tests run with one
//! number after another. `--search` looks for what kills each mutant and writes `docs/mutation.md`; without it, each mutant is run
//! against the killer that is recorded there. That fails when the list has changed, when a killer kills no more, and
//! when a mutant survives that no `// MUTATION:` comment at its site gives a reason for.

mod killers;
mod sites;
mod survey;
mod table;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;

use crate::Outcome;
use crate::loom::root;
use killers::{Killer, Suite, Verdict};
use survey::{Project, Survey};
use table::Fate;

/// What to do with the mutants.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Print every mutant and run none
    #[arg(long, conflicts_with = "search")]
    list: bool,
    /// Look for what kills each mutant, and write docs/mutation.md (long)
    #[arg(long)]
    search: bool,
    /// Only mutants whose file, function or code contains this
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Seconds that a test has to kill a mutant, in a search
    #[arg(long, default_value_t = 60)]
    seconds: u64,
}

/// The protocol crates.
fn product() -> Project {
    Project {
        root: root(),
        crates: &[
            "crates/kernel-sync",
            "mm-generic",
            "arch-x86",
            "crates/kernel-task",
            "kernel-fork",
            "crates/kernel-exec",
        ],
        lowest: "kernel_sync",
        runtime: include_str!("mutation/runtime_kernel.rs"),
        others: &["crates/hosted", "crates/mutants", "tests-host", "README.md"],
        left_out: &["crates/storm", "crates/zero-cost", "crates/benches", "xtask"],
    }
}

/// The tests that may kill its mutants.
const SUITES: &[Suite] = &[Suite {
    loom: true,
    packages: &["tests-host", "kernel-task"],
    features: &["tests-host/pgd-init-late"],
    tests: &["loom_protocol", "loom_tasks", "pid_loom", "epoch_loom", "mm_list_loom"],
    // They run mutants of their own, and pass when those fail.
    left_out: &[
        "loom_protocol::the_mutants_are_right_but_for_their_mutation",
        "loom_protocol::every_mutant_is_killed",
        "epoch_loom::each_barrier_is_needed",
        "mm_list_loom::joining_after_the_barrier_or_without_it_is_noticed",
        "mm_list_loom::leaving_after_the_grace_period_is_noticed",
    ],
    target: "target/loom",
}];

/// Where the killers are recorded.
const TABLE: &str = "docs/mutation.md";

/// How long a recorded killer may take: many times what it takes.
const LIMIT: Duration = Duration::from_secs(60);

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let mut bench = Bench::new(product())?;
    if arguments.list {
        for mutant in &bench.survey.mutants {
            println!(
                "{}:{}: {}: `{}` {}",
                mutant.file, mutant.line, mutant.function, mutant.code, mutant.mutation
            );
        }
        println!("{} mutants", bench.survey.mutants.len());
        return Ok(ExitCode::SUCCESS);
    }
    bench.build(SUITES)?;
    let table = root().join(TABLE);
    let only = arguments.only.as_deref();
    let known = table::read(&fs::read_to_string(&table).unwrap_or_default())?;
    if !arguments.search {
        println!("{}", bench.check(&known, only)?);
        return Ok(ExitCode::SUCCESS);
    }
    let fates = bench.search(&known, only, Duration::from_secs(arguments.seconds))?;
    fs::write(&table, table::written(&bench.survey.mutants, &fates))?;
    let survivors = fates.iter().filter(|fate| **fate == Fate::Survives).count();
    if survivors > 0 {
        return Err(format!("{survivors} mutants survive; see {TABLE}").into());
    }
    Ok(ExitCode::SUCCESS)
}

/// The mutants of a project and the tests of its mutated copy.
struct Bench {
    project: Project,
    survey: Survey,
    killers: Vec<Killer>,
    /// Where the copy is.
    copy: PathBuf,
}

impl Bench {
    fn new(project: Project) -> Result<Self, Box<dyn Error>> {
        let survey = Survey::of(&project)?;
        let copy = project.root.join("target/mutation");
        Ok(Self { project, survey, killers: Vec::new(), copy })
    }

    fn build(&mut self, suites: &[Suite]) -> Result<(), Box<dyn Error>> {
        self.survey.write(&self.project, &self.copy)?;
        for suite in suites {
            self.killers.extend(suite.build(&self.project.root, &self.copy)?);
        }
        Ok(())
    }

    /// Mutant numbers of those that `only` is about.
    fn chosen(&self, only: Option<&str>) -> Vec<usize> {
        let is_chosen = |mutant: &sites::Mutant| {
            only.is_none_or(|only| {
                [&mutant.file, &mutant.function, &mutant.code].iter().any(|it| it.contains(only))
            })
        };
        let mutants = self.survey.mutants.iter().enumerate();
        mutants.filter(|(_, mutant)| is_chosen(mutant)).map(|(index, _)| index + 1).collect()
    }

    /// Runs each mutant against the killer that `known` names, and each such killer without a mutant.
    fn check(
        &self,
        known: &BTreeMap<table::Key, Fate>,
        only: Option<&str>,
    ) -> Result<String, Box<dyn Error>> {
        let keys = table::keys(&self.survey.mutants);
        let mut errors = Vec::new();
        let present: BTreeSet<_> = keys.iter().collect();
        errors.extend(
            known
                .keys()
                .filter(|key| !present.contains(key))
                .map(|key| format!("in the table and no longer in the code: {key:?}")),
        );
        let (mut work, mut carried) = (Vec::new(), 0);
        for number in self.chosen(only) {
            let mutant = &self.survey.mutants[number - 1];
            let name =
                format!("{}:{}: `{}` {}", mutant.file, mutant.line, mutant.code, mutant.mutation);
            match known.get(&keys[number - 1]) {
                None => errors.push(format!("not in the table: {name}")),
                Some(Fate::Survives) => errors.push(format!("survives: {name}")),
                Some(Fate::Carried(_)) if mutant.reason.is_none() => {
                    errors.push(format!("nothing kills it and no comment says why: {name}"));
                }
                Some(Fate::Carried(_)) => carried += 1,
                Some(Fate::Killed { killer, .. }) => {
                    match self.killers.iter().find(|it| it.name == *killer) {
                        Some(killer) => work.push((number, name, killer)),
                        None => errors.push(format!("no test {killer}, which killed {name}")),
                    }
                }
            }
        }
        let killed = work.len();
        let slowest: Mutex<BTreeMap<&str, (Duration, &Killer)>> = Mutex::default();
        let alive = parallel(&work, |(number, name, killer), scratch| {
            let started = Instant::now();
            let verdict = killer.run(*number, LIMIT, scratch)?;
            let took = started.elapsed();
            let mut slowest = slowest.lock().map_err(|_| "a worker panicked")?;
            let of_killer = slowest.entry(&killer.name).or_insert((took, killer));
            of_killer.0 = of_killer.0.max(took);
            Ok((!matches!(verdict, Verdict::Failed(_)))
                .then(|| format!("{} no longer kills {name}", killer.name)))
        })?;
        errors.extend(alive.into_iter().flatten());
        // A test that fails anyway kills nothing. None need run to its end: only for longer than it took to kill.
        let controls: Vec<_> =
            slowest.into_inner().map_err(|_| "a worker panicked")?.into_values().collect();
        let failing = parallel(&controls, |(took, killer), scratch| {
            let verdict = killer.run(0, *took * 3 / 2, scratch)?;
            Ok(matches!(verdict, Verdict::Failed(_))
                .then(|| format!("{} fails without a mutant", killer.name)))
        })?;
        errors.extend(failing.into_iter().flatten());
        if errors.is_empty() {
            let tests = controls.len();
            Ok(format!(
                "{killed} mutants killed by {tests} tests, {carried} for a reason given at the site"
            ))
        } else {
            Err(errors.join("\n").into())
        }
    }

    /// Finds out what kills each mutant. Those that `known` has a killer for keep it if it still kills them.
    fn search(
        &self,
        known: &BTreeMap<table::Key, Fate>,
        only: Option<&str>,
        limit: Duration,
    ) -> Result<Vec<Fate>, Box<dyn Error>> {
        let reached = parallel(&self.killers, |killer, scratch| {
            killer.reached(Duration::from_secs(5), scratch)
        })?;
        let keys = table::keys(&self.survey.mutants);
        let mut fates: Vec<Fate> =
            keys.iter().map(|key| known.get(key).cloned().unwrap_or(Fate::Survives)).collect();
        let work = self.chosen(only);
        let done = AtomicUsize::new(0);
        let found = parallel(&work, |&number, scratch| {
            let mutant = &self.survey.mutants[number - 1];
            let fate = self.fate(number, &fates[number - 1], &reached, limit, scratch)?;
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            println!(
                "{done}/{}: {}:{}: `{}` {}: {fate:?}",
                work.len(),
                mutant.file,
                mutant.line,
                mutant.code,
                mutant.mutation
            );
            Ok(fate)
        })?;
        for (number, fate) in work.into_iter().zip(found) {
            fates[number - 1] = fate;
        }
        Ok(fates)
    }

    fn fate(
        &self,
        number: usize,
        known: &Fate,
        reached: &[BTreeSet<usize>],
        limit: Duration,
        scratch: &Path,
    ) -> Result<Fate, Box<dyn Error>> {
        let known = match known {
            Fate::Killed { killer, .. } => self.killers.iter().find(|it| it.name == *killer),
            _ => None,
        };
        let killed =
            |killer: &Killer, executions| Fate::Killed { killer: killer.name.clone(), executions };
        if let Some(killer) = known
            && let Verdict::Failed(executions) = killer.run(number, LIMIT, scratch)?
        {
            return Ok(killed(killer, executions));
        }
        let mut candidates: Vec<&Killer> = self
            .killers
            .iter()
            .zip(reached)
            .filter(|(_, reached)| reached.contains(&number))
            .map(|(killer, _)| killer)
            .collect();
        // All of them for a short time first: what kills fast is worth more than what kills.
        let mut step = Duration::from_secs(2).min(limit);
        while !candidates.is_empty() {
            let mut left = Vec::new();
            for killer in candidates {
                match killer.run(number, step, scratch)? {
                    Verdict::Failed(executions) => return Ok(killed(killer, executions)),
                    Verdict::NotYet if step < limit => left.push(killer),
                    _ => {}
                }
            }
            candidates = left;
            step = (step * 5).min(limit);
        }
        let reason = self.survey.mutants[number - 1].reason.clone();
        Ok(reason.map_or(Fate::Survives, Fate::Carried))
    }
}

/// Does `work` on all processors; each call has a file of its own to write to.
fn parallel<T: Sync, R: Send>(
    work: &[T],
    of: impl Fn(&T, &Path) -> Result<R, Box<dyn Error>> + Sync,
) -> Result<Vec<R>, Box<dyn Error>> {
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    let call = CALLS.fetch_add(1, Ordering::Relaxed);
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<(usize, R)>> = Mutex::default();
    let failure: Mutex<Option<String>> = Mutex::default();
    let workers = thread::available_parallelism().map_or(1, usize::from).min(work.len());
    thread::scope(|scope| {
        for worker in 0..workers {
            let (next, results, failure, of) = (&next, &results, &failure, &of);
            scope.spawn(move || {
                let scratch = std::env::temp_dir()
                    .join(format!("mutation-{}-{call}-{worker}", std::process::id()));
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = work.get(index) else { break };
                    let outcome = of(item, &scratch).map_err(|error| error.to_string());
                    match (outcome, results.lock(), failure.lock()) {
                        (Ok(result), Ok(mut results), _) => results.push((index, result)),
                        (Err(error), _, Ok(mut failure)) => {
                            failure.get_or_insert(error);
                            break;
                        }
                        _ => break,
                    }
                }
                let _ = fs::remove_file(&scratch);
                let _ = fs::remove_file(scratch.with_extension("reached"));
            });
        }
    });
    if let Some(error) = failure.into_inner().map_err(|_| "a worker panicked")? {
        return Err(error.into());
    }
    let mut results = results.into_inner().map_err(|_| "a worker panicked")?;
    results.sort_by_key(|(index, _)| *index);
    Ok(results.into_iter().map(|(_, result)| result).collect())
}
