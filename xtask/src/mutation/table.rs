//! `docs/mutation.md`: every mutant, and what kills it or why nothing has to.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::sites::{Mutant, NO_SITES};

/// What became of a mutant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    /// A test fails.
    Killed {
        /// The test, as `binary::test`.
        killer: String,
        /// Executions until it failed, where it counts them.
        executions: Option<u64>,
        /// What it took, in milliseconds of processor time.
        millis: u64,
    },
    /// No test fails, for the reason that the source gives.
    Carried(String),
    /// No test fails, and the source says nothing.
    Survives,
    /// Nobody has looked.
    Unknown,
}

/// What the table says of a mutant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) fate: Fate,
    /// [`Mutant::source`] when that was found out; 0 when it was not.
    pub(super) source: u64,
}

impl Row {
    pub(super) const UNKNOWN: Self = Self { fate: Fate::Unknown, source: 0 };

    /// Tells whether the code around `mutant` is what it was when its fate was found out.
    pub(super) fn is_of(&self, mutant: &Mutant) -> bool {
        self.source == mutant.source
    }
}

/// Who a mutant is, from one version of the source to the next.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    file: String,
    function: String,
    code: String,
    mutation: String,
    /// Among those that are the same in all of that, from 0.
    number: usize,
}

/// The keys of `mutants`, in the same order.
pub(super) fn keys(mutants: &[Mutant]) -> Vec<Key> {
    let mut seen = BTreeMap::new();
    mutants
        .iter()
        .map(|mutant| {
            numbered(&mut seen, &mutant.file, &mutant.function, &mutant.code, &mutant.mutation)
        })
        .collect()
}

fn numbered(
    seen: &mut BTreeMap<[String; 4], usize>,
    file: &str,
    function: &str,
    code: &str,
    mutation: &str,
) -> Key {
    let of = [file, function, code, mutation].map(String::from);
    let next = seen.entry(of.clone()).or_default();
    let number = *next;
    *next += 1;
    let [file, function, code, mutation] = of;
    Key { file, function, code, mutation, number }
}

const HEAD: &str = "| function | code | mutation | what kills it | executions | seconds | source |\n\
                    |---|---|---|---|---|---|---|\n";

const INTRODUCTION: &str = "# Orderings, barriers and publications, and what fails without each

Written by `cargo xtask mutation --search`; do not edit. Every ordering, barrier, publication, flush, deferral and exclusion of the
protocol crates is made wrong, one at a time, in a copy of the workspace that is built once. The list is taken from the source
(`xtask/src/mutation/sites.rs` says what is mutated and how), and a test compares it with the bare words of the source, so that none is forgotten.

* *What kills it* is the test that failed first; others may. *Executions* are the model checker's until it failed, *seconds* are processor time until then.
* A mutant that nothing kills has a reason beside its site, `// MUTATION:`, which stands here. One without fails `cargo xtask verify mutation`.
* *Source* is a hash of the function around the site. `cargo xtask verify mutation` compares the list and the hashes with the code, and runs anew the
  mutants whose function has changed and a sample of the others; `cargo xtask mutation` runs each against its killer.
* What is not a mutant: a relaxed access, which nothing is weaker than; a lock whose guard leads to the data, which the compiler does not let anybody leave out;
  and these calls:

";

/// Words before the reason of one that nothing kills.
const CARRIED: &str = "not killed: ";
const SURVIVES: &str = "**survives**";
const UNKNOWN: &str = "**not searched**";

/// The crate of a file, as a path.
fn crate_of(file: &str) -> &str {
    file.split_once("/src/").map_or(file, |(krate, _)| krate)
}

/// Counts `rows` by fate: killed, carried, surviving, unknown.
fn counts<'a>(rows: impl IntoIterator<Item = &'a Row>) -> [usize; 4] {
    let mut counts = [0; 4];
    for row in rows {
        counts[match row.fate {
            Fate::Killed { .. } => 0,
            Fate::Carried(_) => 1,
            Fate::Survives => 2,
            Fate::Unknown => 3,
        }] += 1;
    }
    counts
}

