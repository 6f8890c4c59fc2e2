//! `cargo xtask mutation`: every ordering, barrier and publication of the protocol crates made wrong, one at a time.
//!
//! The list of what can be wrong is taken from the source (`mutation/sites.rs`). Nothing is rebuilt for a mutant: a copy of the workspace
//! has all of them in it, each behind a number (`mutation/survey.rs`), is built once, and its tests run with one
//! number after another. `--search` looks for what kills each mutant and writes `docs/mutation.md`: for those that it lacks, that
//! survived, or whose function has changed since; it can be stopped at any time and goes on where it was. Without it, each mutant is run
//! against the killer that is recorded there. That fails when the list has changed, when a killer kills no more, and
//! when a mutant survives that no `// MUTATION:` comment at its site gives a reason for. `cargo xtask verify mutation` does the same for
//! the mutants whose function has changed and for a sample of the others.

#[cfg(test)]
mod bare;
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
use std::time::Duration;

use clap::Args;

use crate::Outcome;
use crate::loom::root;
use killers::{Killer, Suite, Verdict};
use survey::{Project, Survey};
use table::{Fate, Row};

/// What to do with the mutants.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Print every mutant and run none
    #[arg(long, conflicts_with = "search")]
    list: bool,
    /// Look for what kills each mutant, and write docs/mutation.md (long)
    #[arg(long)]
    search: bool,
    /// Search with the tests that are fast to build, and leave out the others
    #[arg(long, requires = "search")]
    quick: bool,
    /// Only mutants whose file, function or code contains this
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Seconds of processor time that a test has to kill a mutant, in a search
    #[arg(long, default_value_t = 60.0, value_parser = positive)]
    seconds: f64,
}

fn positive(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("{text:?} is no number"))?;
    if seconds > 0.0 && seconds < 1e6 {
        Ok(seconds)
    } else {
        Err(format!("{text} is not a time to wait"))
    }
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
        additions: &[("mm-generic/src/publish.rs", include_str!("mutation/runtime_publish.rs"))],
        others: &["crates/hosted", "crates/mutants", "tests-host", "README.md"],
    }
}

/// The tests that may kill its mutants.
const SUITES: &[Suite] = &[
    Suite {
        loom: true,
        packages: &["tests-host", "kernel-task", "kernel-sync"],
        features: &["tests-host/pgd-init-late"],
        tests: &[
            "loom_protocol",
            "loom_tables",
            "loom_tasks",
            "loom_vfork",
            "loom_announced",
            "loom_task_updates",
            "pid_loom",
            "epoch_loom",
            "epoch_members_loom",
            "mm_list_loom",
            "gate_loom",
            "rcu_arc_loom",
        ],
        // They run mutants of their own, and pass when those fail.
        left_out: &[
            "loom_protocol::the_mutants_",
            "loom_protocol::every_mutant_",
            "loom_protocol::mutants_of_updates::",
            "epoch_loom::each_barrier_is_needed",
            "mm_list_loom::joining_after_the_barrier_or_without_it_is_noticed",
            "mm_list_loom::leaving_after_the_grace_period_is_noticed",
        ],
        repeated: &[],
        target: "target/loom",
        is_sampled: true,
    },
    // What needs an MMU with a TLB.
    Suite {
        loom: false,
        packages: &["hosted", "kernel-task", "mm-generic"],
        features: &["hosted/pgd-init-late", "kernel-task/pgd-init-late"],
        tests: &["lib", "user_half", "epoch_rcu", "mm_list", "pid_order"],
        left_out: &[
            // What threads do to each other by chance is loom's.
            "user_half::threads::",
        ],
        repeated: &["::locked::", "::two_level", "::pae_shared", "::five_level"],
        target: "target",
        is_sampled: true,
    },
    // What needs programs. Long to build, and so in no sample.
    Suite {
        loom: false,
        packages: &["tests-host"],
        features: &["tests-host/pgd-init-late"],
        tests: &["fork_exec_exit", "geometry", "invariants"],
        left_out: &[],
        repeated: &["::locked::", "::two_level", "::pae_shared", "::five_level"],
        target: "target",
        is_sampled: false,
    },
];

