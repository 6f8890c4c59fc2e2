//! Scenes in which a processor is held up in the middle of a step, at a point of the mutants' scheme.

mod cue;
mod exit_in_walk;
mod exit_under_walker;
mod growth_after_copy;
mod growth_in_late_init;
mod growth_in_reclaim;
mod hold;
mod look_in_reclaim;
mod same_frame_in_attach;
mod same_frame_in_late_init;
mod same_page_in_reclaim;
mod second_growth;

use super::scene::Scene;
use mutants::stage;

pub(super) const SCENES: &[Scene] = &[
    Scene { name: "exit-in-walk", actors: 1, play: exit_in_walk::play },
    Scene { name: "exit-under-walker", actors: 1, play: exit_under_walker::play },
    Scene { name: "growth-after-copy", actors: 1, play: growth_after_copy::play },
    Scene { name: "growth-in-late-init", actors: 1, play: growth_in_late_init::play },
    Scene { name: "growth-in-reclaim", actors: 2, play: growth_in_reclaim::play },
    Scene { name: "look-in-reclaim", actors: 1, play: look_in_reclaim::play },
    Scene { name: "same-frame-in-attach", actors: 2, play: same_frame_in_attach::play },
    Scene { name: "same-frame-in-late-init", actors: 1, play: same_frame_in_late_init::play },
    Scene { name: "same-page-in-reclaim", actors: 1, play: same_page_in_reclaim::play },
    Scene { name: "second-growth", actors: 1, play: second_growth::play },
];

/// Before a scene.
pub(super) fn begin() {
    cue::forget();
    stage::set(hold::reached);
}

/// After a scene.
pub(super) fn end() {
    stage::clear();
}
