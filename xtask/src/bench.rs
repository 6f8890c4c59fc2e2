//! `cargo xtask bench`: this project beside the schemes that exist, on the same work.

use std::process::{Command, ExitCode};

use clap::Args;

use crate::Outcome;
use crate::loom;

/// How to compare.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Print the figures as one JSON object and nothing else
    #[arg(long)]
    json: bool,
    /// Half a minute instead of some; the figures are rough
    #[arg(long)]
    quick: bool,
    /// Put the plots into docs, and print the README's table last
    #[arg(long, conflicts_with_all = ["json", "quick"])]
    keep: bool,
    /// Leave the shared lines out: stepping through instructions takes minutes
    #[arg(long)]
    untraced: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(loom::root()).args([
        "run",
        "--release",
        "--quiet",
        "--package",
        "benches",
        "--bin",
        "compare",
        "--",
    ]);
    if arguments.json {
        command.arg("--json");
    }
    if arguments.quick {
        command.arg("--quick");
    }
    if arguments.untraced {
        command.arg("--untraced");
    }
    if !command.status()?.success() {
        return Ok(ExitCode::FAILURE);
    }
    if arguments.keep {
        let (from, to) = (loom::root().join("target/bench"), loom::root().join("docs"));
        std::fs::copy(from.join("compare.svg"), to.join("bench.svg"))?;
        std::fs::copy(from.join("model.svg"), to.join("bench-model.svg"))?;
        println!("{}", std::fs::read_to_string(from.join("compare.md"))?);
    }
    Ok(ExitCode::SUCCESS)
}
