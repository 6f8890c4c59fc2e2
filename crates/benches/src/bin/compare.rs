//! Compares the schemes: see the library. `cargo xtask bench` runs it.

// The hosted kernel is not built for the model checker.
#![cfg(not(loom))]

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use benches::compare::report::{Report, aims};
use benches::compare::throughput::Measured;
use benches::compare::{Plan, growth, memory, plots, table, throughput, waits, walks};
use benches::machine::Machine;
use benches::{lines, model};
use clap::Parser;

/// Compare this project with the schemes that exist, on the same work in one process
#[derive(Debug, Parser)]
struct Arguments {
    /// Print the figures as one JSON object and nothing else
    #[arg(long)]
    json: bool,
    /// Half a minute instead of some; the figures are rough
    #[arg(long)]
    quick: bool,
    /// Leave the shared lines out: stepping through instructions takes minutes
    #[arg(long)]
    untraced: bool,
    /// Where the plots and the JSON go
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/bench"))]
    out: PathBuf,
    /// Work for a tracer and measure nothing
    #[arg(long, hide = true)]
    traced: Option<String>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match &arguments.traced {
        Some(scheme) => lines::be_traced(scheme),
        None => run(&arguments),
    };
    outcome.map_or_else(
        |error| {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    )
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let plan = if arguments.quick { Plan::QUICK } else { Plan::FULL };
    let machine = Machine::here();
    let progress = |step: &str| eprintln!("{step}");
    let shared_lines = if arguments.untraced {
        Vec::new()
    } else {
        lines::measure(&plan, progress).unwrap_or_else(|error| {
            eprintln!("shared lines are left out: {error}");
            Vec::new()
        })
    };
    let measured = throughput::measure(&plan, machine.cpus, progress);
    let model = model::fit(&measured);
    let Measured { schemes: throughput, alone } = measured;
    let report = Report {
        aims: aims(&throughput, machine.cpus),
        model,
        rounds: plan.rounds,
        growth: growth::measure(&plan, progress),
        waits: waits::measure(&plan, progress),
        memory: memory::measure(),
        walks: walks::measure(&plan, machine.cpus, progress),
        shared_lines,
        throughput,
        alone,
        machine,
    };
    let json = serde_json::to_string_pretty(&report)?;
    std::fs::create_dir_all(&arguments.out)?;
    std::fs::write(arguments.out.join("compare.json"), &json)?;
    std::fs::write(arguments.out.join("compare.md"), table::markdown(&report))?;
    plots::measured(&report, &arguments.out.join("compare.svg"))?;
    plots::predicted(&report, &arguments.out.join("model.svg"))?;
    if arguments.json {
        println!("{json}");
    } else {
        report.print();
        let out = arguments.out.display();
        println!("written: compare.json, compare.md, compare.svg and model.svg in {out}");
    }
    Ok(())
}
