//! A processor translates between a reclaim's store to the reference and its walk, through a PGD that still holds the former entry.
//!
//! The pages are unmapped by then. The tables above them must be there, or the processor goes by whatever the next user of their
//! frames writes.

use super::hold;
use crate::storm::{area, attacher, crowd, look};
use mutants::stage::Point;

pub(super) fn play(_actor: usize, cpu: usize) {
    let task = crowd::ready(cpu);
    crowd::load(&task);
    let former = area::grow_and_map(area::shared(0, 0));
    // A page that was never mapped, so that no TLB has it.
    let neighbour = area::shared(0, 5).address;
    let held = hold::at(Point::WalkBegins, move || {
        look::gone(neighbour, "in a scene: a look within a reclaim");
    });
    look::reclaim(former);
    held.take();
    attacher::leave();
    crowd::end(&task);
}