/// Where the killers are recorded.
const TABLE: &str = "docs/mutation.md";

/// How long a test may run before what it has not reached by then counts as out of its reach.
const REACH: Duration = Duration::from_millis(300);

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
    let table = root().join(TABLE);
    let only = arguments.only.as_deref();
    let known = table::read(&fs::read_to_string(&table).unwrap_or_default())?;
    bench.build(SUITES.iter().filter(|suite| suite.is_sampled || !arguments.quick))?;
    if !arguments.search {
        let chosen = bench.chosen(only);
        println!("{}", bench.check(&known, &chosen)?);
        return Ok(ExitCode::SUCCESS);
    }
    let limit = Duration::from_secs_f64(arguments.seconds);
    let rows = bench.search(&known, only, limit, &|rows| {
        // After each: a search takes long, and what it has found is kept when it is stopped.
        fs::write(&table, table::written(&bench.survey.mutants, rows))
    })?;
    let is_open = |row: &&Row| matches!(row.fate, Fate::Survives | Fate::Unknown);
    let open = rows.iter().filter(is_open).count();
    if open > 0 {
        return Err(format!("{open} mutants survive or have not been searched; see {TABLE}").into());
    }
    Ok(ExitCode::SUCCESS)
}

/// What `cargo xtask verify mutation` may spend on mutants whose functions have not changed, as the table has it.
const SAMPLE: Duration = Duration::from_secs(15);

/// `cargo xtask verify mutation`: the table against the code, and as many mutants against their killers as have to be and as there is time for.
#[expect(dead_code, reason = "in `verify --list` when the table is in docs/")]
pub(crate) fn verify(only: Option<&str>) -> Result<String, Box<dyn Error>> {
    let mut bench = Bench::new(product())?;
    let known = table::read(&fs::read_to_string(root().join(TABLE))?)?;
    bench.compare(&known)?;
    let keys = table::keys(&bench.survey.mutants);
    let of = |number: &usize| (&bench.survey.mutants[number - 1], &known[&keys[number - 1]]);
    let (same, mut chosen): (Vec<usize>, Vec<usize>) =
        bench.chosen(only).into_iter().partition(|number| {
            let (mutant, row) = of(number);
            row.is_of(mutant)
        });
    let changed = chosen.len();
    let is_sampled = |killer: &str| SUITES.iter().any(|it| it.is_sampled && it.has(killer));
    chosen.extend(sample(&same, |number| of(&number), is_sampled, SAMPLE));
    let names: Vec<&str> = chosen
        .iter()
        .filter_map(|number| match &of(number).1.fate {
            Fate::Killed { killer, .. } => Some(killer.as_str()),
            _ => None,
        })
        .collect();
    let needed = SUITES.iter().filter(|suite| names.iter().any(|name| suite.has(name)));
    let needed: Vec<&Suite> = needed.collect();
    bench.build(needed.into_iter())?;
    let said = bench.check(&known, &chosen)?;
    let all = bench.survey.mutants.len();
    Ok(format!(
        "{all} mutants, none of which survives without a reason; functions of {changed} have changed since; run now: {said}"
    ))
}

