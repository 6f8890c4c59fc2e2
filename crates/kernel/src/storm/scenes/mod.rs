//! Scenes: interleavings that matter, one by one, each made to happen every time.
//!
//! What a duel meets by chance once in a thousand times, a scene plays: in one thread, where what others do falls between its calls;
//! by way of the points of the mutants' scheme, where it falls into the middle of one ([`hold`]); with two actors, where one has
//! to wait for the other. A scene ends with a look through the MMU. The right scheme passes all of them.

mod cue;
#[cfg(feature = "mutants")]
mod exit_in_walk;
#[cfg(feature = "mutants")]
mod exit_under_walker;
mod grace;
#[cfg(feature = "mutants")]
mod growth_after_copy;
mod growth_before_attach;
#[cfg(feature = "mutants")]
mod growth_in_late_init;
#[cfg(feature = "mutants")]
mod growth_in_reclaim;
#[cfg(feature = "mutants")]
mod hold;
#[cfg(feature = "mutants")]
mod look_in_reclaim;
mod owner_gone;
mod reclaimed_before_late_init;
mod remembered_tables;
mod replaced_before_late_init;
#[cfg(feature = "mutants")]
mod same_frame_in_attach;
#[cfg(feature = "mutants")]
mod same_frame_in_late_init;
#[cfg(feature = "mutants")]
mod same_page_in_reclaim;
#[cfg(feature = "mutants")]
mod second_growth;
mod while_loaded;

use super::report::announce;
use super::team::{Orders, Team};
use super::{attacher, figures};
use crate::cpu::smp;
use kernel_sync::atomic::{AtomicUsize, Ordering};

/// A scene.
struct Scene {
    /// On the command line.
    name: &'static str,
    /// Processors that it needs.
    actors: usize,
    /// What actor 0 or 1 does, on the processor of that number.
    play: fn(usize, usize),
}

const SCENES: &[Scene] = &[
    Scene { name: "growth-before-attach", actors: 1, play: growth_before_attach::play },
    Scene { name: "owner-gone", actors: 1, play: owner_gone::play },
    Scene { name: "reclaimed-before-late-init", actors: 1, play: reclaimed_before_late_init::play },
    Scene { name: "remembered-tables", actors: 1, play: remembered_tables::play },
    Scene { name: "replaced-before-late-init", actors: 1, play: replaced_before_late_init::play },
    Scene { name: "while-loaded", actors: 1, play: while_loaded::play },
    #[cfg(feature = "mutants")]
    Scene { name: "exit-in-walk", actors: 1, play: exit_in_walk::play },
    #[cfg(feature = "mutants")]
    Scene { name: "exit-under-walker", actors: 1, play: exit_under_walker::play },
    #[cfg(feature = "mutants")]
    Scene { name: "growth-after-copy", actors: 1, play: growth_after_copy::play },
    #[cfg(feature = "mutants")]
    Scene { name: "growth-in-late-init", actors: 1, play: growth_in_late_init::play },
    #[cfg(feature = "mutants")]
    Scene { name: "growth-in-reclaim", actors: 2, play: growth_in_reclaim::play },
    #[cfg(feature = "mutants")]
    Scene { name: "look-in-reclaim", actors: 1, play: look_in_reclaim::play },
    #[cfg(feature = "mutants")]
    Scene { name: "same-frame-in-attach", actors: 2, play: same_frame_in_attach::play },
    #[cfg(feature = "mutants")]
    Scene { name: "same-frame-in-late-init", actors: 1, play: same_frame_in_late_init::play },
    #[cfg(feature = "mutants")]
    Scene { name: "same-page-in-reclaim", actors: 1, play: same_page_in_reclaim::play },
    #[cfg(feature = "mutants")]
    Scene { name: "second-growth", actors: 1, play: second_growth::play },
];

/// How often each is played.
const TIMES: usize = 3;

/// The one that is being played, by its place in [`SCENES`].
static PLAYED: AtomicUsize = AtomicUsize::new(0);

/// Plays all scenes, or the one that `only` names.
///
/// # Panics
///
/// When `only` names none.
pub(super) fn run(only: Option<&str>) {
    if let Some(only) = only {
        let known = SCENES.iter().any(|scene| scene.name == only);
        assert!(known, "scene={only} names no scene");
    }
    #[cfg(feature = "mutants")]
    mutants::stage::set(hold::reached);
    for (number, scene) in SCENES.iter().enumerate() {
        let is_wanted = only.is_none_or(|only| scene.name == only);
        if !is_wanted || smp::online().count() < scene.actors {
            continue;
        }
        PLAYED.store(number, Ordering::Relaxed);
        for _ in 0..TIMES {
            cue::forget();
            Team::start("actor", actor, scene.actors).join();
            figures::SCENES.one();
        }
    }
    #[cfg(feature = "mutants")]
    mutants::stage::clear();
    announce(format_args!("{} scenes", figures::SCENES.get()));
}

fn actor(number: usize, orders: &Orders) {
    let cpu = orders.claim_processor();
    attacher::leave();
    (SCENES[PLAYED.load(Ordering::Relaxed)].play)(number, cpu);
    attacher::leave();
}
