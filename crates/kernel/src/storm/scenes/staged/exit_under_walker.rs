//! A walk has found an mm, which a processor has loaded and no task has any more, and is held up. Meanwhile the processor leaves
//! the mm.
//!
//! ```text
//! growth                     processor
//! finds the mm
//!                            leaves the mm: nobody has it any more
//! stores to the PGD
//! ```
//!
//! The PGD must be there until the walk has ended.

use super::super::grace;
use super::hold;
use crate::mm::poison;
use crate::storm::{area, attacher, crowd, look, report};
use mutants::stage::Point;

pub(super) fn play(_actor: usize, cpu: usize) {
    let place = area::shared(0, 0);
    let task = crowd::ready(cpu);
    crowd::load(&task);
    crowd::end(&task);
    drop(task);
    let point = Point::ReferenceRead { slot: report::slot_of(place.address) };
    let held = hold::at(point, attacher::leave);
    let grown = area::grow_and_map(place);
    held.take();
    poison::look_through_quarantine();
    look::reclaim(grown);
    grace::end();
    poison::look_through_quarantine();
}