/// Chooses mutants that are killed fast, from every file before a second one from any, while their time lasts.
fn sample<'a>(
    numbers: &[usize],
    of: impl Fn(usize) -> (&'a sites::Mutant, &'a Row),
    is_sampled: impl Fn(&str) -> bool,
    time: Duration,
) -> Vec<usize> {
    let mut by_file: BTreeMap<&str, Vec<(u64, usize)>> = BTreeMap::new();
    for &number in numbers {
        if let (mutant, Row { fate: Fate::Killed { millis, killer, .. }, .. }) = of(number)
            && is_sampled(killer)
        {
            by_file.entry(&mutant.file).or_default().push((*millis, number));
        }
    }
    let mut in_order: Vec<(usize, u64, usize)> = Vec::new();
    for killed in by_file.values_mut() {
        killed.sort_unstable();
        in_order.extend(
            killed.iter().enumerate().map(|(place, &(millis, number))| (place, millis, number)),
        );
    }
    in_order.sort_unstable();
    let mut left = time;
    let fits = |&(_, millis, number): &(usize, u64, usize)| {
        // What starting a process takes comes on top.
        left = left.checked_sub(Duration::from_millis(millis + 30))?;
        Some(number)
    };
    in_order.iter().map_while(fits).collect()
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

    fn build<'a>(&mut self, suites: impl Iterator<Item = &'a Suite>) -> Result<(), Box<dyn Error>> {
        self.survey.write(&self.project, &self.copy)?;
        for suite in suites {
            self.killers.extend(suite.build(&self.project.root, &self.copy)?);
        }
        Ok(())
    }

    /// Compares the table with the code, without running anything.
    fn compare(&self, known: &BTreeMap<table::Key, Row>) -> Result<(), Box<dyn Error>> {
        let keys = table::keys(&self.survey.mutants);
        let present: BTreeSet<_> = keys.iter().collect();
        let mut errors: Vec<String> = known
            .keys()
            .filter(|key| !present.contains(key))
            .map(|key| format!("in the table and no longer in the code: {key:?}"))
            .collect();
        for (key, mutant) in keys.iter().zip(&self.survey.mutants) {
            let wrong = match known.get(key) {
                None => "not in the table",
                Some(Row { fate: Fate::Unknown, .. }) => "not searched",
                Some(Row { fate: Fate::Survives, .. }) => "survives",
                Some(Row { fate: Fate::Killed { .. }, .. }) if mutant.reason.is_some() => {
                    "killed, and a comment says that nothing can"
                }
                Some(Row { fate: Fate::Carried(_), .. }) if mutant.reason.is_none() => {
                    "nothing kills it and no comment says why"
                }
                Some(Row { fate: Fate::Carried(reason), .. })
                    if mutant.reason.as_ref() != Some(reason) =>
                {
                    "not killed, for another reason than its comment gives"
                }
                Some(row @ Row { fate: Fate::Carried(_), .. }) if !row.is_of(mutant) => {
                    "not killed, and the function has changed since: search it again"
                }
                Some(_) => continue,
            };
            errors.push(format!("{wrong}: {}", mutant.name()));
        }
        if errors.is_empty() { Ok(()) } else { Err(errors.join("\n").into()) }
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

    /// Runs each of `chosen` against the killer that `known` names, and each such killer without a mutant.
    fn check(
        &self,
        known: &BTreeMap<table::Key, Row>,
        chosen: &[usize],
    ) -> Result<String, Box<dyn Error>> {
        self.compare(known)?;
        let keys = table::keys(&self.survey.mutants);
        let mut errors = Vec::new();
        let (mut work, mut carried) = (Vec::new(), 0);
        for &number in chosen {
            let name = self.survey.mutants[number - 1].name();
            let Fate::Killed { killer, .. } = &known[&keys[number - 1]].fate else {
                carried += 1;
                continue;
            };
            match self.killers.iter().find(|it| it.name == *killer) {
                Some(killer) => work.push((number, name, killer)),
                None => errors.push(format!("no test {killer}, which killed {name}")),
            }
        }
        let killed = work.len();
        let slowest: Mutex<BTreeMap<&str, (Duration, &Killer)>> = Mutex::default();
        let alive = parallel(&work, |(number, name, killer), scratch| {
            let verdict = killer.run(*number, LIMIT, scratch)?;
            let Verdict::Failed { millis, .. } = verdict else {
                return Ok(Some(format!("{} no longer kills {name}", killer.name)));
            };
            let took = Duration::from_millis(millis.max(20));
            let mut slowest = slowest.lock().map_err(|_| "a worker panicked")?;
            let of_killer = slowest.entry(&killer.name).or_insert((took, killer));
            of_killer.0 = of_killer.0.max(took);
            Ok(None)
        })?;
        errors.extend(alive.into_iter().flatten());
        // A test that fails anyway kills nothing. None need run to its end: only for longer than it took to kill.
        let controls: Vec<_> =
            slowest.into_inner().map_err(|_| "a worker panicked")?.into_values().collect();
        let failing = parallel(&controls, |(took, killer), scratch| {
            let verdict = killer.run(0, *took * 3 / 2, scratch)?;
            Ok(matches!(verdict, Verdict::Failed { .. })
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

    /// Finds out what kills each mutant, within `limit` of processor time for each test, and gives what is known to `keep` after each.
    /// Those that `known` has a killer for, and whose function is what it was, are left alone.
    fn search(
        &self,
        known: &BTreeMap<table::Key, Row>,
        only: Option<&str>,
        limit: Duration,
        keep: &(dyn Fn(&[Row]) -> std::io::Result<()> + Sync),
    ) -> Result<Vec<Row>, Box<dyn Error>> {
        let keys = table::keys(&self.survey.mutants);
        let rows: Vec<Row> =
            keys.iter().map(|key| known.get(key).cloned().unwrap_or(Row::UNKNOWN)).collect();
        let is_open = |number: &usize| {
            let (mutant, row) = (&self.survey.mutants[number - 1], &rows[number - 1]);
            let Fate::Killed { killer, .. } = &row.fate else { return true };
            let is_there = self.killers.iter().any(|it| it.name == *killer);
            !row.is_of(mutant) || !is_there || mutant.reason.is_some()
        };
        let work: Vec<usize> = self.chosen(only).into_iter().filter(is_open).collect();
        keep(&rows)?;
        let reached = parallel(&self.killers, |killer, scratch| killer.reached(REACH, scratch))?;
        let kills: Vec<AtomicUsize> = self
            .killers
            .iter()
            .map(|killer| {
                let is_by = |row: &&Row| matches!(&row.fate, Fate::Killed { killer: by, .. } if *by == killer.name);
                AtomicUsize::new(rows.iter().filter(is_by).count())
            })
            .collect();
        let rows = Mutex::new(rows);
        parallel(&work, |&number, scratch| {
            let mutant = &self.survey.mutants[number - 1];
            let known = rows.lock().map_err(|_| "a worker panicked")?[number - 1].fate.clone();
            let fate = self.fate(number, &known, &reached, &kills, limit, scratch)?;
            println!("{}: {fate:?}", mutant.name());
            let mut rows = rows.lock().map_err(|_| "a worker panicked")?;
            rows[number - 1] = Row { fate, source: mutant.source };
            Ok(keep(&rows)?)
        })?;
        Ok(rows.into_inner().map_err(|_| "a worker panicked")?)
    }

    fn fate(
        &self,
        number: usize,
        known: &Fate,
        reached: &[BTreeSet<usize>],
        kills: &[AtomicUsize],
        limit: Duration,
        scratch: &Path,
    ) -> Result<Fate, Box<dyn Error>> {
        let is_known = |killer: &Killer| matches!(known, Fate::Killed { killer: name, .. } if *name == killer.name);
        let mut candidates: Vec<usize> = (0..self.killers.len())
            .filter(|&index| reached[index].contains(&number) || is_known(&self.killers[index]))
            // What x86 orders anyway, only the model checker can show.
            .filter(|&index| {
                !self.survey.mutants[number - 1].is_of_ordering() || self.killers[index].is_model
            })
            .collect();
        // First what has killed it before, then what has killed most.
        candidates.sort_by_key(|&index| {
            let rank = usize::MAX - kills[index].load(Ordering::Relaxed);
            (!is_known(&self.killers[index]), rank)
        });
        // All of them for a short time first: what kills fast is worth more than what kills.
        let mut step = Duration::from_secs(1).min(limit);
        while !candidates.is_empty() {
            let mut left = Vec::new();
            for index in candidates {
                let killer = &self.killers[index];
                match killer.run(number, step, scratch)? {
                    Verdict::Failed { executions, millis } => {
                        kills[index].fetch_add(1, Ordering::Relaxed);
                        let killer = killer.name.clone();
                        return Ok(Fate::Killed { killer, executions, millis });
                    }
                    Verdict::NotYet if step < limit => left.push(index),
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
