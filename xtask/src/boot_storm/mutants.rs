//! Mutants in the guest: each must be caught wherever an emulator on real cores can show it.

use super::{Arguments, Lab, Run};
use crate::loom;
use crate::qemu::Ending;
use mutants::Mutant;
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

/// Runs `mutant` until it is caught. Ends with success if it is.
pub(super) fn run_one(arguments: &Arguments, mutant: Mutant) -> crate::Outcome {
    let lab = Lab::new(arguments, &["mutants"])?;
    match catch(&lab, mutant, arguments.attempts)? {
        Catch::Nothing => Err(format!("{mutant} was not caught").into()),
        caught => {
            println!("{mutant}: {}", describe(&caught));
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Runs every mutant, and none, and writes the table.
pub(super) fn run_all(arguments: &Arguments) -> crate::Outcome {
    let lab = Lab::new(arguments, &["mutants"])?;
    let control = lab.run("")?;
    if !control.figures.as_ref().is_some_and(super::Figures::passed) {
        return Err(format!("without a mutant: {}\n{}", control.ending, control.report()).into());
    }
    let mut table = format!(
        "# The mutants in the guest\n\n\
         Written by `cargo xtask boot-storm --mutant all`; do not edit. This run: {} processors, `-cpu {}`, {} s of storm \
         and at most {} attempts for each mutant; without a mutant, the same kernel passed.\n\n\
         A mutant whose barrier is missing shows only where a store is still in its processor's store buffer when another \
         processor has done its load. The emulator (TCG, one host thread for each processor) can show that, as the litmus test \
         does; the storm's duels show it for the protocol itself.\n\n\
         | mutant | what is wrong | in the guest |\n|---|---|---|\n",
        arguments.smp, arguments.cpu, arguments.seconds, arguments.attempts
    );
    let mut missing = Vec::new();
    for &mutant in Mutant::ALL {
        let caught = catch(&lab, mutant, arguments.attempts)?;
        let described = match (&caught, litmus_of(mutant)) {
            // The litmus test has its barriers, and shows it where two host processors are free.
            (Catch::Nothing, Some(_)) => {
                "not shown in these runs, by the litmus test neither".into()
            }
            _ => describe(&caught),
        };
        println!("{mutant}: {described}");
        writeln!(table, "| `{mutant}` | {} | {} |", mutant.what(), described)?;
        if matches!(caught, Catch::Nothing) {
            missing.push(mutant.name());
        }
    }
    fs::write(loom::root().join("docs/mutants-guest.md"), table)?;
    if missing.is_empty() {
        Ok(ExitCode::SUCCESS)
    } else {
        Err(format!("not caught: {}", missing.join(", ")).into())
    }
}

fn catch(lab: &Lab, mutant: Mutant, attempts: u32) -> Result<Catch, Box<dyn Error>> {
    let mut seen_by_litmus = 0;
    for _ in 0..attempts {
        // One that hangs the guest is told by the watchdog, and need not wait for it as long as others.
        let run = lab.run(&format!("mutant={mutant} watchdog=5 {}", focus(mutant)))?;
        match caught_by(&run) {
            Catch::Nothing => {}
            caught => return Ok(caught),
        }
        if let (Some(figures), Some(form)) = (&run.figures, litmus_of(mutant)) {
            seen_by_litmus += figures.get(form);
        }
    }
    Ok(if seen_by_litmus > 0 { Catch::Litmus(seen_by_litmus) } else { Catch::Nothing })
}

/// What the guest shall spend its time on: the duel in which the wrong step matters, where there is one.
fn focus(mutant: Mutant) -> &'static str {
    // By name: the list grows, and what is new shows at random or not at all until it gets a duel of its own.
    match mutant.name() {
        "fork-barrier-gone" | "fork-barrier-weak" | "walk-barrier-gone" | "walk-barrier-weak"
        | "plain-store" => "duels=90 duel=publication",
        "stamp-after-copy" | "copy-before-publication" => "duels=90 duel=copy",
        "synced-before-walk" | "present-is-synced" => "duels=90 duel=twins",
        "cpu-walk-left-out" | "cpus-before-tasks" => "duels=90 duel=exit",
        "attach-without-late-init" => "duels=90 duel=attach",
        "pgd-freed-early" => "duels=90 duel=free",
        _ => "duels=50",
    }
}

fn caught_by(run: &Run) -> Catch {
    if run.figures.as_ref().is_some_and(super::Figures::passed) {
        return Catch::Nothing;
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

/// The form of the litmus test that has the mutant's barriers.
fn litmus_of(mutant: Mutant) -> Option<&'static str> {
    match mutant {
        Mutant::ForkBarrierGone | Mutant::ForkBarrierWeak => Some("litmus_first_gone"),
        Mutant::WalkBarrierGone | Mutant::WalkBarrierWeak => Some("litmus_second_gone"),
        _ => None,
    }
}

fn describe(caught: &Catch) -> String {
    match caught {
        Catch::Storm(failure) => {
            // Up to the processor's number: what follows differs from run to run.
            let short = failure.split(" on cpu").next().unwrap_or(failure);
            let words = short.split(' ').filter(|word| !word.starts_with("0x") && *word != "at");
            format!("caught by the storm: {}", words.collect::<Vec<_>>().join(" "))
        }
        Catch::Death(what) if what.contains(" is stuck: ") => {
            "caught by the watchdog: a processor is stuck".into()
        }
        Catch::Death(what) => format!("caught: {what}"),
        Catch::Litmus(rounds) => {
            format!(
                "caught by the litmus test with its barriers ({rounds} rounds); the storm does not show it"
            )
        }
        Catch::Nothing => "not shown in these runs; loom kills it".into(),
    }
}
