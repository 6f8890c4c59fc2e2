//! Scenes: interleavings that matter, one by one, each made to happen every time.
//!
//! What a duel meets by chance once in a thousand times, a scene plays: in one thread, where what others do falls between its calls;
//! by way of the points of the mutants' scheme, where it falls into the middle of one (`staged`); with two actors, where one has
//! to wait for the other. A scene ends with a look through the MMU. The right scheme passes all of them.

mod grace;
mod growth_before_attach;
mod owner_gone;
mod reclaimed_before_late_init;
mod remembered_tables;
mod replaced_before_late_init;
mod scene;
#[cfg(feature = "mutants")]
mod staged;
mod while_loaded;

use super::report::announce;
use super::team::{Orders, Team};
use super::{attacher, figures};
use crate::cpu::smp;
use kernel_sync::atomic::{AtomicUsize, Ordering};
use scene::Scene;

const SCENES: &[Scene] = &[
    Scene { name: "growth-before-attach", actors: 1, play: growth_before_attach::play },
    Scene { name: "owner-gone", actors: 1, play: owner_gone::play },
    Scene { name: "reclaimed-before-late-init", actors: 1, play: reclaimed_before_late_init::play },
    Scene { name: "remembered-tables", actors: 1, play: remembered_tables::play },
    Scene { name: "replaced-before-late-init", actors: 1, play: replaced_before_late_init::play },
    Scene { name: "while-loaded", actors: 1, play: while_loaded::play },
];

/// How often each is played.
const TIMES: usize = 2;

/// The one that is being played, by its place in [`scenes`].
static PLAYED: AtomicUsize = AtomicUsize::new(0);

fn scenes() -> impl Iterator<Item = &'static Scene> {
    #[cfg(feature = "mutants")]
    return SCENES.iter().chain(staged::SCENES);
    #[cfg(not(feature = "mutants"))]
    return SCENES.iter();
}

/// Plays all scenes, or the one that `only` names.
///
/// # Panics
///
/// When `only` names none.
pub(super) fn run(only: Option<&str>) {
    if let Some(only) = only {
        assert!(scenes().any(|scene| scene.name == only), "scene={only} names no scene");
    }
    for (number, scene) in scenes().enumerate() {
        let is_wanted = only.is_none_or(|only| scene.name == only);
        if !is_wanted || smp::online().count() < scene.actors {
            continue;
        }
        PLAYED.store(number, Ordering::Relaxed);
        for _ in 0..TIMES {
            #[cfg(feature = "mutants")]
            staged::begin();
            Team::start("actor", actor, scene.actors).join();
            figures::SCENES.one();
            #[cfg(feature = "mutants")]
            staged::end();
        }
    }
    announce(format_args!("{} scenes", figures::SCENES.get()));
}

fn actor(number: usize, orders: &Orders) {
    let cpu = orders.claim_processor();
    attacher::leave();
    let scene = scenes().nth(PLAYED.load(Ordering::Relaxed)).expect("it is one of them");
    (scene.play)(number, cpu);
    attacher::leave();
}
