//! Mutants in the guest: each must be caught wherever an emulator on real cores can show it.

use super::{Arguments, Lab, Run};
use crate::loom;
use crate::qemu::Ending;
use mutants::{InGuest, Mutant};
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::process::ExitCode;

/// Prints the names.
pub(super) fn list() {
    for mutant in Mutant::ALL {
        println!("{mutant}: {}", mutant.what());
    }
}

/// Returns the mutants that a scene shows every time, on a host however busy.
pub(super) fn with_scenes() -> Vec<Mutant> {
    let has_scene = |mutant: &Mutant| matches!(mutant.in_guest(), InGuest::Scene(_));
    Mutant::ALL.iter().copied().filter(has_scene).collect()
}

/// What the runs of a mutant came to.
enum Catch {
    /// The storm reported this.
    Storm(String),
    /// The kernel died of it.
    Death(String),
    /// Only the litmus test with the mutant's barriers shows it.
    Litmus(u64),
    Nothing,
}

/// Runs each of `mutants` until it is caught. Ends with success if all are.
pub(super) fn run_some(arguments: &Arguments, mutants: &[Mutant]) -> crate::Outcome {
    let lab = Lab::new(arguments, &["mutants"])?;
    let mut missing = Vec::new();
    for &mutant in mutants {
        let caught = catch(&lab, mutant, arguments.attempts)?;
        println!("{mutant}: {}", describe(&caught));
        if matches!(caught, Catch::Nothing) {
            missing.push(mutant);
        }
    }
    outcome(&missing)
}

/// Runs every mutant, and none, and writes the table.
pub(super) fn run_all(arguments: &Arguments) -> crate::Outcome {
    let lab = Lab::new(arguments, &["mutants"])?;
    let control = lab.run("")?;
    let Some(right) = control.figures.as_ref().filter(|figures| figures.passed()) else {
        return Err(format!("without a mutant: {}\n{}", control.ending, control.report()).into());
    };
    let mut table = format!(
        "# The mutants in the guest\n\n\
         Written by `cargo xtask boot-storm --mutant all`; do not edit. This run: {} processors, `-cpu {}`, {} s of storm \
         and at most {} attempts for each mutant; without a mutant, the same kernel passed, every scene included.\n\n\
         A *scene* makes one interleaving happen, every time. A mutant whose barrier is missing shows only where a store is still in its \
         processor's store buffer when another processor has done its load: the litmus tests ask whether the emulator (TCG, one host thread \
         for each processor) can show that. Where nothing can, a figure of the run without a mutant says so.\n\n\
         | mutant | what is wrong | in the guest |\n|---|---|---|\n",
        arguments.smp, arguments.cpu, arguments.seconds, arguments.attempts
    );
    let mut missing = Vec::new();
    for &mutant in Mutant::ALL {
        let caught = match mutant.in_guest() {
            InGuest::Unplayed { .. } => Catch::Nothing,
            _ => catch(&lab, mutant, arguments.attempts)?,
        };
        let described = match (&caught, mutant.in_guest()) {
            (Catch::Nothing, InGuest::Hidden { why, unless, of })
                if right.get(unless) == 0 && right.get(of) > 0 =>
            {
                format!("cannot be shown: {why} (`{unless}` is 0, of {} `{of}`)", right.get(of))
            }
            (Catch::Nothing, InGuest::Unplayed { why }) => {
                format!("not tried: {why}; loom kills it")
            }
            (Catch::Nothing, _) => {
                missing.push(mutant);
                "not shown in these runs; loom kills it".into()
            }
            _ => describe(&caught),
        };
        println!("{mutant}: {described}");
        writeln!(table, "| `{mutant}` | {} | {} |", mutant.what(), described)?;
    }
    fs::write(loom::root().join("docs/mutants-guest.md"), table)?;
    outcome(&missing)
}

fn outcome(missing: &[Mutant]) -> crate::Outcome {
    if missing.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let names: Vec<_> = missing.iter().map(|mutant| mutant.name()).collect();
    Err(format!("not caught: {}", names.join(", ")).into())
}

fn catch(lab: &Lab, mutant: Mutant, attempts: u32) -> Result<Catch, Box<dyn Error>> {
    for _ in 0..attempts {
        // One that hangs the guest is told by the watchdog, and need not wait for it as long as others.
        let run = lab.run(&format!("mutant={mutant} watchdog=5 {}", focus(mutant)))?;
        match caught_by(&run, mutant) {
            Catch::Nothing => {}
            caught => return Ok(caught),
        }
    }
    Ok(Catch::Nothing)
}

/// What the guest shall spend its time on.
fn focus(mutant: Mutant) -> String {
    match mutant.in_guest() {
        InGuest::Scene(name) => format!("scene={name} litmus=0 duels=0"),
        InGuest::Litmus(_) => "litmus=15 duels=90 duel=publication".into(),
        InGuest::Hidden { .. } | InGuest::Unplayed { .. } => "duels=50".into(),
    }
}

fn caught_by(run: &Run, mutant: Mutant) -> Catch {
    if let Some(figures) = run.figures.as_ref().filter(|figures| figures.passed()) {
        return match mutant.in_guest() {
            InGuest::Litmus(form) if figures.get(form) > 0 => Catch::Litmus(figures.get(form)),
            _ => Catch::Nothing,
        };
    }
    if let Some(failure) = run.failure() {
        return Catch::Storm(failure.to_owned());
    }
    if matches!(run.ending, Ending::Timeout(_)) {
        // On a busy host a guest may need longer than it gets; that tells nothing. One that hangs is reported by its own watchdog.
        return Catch::Nothing;
    }
    Catch::Death(run.death().map_or_else(|| run.ending.to_string(), str::to_owned))
}

fn describe(caught: &Catch) -> String {
    match caught {
        Catch::Storm(failure) => {
            // Up to the processor's number: what follows differs from run to run. So do addresses and what was found there.
            let short = failure.split(" on cpu").next().unwrap_or(failure);
            let short = short.split(": 0x").next().unwrap_or(short);
            let words = short.split(' ').filter(|word| !word.starts_with("0x") && *word != "at");
            format!("caught: {}", words.collect::<Vec<_>>().join(" "))
        }
        Catch::Death(what) if what.contains(" is stuck: ") => {
            "caught by the watchdog: a processor is stuck".into()
        }
        Catch::Death(what) => format!("caught: the kernel died: {what}"),
        Catch::Litmus(rounds) => {
            format!(
                "caught by the litmus test with its barriers ({rounds} rounds); the storm does not show it"
            )
        }
        Catch::Nothing => "not caught".into(),
    }
}
