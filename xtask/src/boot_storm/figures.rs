//! What the guest counted.

use serde_json::{Map, Value};
use std::fmt;

/// The figures of one run, by name, in the guest's order.
#[derive(Debug)]
pub(super) struct Figures {
    verdict: String,
    counts: Vec<(String, u64)>,
}

/// What a line of the guest begins with. See `figures.rs` of the kernel's storm.
const MARK: &str = "storm figures: ";

/// Figures that are mistakes.
const MISTAKES: [&str; 7] =
    ["missed", "stale", "corrupted", "leaked", "litmus_fenced", "litmus_exchanged", "litmus_loads"];

impl Figures {
    /// Reads them off a serial log; `None` when they are not there.
    pub(super) fn read(log: &str) -> Option<Self> {
        let line = log.lines().rev().find_map(|line| line.strip_prefix(MARK))?;
        let mut verdict = String::new();
        let mut counts = Vec::new();
        for (name, value) in line.split_ascii_whitespace().filter_map(|word| word.split_once('=')) {
            match value.parse() {
                Ok(count) => counts.push((name.to_owned(), count)),
                Err(_) if name == "verdict" => value.clone_into(&mut verdict),
                Err(_) => return None,
            }
        }
        Some(Self { verdict, counts })
    }

    /// Returns the figure with this name.
    pub(super) fn get(&self, name: &str) -> u64 {
        self.counts.iter().find(|(other, _)| other == name).map_or(0, |(_, count)| *count)
    }

    /// Tells whether nothing was wrong.
    pub(super) fn passed(&self) -> bool {
        self.verdict == "passed" && MISTAKES.iter().all(|name| self.get(name) == 0)
    }

    pub(super) fn to_json(&self) -> Value {
        let mut object = Map::new();
        object.insert("verdict".into(), self.verdict.clone().into());
        object.extend(self.counts.iter().map(|(name, count)| (name.clone(), (*count).into())));
        object.into()
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, count) in &self.counts {
            let name = name.replace('_', " ");
            writeln!(f, "{name:22} {count:>12}")?;
        }
        writeln!(f, "{}", self.verdict)
    }
}
