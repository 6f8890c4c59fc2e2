//! A growth fills a slot after the walk of the reclaim that has emptied it, and is held up before its own walk. A second growth comes
//! to the slot meanwhile.
//!
//! ```text
//! reclaim                    growth               second growth
//! v1 -> none, walk
//!                            none -> v2
//! marks what its walk has
//! brought: not v2
//!                                                 finds the slot not synced: walks, uses it
//!                            walks
//! ```

use super::{cue, hold};
use crate::storm::pace::SECOND;
use crate::storm::{area, attacher, crowd, look};
use mutants::stage::Point;

/// For what comes in any case, on however busy a host.
const PATIENCE: u64 = 60 * SECOND;

pub(super) fn play(actor: usize, cpu: usize) {
    if actor == 1 {
        cue::wait(1);
        let held = hold::at(Point::WalkBegins, || {
            cue::give(2);
            cue::wait_here(3, PATIENCE);
        });
        let first = area::grow_and_map(area::shared(0, 1));
        held.take();
        return look::reclaim(first);
    }
    let task = crowd::ready(cpu);
    crowd::load(&task);
    let former = area::grow_and_map(area::shared(0, 0));
    let held = hold::at(Point::Walked, || {
        cue::give(1);
        cue::wait_here(2, PATIENCE);
    });
    look::reclaim(former);
    held.take();
    let second = area::grow_and_map(area::shared(0, 2));
    look::at(second.address, second.secret, "in a scene: growth within a reclaim");
    cue::give(3);
    attacher::leave();
    crowd::end(&task);
    look::reclaim(second);
}
