//! What came of a form, and whether it is what must come of it.

use std::error::Error;
use std::fmt::Write as _;

use serde::Deserialize;

/// Duels in which a missing barrier shows itself if it can: on an idle machine hundreds of times.
const ENOUGH: u64 = 200_000;

/// What must come of a form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Expectation {
    /// Every x86 processor shows it within moments.
    Seen,
    /// It shows, given enough rounds.
    SeenInTime,
    /// The barriers forbid it.
    Never,
    /// C11 allows it and no x86 processor does it.
    NeverOnX86,
    /// Something else stands in for the barrier, or hides its absence.
    Hidden,
}

/// A form that was raced.
#[derive(Debug, Deserialize)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) expectation: Expectation,
    pub(super) rounds: u64,
    pub(super) seen: u64,
}

impl Row {
    pub(super) fn rate(&self) -> String {
        match (self.seen, self.rounds) {
            (_, 0) => String::from("no round"),
            (0, _) => String::from("0"),
            (seen, rounds) => format!("{:.4} %", 100.0 * seen as f64 / rounds as f64),
        }
    }

    pub(super) fn expected(&self) -> &'static str {
        match self.expectation {
            Expectation::Seen | Expectation::SeenInTime => "some",
            Expectation::Never => "none",
            Expectation::NeverOnX86 => "none: x86 does not do it",
            Expectation::Hidden => "none or few: hidden",
        }
    }

    pub(super) fn print(&self) {
        let Self { name, rounds, seen, .. } = self;
        println!(
            "  {name:<86}{rounds:>10} rounds{seen:>9} seen{:>11}; expected: {}",
            self.rate(),
            self.expected()
        );
    }

    /// What is wrong with it, if anything.
    fn fault(&self) -> Option<String> {
        let Self { name, rounds, seen, .. } = self;
        match self.expectation {
            _ if *rounds == 0 => Some(format!("{name}: not one round; do both processors run?")),
            Expectation::Never | Expectation::NeverOnX86 if *seen > 0 => {
                Some(format!("{name}: seen {seen} times in {rounds} rounds, and must not be"))
            }
            Expectation::Seen if *seen == 0 => Some(format!(
                "{name}: not seen in {rounds} rounds, and every x86 processor shows it"
            )),
            Expectation::SeenInTime if *seen == 0 && *rounds >= ENOUGH => {
                Some(format!("{name}: not seen in {rounds} rounds, which is enough to show it"))
            }
            _ => None,
        }
    }
}

/// Says what was covered, or what was wrong.
pub(super) fn judge(rows: &[Row]) -> Result<String, Box<dyn Error>> {
    let faults: Vec<String> = rows.iter().filter_map(Row::fault).collect();
    if !faults.is_empty() {
        return Err(faults.join("\n  ").into());
    }
    let expected = |expectation: &[Expectation]| {
        rows.iter().filter(|row| expectation.contains(&row.expectation)).collect::<Vec<_>>()
    };
    let silent = expected(&[Expectation::Never, Expectation::NeverOnX86]);
    let shown = expected(&[Expectation::Seen, Expectation::SeenInTime]);
    let unseen: Vec<&str> =
        shown.iter().filter(|row| row.seen == 0).map(|row| row.name.as_str()).collect();
    let mut said = format!(
        "with the barriers nothing in {} rounds of {} forms; without, {} of {} forms were seen",
        silent.iter().map(|row| row.rounds).sum::<u64>(),
        silent.len(),
        shown.len() - unseen.len(),
        shown.len()
    );
    if !unseen.is_empty() {
        write!(said, "; too few rounds, on a machine that others use, for: {}", unseen.join("; "))?;
    }
    Ok(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(expectation: Expectation, rounds: u64, seen: u64) -> Row {
        Row { name: String::from("a form"), expectation, rounds, seen }
    }

    #[test]
    fn what_must_not_be_seen_fails_when_it_is() {
        for expectation in [Expectation::Never, Expectation::NeverOnX86] {
            assert!(judge(&[row(expectation, 1_000_000, 1)]).is_err());
            assert!(judge(&[row(expectation, 1_000_000, 0)]).is_ok());
        }
    }

    #[test]
    fn what_must_be_seen_fails_when_it_is_not_and_there_were_rounds_enough() {
        assert!(judge(&[row(Expectation::Seen, 1, 0)]).is_err());
        assert!(judge(&[row(Expectation::SeenInTime, ENOUGH, 0)]).is_err());
        let said = judge(&[row(Expectation::SeenInTime, ENOUGH - 1, 0)]).expect("too few to tell");
        assert!(said.contains("too few rounds"), "{said}");
        assert!(judge(&[row(Expectation::SeenInTime, 10, 1)]).is_ok());
    }

    #[test]
    fn a_form_without_a_round_fails() {
        for expectation in [Expectation::Never, Expectation::SeenInTime, Expectation::Hidden] {
            assert!(judge(&[row(expectation, 0, 0)]).is_err());
        }
    }
}
