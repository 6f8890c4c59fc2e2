//! `docs/mutation.md`: every mutant, and what kills it or why nothing has to.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::sites::Mutant;

/// What became of a mutant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    /// A test fails.
    Killed {
        /// The test, as `binary::test`.
        killer: String,
        /// Executions until it failed, where it counts them.
        executions: Option<u64>,
    },
    /// No test fails, for the reason that the source gives.
    Carried(String),
    /// No test fails, and the source says nothing.
    Survives,
    /// Nobody has looked.
    Unknown,
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

const HEAD: &str =
    "| function | code | mutation | what kills it | executions |\n|---|---|---|---|---|\n";

/// Words before the reason of one that nothing kills.
const CARRIED: &str = "not killed: ";
const SURVIVES: &str = "**survives**";
const UNKNOWN: &str = "**not searched**";

/// Writes the table down.
pub(super) fn written(mutants: &[Mutant], fates: &[Fate]) -> String {
    let count = |is: fn(&Fate) -> bool| fates.iter().filter(|fate| is(fate)).count();
    let mut text = format!(
        "# Orderings, barriers and publications, and what fails without each\n\n\
         Written by `cargo xtask mutation --search`; do not edit. `cargo xtask mutation` runs each mutant against what is recorded \
         here. The list is taken from the source (`xtask/src/mutation/sites.rs` says what is mutated and how); \
         executions are the model checker's, until it failed.\n\n\
         {} mutants: {} killed, {} that nothing kills for a reason given at the site, {} that survive, {} not searched.\n",
        mutants.len(),
        count(|fate| matches!(fate, Fate::Killed { .. })),
        count(|fate| matches!(fate, Fate::Carried(_))),
        count(|fate| matches!(fate, Fate::Survives)),
        count(|fate| matches!(fate, Fate::Unknown)),
    );
    let mut file = "";
    for (mutant, fate) in mutants.iter().zip(fates) {
        if mutant.file != file {
            file = &mutant.file;
            let _ = write!(text, "\n## {file}\n\n{HEAD}");
        }
        let (by, executions) = match fate {
            Fate::Killed { killer, executions } => {
                (format!("`{killer}`"), executions.map_or(String::new(), |it| it.to_string()))
            }
            Fate::Carried(reason) => (format!("{CARRIED}{}", escaped(reason)), String::new()),
            Fate::Survives => (String::from(SURVIVES), String::new()),
            Fate::Unknown => (String::from(UNKNOWN), String::new()),
        };
        let _ = writeln!(
            text,
            "| `{}` | `{}` | {} | {by} | {executions} |",
            mutant.function,
            escaped(&mutant.code),
            mutant.mutation,
        );
    }
    text
}

/// Reads a table back.
///
/// # Errors
///
/// A row that [`written`] does not write.
pub(super) fn read(text: &str) -> Result<BTreeMap<Key, Fate>, String> {
    let (mut fates, mut seen, mut file) = (BTreeMap::new(), BTreeMap::new(), "");
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("## ") {
            file = name;
        }
        let Some(row) = line.strip_prefix("| `") else { continue };
        let cells: Vec<&str> = row.trim_end_matches(" |").split(" | ").collect();
        let [function, code, mutation, by, executions @ ..] = &cells[..] else {
            return Err(format!("not a row of the table: {line}"));
        };
        let code = code.trim_matches('`').replace("\\|", "|");
        let key = numbered(&mut seen, file, function.trim_end_matches('`'), &code, mutation);
        let fate = if let Some(reason) = by.strip_prefix(CARRIED) {
            Fate::Carried(reason.replace("\\|", "|"))
        } else if let Some(killer) = by.strip_prefix('`') {
            let executions = executions.first().and_then(|it| it.trim().parse().ok());
            Fate::Killed { killer: killer.trim_end_matches('`').to_owned(), executions }
        } else if *by == SURVIVES {
            Fate::Survives
        } else {
            Fate::Unknown
        };
        fates.insert(key, fate);
    }
    Ok(fates)
}

fn escaped(text: &str) -> String {
    text.replace('|', "\\|")
}
