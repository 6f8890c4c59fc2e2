//! Litmus tests on this machine's processors: two threads, each kept on a processor of its own, race through a few accesses
//! again and again, and how often each outcome was seen is counted.
//!
//! Store buffering is the skeleton of fork against growth, and of every other full barrier of the crates: each side stores to its own word
//! and then loads the other's. Message passing and load buffering are what the crates' acquire and release accesses rely on.
//! What a processor never shows, a barrier that orders it cannot be seen to be missing on; the rows say which those are.
//!
//! `cargo xtask verify hardware` runs it, together with duels of the crates' own code.

mod barrier;
mod form;
mod race;
mod shapes;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use hosted::affinity::allowed_cpus;
use serde::Serialize;

use crate::form::{Expectation, FORMS};
use crate::race::Race;

/// Races pinned threads through litmus tests and counts what they see.
///
/// Exits with 1 when something was seen that a barrier forbids, or not seen that every x86 processor shows; with 2 where there
/// are not two processors.
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    /// Print one JSON object on standard output instead of a table
    #[arg(long)]
    json: bool,
    /// Seconds for each form that must not be seen. Forms that must be, end when they have been
    #[arg(long, default_value_t = 1.0, value_parser = seconds)]
    seconds: f64,
}

/// How long a form that must be seen is raced at most; a busy machine seldom runs both threads at once.
const PATIENCE: Duration = Duration::from_secs(60);

/// A form and what came of it.
#[derive(Debug, Serialize)]
struct Row {
    name: &'static str,
    expectation: Expectation,
    rounds: u64,
    seen: u64,
    seconds: f64,
}

impl Row {
    fn is_as_expected(&self) -> bool {
        match self.expectation {
            Expectation::Never | Expectation::NeverOnX86 => self.rounds > 0 && self.seen == 0,
            Expectation::Seen => self.seen > 0,
        }
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    let processors = match allowed_cpus() {
        Ok(processors) => processors,
        Err(error) => {
            eprintln!("error: this process's processors: {error}");
            return ExitCode::from(2);
        }
    };
    let &[first, second, ..] = &processors[..] else {
        eprintln!(
            "error: two processors that run at once are needed, and this process may use {processors:?} only"
        );
        return ExitCode::from(2);
    };
    let bound = Duration::from_secs_f64(options.seconds);
    let rows: Vec<Row> = FORMS
        .iter()
        .map(|form| {
            let (least, most) = match form.expectation {
                Expectation::Seen => (bound / 4, bound.max(PATIENCE)),
                Expectation::Never | Expectation::NeverOnX86 => (bound, bound),
            };
            let counted = (form.run)(&Race { processors: [first, second], least, most });
            Row {
                name: form.name,
                expectation: form.expectation,
                rounds: counted.rounds,
                seen: counted.seen,
                seconds: counted.took.as_secs_f64(),
            }
        })
        .collect();
    if options.json {
        println!("{}", serde_json::to_string_pretty(&rows).expect("figures are plain numbers"));
    } else {
        for row in &rows {
            let verdict = if row.is_as_expected() { "" } else { "  WRONG" };
            println!(
                "{:<58}{:>12} rounds{:>10} seen, expected {}{verdict}",
                row.name,
                row.rounds,
                row.seen,
                row.expectation.name()
            );
        }
    }
    if rows.iter().all(Row::is_as_expected) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds > 0.0 && seconds <= 86_400.0 => Ok(seconds),
        _ => Err(format!("{text:?}; more than 0 and at most 86400 seconds are possible")),
    }
}
