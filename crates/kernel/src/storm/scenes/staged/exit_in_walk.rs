//! While a growth walks, a processor loads an mm for the first time, whose last task then exits.
//!
//! ```text
//! growth                     processor
//! walks over tasks: the mm
//!                            loads the mm; its task exits
//! walks over processors: the mm again
//! ```
//!
//! The other way round, the walk would find the mm neither here nor there.

use super::hold;
use crate::storm::{area, attacher, crowd, look};
use mutants::stage::Point;

pub(super) fn play(_actor: usize, cpu: usize) {
    let task = crowd::ready(cpu);
    let held = hold::at(Point::HalfWalked, move || {
        crowd::load(&task);
        crowd::end(&task);
    });
    let grown = area::grow_and_map(area::shared(0, 0));
    held.take();
    look::at(grown.address, grown.secret, "in a scene: exit within a walk");
    look::reclaim(grown);
    attacher::leave();
}
