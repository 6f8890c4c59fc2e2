//! The storm: a kernel on the host, stormed from all CPUs while it grows.
//!
//! CPUs are threads. They fork, exec, exit and clone threads, borrow mms lazily and attach them to
//! kernel threads, on real 4 KiB page tables, while kernel mappings are added, moved and given back. After each
//! update has returned, every CPU resolves the address through the PGD it has loaded, and through what it remembers of those
//! it had loaded before, by a page walk that knows nothing of the crates; at the end of each round every live mm is looked at.

mod duel;
mod ground;
mod ledger;
mod meeting;
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
use std::time::{Duration, Instant};

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
    let kinds = match (options.mutant, options.scheme) {
        (Some(MutantChoice::List), _) => {
            for mutant in Mutant::ALL {
                println!("{mutant}");
            }
            return ExitCode::SUCCESS;
        }
        (Some(MutantChoice::One(_)), Some(_)) => {
            eprintln!("error: --mutant is a scheme of its own; it cannot be used with --scheme");
            return ExitCode::from(2);
        }
        (Some(MutantChoice::One(mutant)), None) => vec![Kind::Mutant(mutant)],
        (None, Some(Which::Late)) => vec![Kind::Late],
        (None, Some(Which::Locked)) => vec![Kind::Locked],
        (None, Some(Which::Both) | None) => vec![Kind::Late, Kind::Locked],
    };
    let frames = HostFrames::new(FRAMES);
    // A mutant may write to a frame that is free; an allocation that looks notices before it is too late.
    let frames = if options.mutant.is_some() { frames.checked() } else { frames }.leak();
    let progress = progress_bar(&options);
    let share = options.seconds / kinds.len() as u32;
    let reports: Vec<Report> = kinds
        .iter()
        .map(|&kind| {
            progress.set_message(kind.name());
            with_recipe(
                &options,
                kind,
                Storm { options: &options, kind, share, frames, progress: &progress },
            )
        })
        .collect();
    progress.finish_and_clear();
    if options.json {
        report::print_json(&reports);
    } else {
        report::print_table(&options, &reports);
    }
    if reports.iter().all(Report::is_clean) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// One scheme's storm: round after round for its share of the time.
struct Storm<'a> {
    options: &'a Options,
    kind: Kind,
    share: Duration,
    frames: &'static HostFrames,
    progress: &'a ProgressBar,
}

impl Run for Storm<'_> {
    type Output = Report;

    fn run<S: Scheme>(self, recipe: Recipe<S>) -> Report {
        let began = Instant::now();
        let deadline = began + self.share;
        let before = self.progress.position();
        let mut outcome = Outcome::default();
        let mut rounds = 0;
        while rounds == 0 || Instant::now() < deadline {
            recipe.run(self.frames, rounds, deadline, &mut outcome);
            rounds += 1;
            self.progress.set_position(before + began.elapsed().as_millis() as u64);
            if outcome.corrupted > 0 {
                break;
            }
        }
        Report::new(self.options, self.kind, rounds, &outcome)
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
