//! While late init holds what it has read, the slot gets back the entry that it had when the PGD was copied: another life of the same
//! frame.
//!
//! ```text
//! fork                       reclaim, growth
//! copies v1
//!                            v1 -> none, walk: misses the mm; a grace period; the frame is free
//! publish, late init:
//!   reads none
//!                            none -> v1, the same frame; walk: finds the mm, and v1 in it
//!   must not take that out
//! ```

use super::super::grace;
use super::hold;
use crate::mm::poison;
use crate::storm::{area, attacher, crowd, look, report};
use mutants::stage::Point;

pub(super) fn play(_actor: usize, cpu: usize) {
    let place = area::shared(0, 0);
    let slot = report::slot_of(place.address);
    let former = area::grow_and_map(place);
    let frame = area::table_behind(slot);
    let mm = crowd::new_mm();
    look::reclaim(former);
    grace::end();
    let (published, task) = mm.publish(crowd::unpublished(cpu));
    let grown = hold::at(Point::ReferenceRead { slot }, move || {
        // Another processor may have run the callback, and then it has the frame: the growth takes another one, and this play shows
        // nothing.
        let is_same = poison::take_next(frame);
        let grown = area::grow_and_map(place);
        assert!(
            !is_same || area::table_behind(slot) == frame,
            "growth takes the slot's table first"
        );
        grown
    });
    drop(published.init_late());
    let grown = grown.take();
    crowd::load(&task);
    look::at(grown.address, grown.secret, "in a scene: the same frame within late init");
    attacher::leave();
    crowd::end(&task);
    look::reclaim(grown);
}