/// Writes the table down.
pub(super) fn written(mutants: &[Mutant], rows: &[Row]) -> String {
    let mut text = String::from(INTRODUCTION);
    for (file, call, reason) in NO_SITES {
        let _ = writeln!(text, "  * `{call}` in {file}: {reason};");
    }
    text.push_str(
        "\n| crate | mutants | killed | not killed, for a reason | survive | not searched |\n|---|---|---|---|---|---|\n",
    );
    let mut crates: Vec<&str> = Vec::new();
    for mutant in mutants {
        let krate = crate_of(&mutant.file);
        if !crates.contains(&krate) {
            crates.push(krate);
        }
    }
    let mut summary = |name: &str, of: &dyn Fn(&Mutant) -> bool| {
        let of_it = mutants.iter().zip(rows).filter(|(mutant, _)| of(mutant)).map(|(_, row)| row);
        let [killed, carried, survive, unknown] = counts(of_it);
        let all = killed + carried + survive + unknown;
        let _ = writeln!(text, "| {name} | {all} | {killed} | {carried} | {survive} | {unknown} |");
    };
    for krate in crates {
        summary(krate, &|mutant| crate_of(&mutant.file) == krate);
    }
    summary("all", &|_| true);
    let mut file = "";
    for (mutant, row) in mutants.iter().zip(rows) {
        if mutant.file != file {
            file = &mutant.file;
            let _ = write!(text, "\n## {file}\n\n{HEAD}");
        }
        let (mut executions_until, mut seconds) = (String::new(), String::new());
        let by = match &row.fate {
            Fate::Killed { killer, executions, millis } => {
                executions_until = executions.map_or(String::new(), |it| it.to_string());
                seconds = format!("{}.{:02}", millis / 1000, millis % 1000 / 10);
                format!("`{killer}`")
            }
            Fate::Carried(reason) => format!("{CARRIED}{}", escaped(reason)),
            Fate::Survives => String::from(SURVIVES),
            Fate::Unknown => String::from(UNKNOWN),
        };
        let _ = writeln!(
            text,
            "| `{}` | `{}` | {} | {by} | {executions_until} | {seconds} | {:016x} |",
            mutant.function,
            escaped(&mutant.code),
            mutant.mutation,
            row.source,
        );
    }
    text
}

/// Reads a table back.
///
/// # Errors
///
/// A row that [`written`] does not write.
pub(super) fn read(text: &str) -> Result<BTreeMap<Key, Row>, String> {
    let (mut rows, mut seen, mut file) = (BTreeMap::new(), BTreeMap::new(), "");
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("## ") {
            file = name;
        }
        let Some(row) = line.strip_prefix("| `") else { continue };
        let cells: Vec<&str> = row.trim_end_matches(" |").split(" | ").collect();
        let [function, code, mutation, by, executions, seconds, source] = &cells[..] else {
            return Err(format!("not a row of the table: {line}"));
        };
        let code = code.trim_matches('`').replace("\\|", "|");
        let key = numbered(&mut seen, file, function.trim_end_matches('`'), &code, mutation);
        let fate = if let Some(reason) = by.strip_prefix(CARRIED) {
            Fate::Carried(reason.replace("\\|", "|"))
        } else if let Some(killer) = by.strip_prefix('`') {
            Fate::Killed {
                killer: killer.trim_end_matches('`').to_owned(),
                executions: executions.trim().parse().ok(),
                millis: millis(seconds).ok_or_else(|| format!("not seconds: {line}"))?,
            }
        } else if *by == SURVIVES {
            Fate::Survives
        } else {
            Fate::Unknown
        };
        let source =
            u64::from_str_radix(source, 16).map_err(|_| format!("not a hash of source: {line}"))?;
        rows.insert(key, Row { fate, source });
    }
    Ok(rows)
}

/// Reads seconds with two places.
fn millis(seconds: &str) -> Option<u64> {
    let (whole, hundredths) = seconds.trim().split_once('.')?;
    Some(whole.parse::<u64>().ok()? * 1000 + hundredths.parse::<u64>().ok()? * 10)
}

fn escaped(text: &str) -> String {
    text.replace('|', "\\|")
}
