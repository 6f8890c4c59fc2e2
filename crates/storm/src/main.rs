//! The storm: a kernel on the host, stormed from all CPUs while it grows.
//!
//! CPUs are threads. They fork, exec, exit and clone threads, borrow mms lazily and attach them to
//! kernel threads, on real 4 KiB page tables, while kernel mappings are added, moved and given back. After each
//! update has returned, every CPU resolves the address through the PGD it has loaded, and through what it remembers of those
//! it had loaded before, by a page walk that knows nothing of the crates; at the end of each round every live mm is looked at.

mod duel;
mod ground;
mod half;
mod ledger;
mod options;
mod random;
mod report;
mod round;
mod schemes;
mod tally;
mod updates;
mod worker;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use hosted::frames::HostFrames;
use hosted::kernel::Scheme;
use indicatif::{ProgressBar, ProgressStyle};
use mutants::Mutant;

use options::{MutantChoice, Options, Which};
use report::Report;
use round::{Outcome, Recipe};
use schemes::{Kind, Run, with_recipe};

/// Frames of a storm: 64 MiB, far more than live at once.
const FRAMES: usize = 16 * 1024;

fn main() -> ExitCode {
    let options = Options::parse();
    if let Err(error) = options.check() {
        eprintln!("error: {error}");
        return ExitCode::from(2);
    }
    let kinds = match (options.mutant, options.scheme) {
        (Some(MutantChoice::List), _) => {
            for mutant in Mutant::ALL {
                println!("{mutant}");
            }
            return ExitCode::SUCCESS;
        }
        (Some(MutantChoice::One(mutant)), _) => vec![Kind::Mutant(mutant)],
        (None, Some(Which::Late)) => vec![Kind::Late],
        (None, Some(Which::Locked)) => vec![Kind::Locked],
        (None, Some(Which::Both) | None) => vec![Kind::Late, Kind::Locked],
    };
    let frames = HostFrames::new(FRAMES);
    // A mutant may write to a frame that is free; an allocation that looks notices before it is too late.
    let frames = if options.mutant.is_some() { frames.checked() } else { frames }.leak();
    let progress = progress_bar(&options);
    let reports = storm(&options, &kinds, frames, &progress);
    progress.finish_and_clear();
    if options.json {
        report::print_json(&reports);
    } else {
        report::print_table(&options, &reports);
    }
    if reports.iter().all(Report::is_clean) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs the schemes round by round in turn, so that whatever else the machine does meets both alike, until the time is
/// over or something is broken.
fn storm(
    options: &Options,
    kinds: &[Kind],
    frames: &'static HostFrames,
    progress: &ProgressBar,
) -> Vec<Report> {
    let began = Instant::now();
    let deadline = began + options.seconds;
    let mut schemes: Vec<(Kind, Box<dyn Rounds>, Outcome)> = kinds
        .iter()
        .map(|&kind| (kind, with_recipe(options, kind, Boxed), Outcome::default()))
        .collect();
    let mut rounds = 0;
    'storm: while rounds == 0 || Instant::now() < deadline {
        // Who comes second finds the frames warm; the schemes take turns in that, too.
        if rounds % 2 == 1 {
            schemes.reverse();
        }
        for (kind, scheme, outcome) in &mut schemes {
            progress.set_message(kind.name());
            scheme.run(frames, rounds, deadline, outcome);
            progress.set_position(began.elapsed().as_millis() as u64);
            if outcome.corrupted > 0 {
                rounds += 1;
                break 'storm;
            }
        }
        if rounds % 2 == 1 {
            schemes.reverse();
        }
        rounds += 1;
    }
    schemes.sort_by_key(|&(kind, ..)| kinds.iter().position(|&asked| asked == kind));
    let report = |(kind, _, outcome): &_| Report::new(options, *kind, rounds, outcome);
    schemes.iter().map(report).collect()
}

/// A scheme, whatever its types: one round at a time.
trait Rounds {
    fn run(
        &self,
        frames: &'static HostFrames,
        round: u64,
        deadline: Instant,
        outcome: &mut Outcome,
    );
}

impl<S: Scheme> Rounds for Recipe<S> {
    fn run(
        &self,
        frames: &'static HostFrames,
        round: u64,
        deadline: Instant,
        outcome: &mut Outcome,
    ) {
        Recipe::run(self, frames, round, deadline, outcome);
    }
}

/// Makes a recipe one of [`Rounds`].
struct Boxed;

impl Run for Boxed {
    type Output = Box<dyn Rounds>;

    fn run<S: Scheme>(self, recipe: Recipe<S>) -> Box<dyn Rounds> {
        Box::new(recipe)
    }
}

fn progress_bar(options: &Options) -> ProgressBar {
    if options.json || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{msg:>26} [{bar:40}] {elapsed}/{duration}")
        .expect("a valid template");
    ProgressBar::new(options.seconds.as_millis() as u64).with_style(style)
}
