//! Duels of the crates' fork against their growth, with and without each of the two barriers.

use std::error::Error;
use std::process::Command;

use serde_json::Value;

use super::program::parse;
use super::row::{Expectation, Row};
use crate::loom::root;

/// A race of the crates' fork and growth: the storm's arguments, and what must come of them.
struct Duels {
    name: &'static str,
    expectation: Expectation,
    arguments: &'static [&'static str],
}

const DUELS: [Duels; 8] = [
    Duels {
        name: "as it is, walks over the list of mms",
        expectation: Expectation::Never,
        arguments: &["--scheme", "late", "--walk", "mms"],
    },
    Duels {
        name: "as it is, walks through tasks",
        expectation: Expectation::Never,
        arguments: &["--scheme", "late", "--walk", "tasks"],
    },
    Duels {
        name: "no barrier on the fork's side, walks through tasks",
        expectation: Expectation::SeenInTime,
        arguments: &["--mutant", "fork-barrier-gone", "--walk", "tasks"],
    },
    Duels {
        name: "acquire-release on the fork's side, walks through tasks",
        expectation: Expectation::SeenInTime,
        arguments: &["--mutant", "fork-barrier-weak", "--walk", "tasks"],
    },
    Duels {
        name: "no barrier on the walk's side, walks over the list of mms",
        expectation: Expectation::SeenInTime,
        arguments: &["--mutant", "walk-barrier-gone", "--walk", "mms"],
    },
    Duels {
        name: "acquire-release on the walk's side, walks over the list of mms",
        expectation: Expectation::SeenInTime,
        arguments: &["--mutant", "walk-barrier-weak", "--walk", "mms"],
    },
    Duels {
        name: "no barrier on the fork's side, walks over the list of mms",
        expectation: Expectation::Hidden,
        arguments: &["--mutant", "fork-barrier-gone", "--walk", "mms"],
    },
    Duels {
        name: "no barrier on the walk's side, walks through tasks",
        expectation: Expectation::Hidden,
        arguments: &["--mutant", "walk-barrier-gone", "--walk", "tasks"],
    },
];

/// Runs the duels, for the rest of `seconds`.
pub(super) fn race_all(seconds: u64) -> Result<Vec<Row>, Box<dyn Error>> {
    let slice = (seconds as f64 * 2.0 / 3.0 / DUELS.len() as f64).max(0.5);
    let mut rows = Vec::new();
    for duels in &DUELS {
        let mut row = Row {
            name: format!("fork against growth, {}", duels.name),
            expectation: duels.expectation,
            rounds: 0,
            seen: 0,
        };
        // What has to be seen gets three times its share before it counts as not seen.
        for attempt in 1..=3 {
            duels.race(&mut row, slice, attempt)?;
            if row.expectation != Expectation::SeenInTime || row.seen > 0 {
                break;
            }
        }
        row.print();
        rows.push(row);
    }
    Ok(rows)
}

impl Duels {
    /// Duels for `seconds`, and adds to `row`.
    fn race(&self, row: &mut Row, seconds: f64, seed: u64) -> Result<(), Box<dyn Error>> {
        let output = Command::new(root().join("target/release/storm"))
            .args(["--duels", "--pin", "--cpus", "2", "--json"])
            .args(["--seconds", &seconds.to_string(), "--seed", &seed.to_string()])
            .args(self.arguments)
            .output()?;
        let figures: Value = parse("the storm", &output)?;
        let figure = |name: &str| figures[name].as_u64().ok_or(format!("no figure {name:?}"));
        if figures["corrupted"] != 0 || figures["leaked_frames"] != 0 {
            return Err(format!("{}: {figures}", self.name).into());
        }
        row.rounds += figure("duels")?;
        row.seen += figure("missed")?;
        Ok(())
    }
}
