//! A second growth comes to a slot between the first one's store to the reference and its walk (Linux 4819e15f740e).
//!
//! ```text
//! growth                     second growth
//! none -> v1
//!                            finds v1, and the slot not synced: walks itself, uses it
//! walks
//! ```

use super::hold;
use crate::storm::{area, attacher, crowd, look};
use mutants::stage::Point;

const PLACE: &str = "in a scene: second growth";

pub(super) fn play(_actor: usize, cpu: usize) {
    let task = crowd::ready(cpu);
    crowd::load(&task);
    let held = hold::at(Point::WalkBegins, || {
        let second = area::grow_and_map(area::shared(0, 1));
        look::at(second.address, second.secret, PLACE);
        second
    });
    let first = area::grow_and_map(area::shared(0, 0));
    look::at(first.address, first.secret, PLACE);
    look::reclaim(held.take());
    look::reclaim(first);
    attacher::leave();
    crowd::end(&task);
}
