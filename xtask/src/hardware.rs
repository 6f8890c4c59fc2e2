//! `cargo xtask verify hardware` and `cargo xtask hardware`: what this machine's processors show of a missing barrier.
//!
//! Two programs race two threads, each kept on a processor of its own. `litmus` runs litmus tests; `storm --duels` runs the crates' own
//! fork against their own growth, with and without each barrier of the two. With the barriers nothing may be seen, whatever
//! the machine does. Without, something must be: store buffering within moments on every x86 processor, a lost update
//! once there were duels enough. A machine that others use runs both threads at once only now and then, so a form goes on until it
//! has shown itself or its time is over, and a race that was too short to tell says so.

mod document;
mod duels;
mod program;
mod row;

use std::error::Error;
use std::fs;
use std::process::{Command, ExitCode};

use clap::Args;

use self::document::document;
use self::program::parse;
use self::row::{Row, judge};
use crate::Outcome;
use crate::loom::root;

/// How long to race.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Seconds for all forms together, about
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u64).range(5..=86_400))]
    seconds: u64,
    /// Do not write docs/hardware.md, only check
    #[arg(long)]
    check: bool,
}

/// Seconds that `verify` takes.
const VERIFY_SECONDS: u64 = 27;

/// Races for half a minute; `only` the litmus tests, or the duels.
pub(crate) fn verify(only: Option<&str>) -> Result<String, Box<dyn Error>> {
    if only.is_some_and(|only| !["litmus", "duels"].contains(&only)) {
        return Err(
            format!("no part {:?}; known are litmus, duels", only.unwrap_or_default()).into()
        );
    }
    build()?;
    let mut rows = Vec::new();
    if only != Some("duels") {
        rows.extend(litmus(VERIFY_SECONDS)?);
    }
    if only != Some("litmus") {
        rows.extend(duels::race_all(VERIFY_SECONDS)?);
    }
    judge(&rows)
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    build()?;
    let load = load();
    let litmus = litmus(arguments.seconds)?;
    let duels = duels::race_all(arguments.seconds)?;
    if !arguments.check {
        let text = document(&litmus, &duels, &load)?;
        fs::write(root().join("docs/hardware.md"), text)?;
    }
    let rows: Vec<Row> = litmus.into_iter().chain(duels).collect();
    println!("{}", judge(&rows)?);
    Ok(ExitCode::SUCCESS)
}

fn build() -> Result<(), Box<dyn Error>> {
    let built = Command::new(env!("CARGO"))
        .current_dir(root())
        .args(["build", "--quiet", "--release", "--package", "litmus", "--package", "storm"])
        .status()?;
    if built.success() { Ok(()) } else { Err("the litmus tests and the storm do not build".into()) }
}

/// Runs the litmus tests, for a third of `seconds`.
fn litmus(seconds: u64) -> Result<Vec<Row>, Box<dyn Error>> {
    // Nine forms take this long, and five, which must be seen, a quarter of it or more.
    let each = seconds as f64 / 3.0 / 10.25;
    let output = Command::new(root().join("target/release/litmus"))
        .args(["--json", "--seconds", &each.to_string()])
        .output()?;
    // 1 says that a row is wrong, which `judge` finds again.
    let rows: Vec<Row> = parse("litmus", &output)?;
    rows.iter().for_each(Row::print);
    Ok(rows)
}

/// Load averages: above zero, others were at work.
fn load() -> String {
    let averages = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    averages.split(' ').take(3).collect::<Vec<_>>().join(" ")
}
