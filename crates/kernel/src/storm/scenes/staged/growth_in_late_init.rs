//! A growth comes between late init's reading of the reference and its exchange.
//!
//! ```text
//! fork                       growth
//! publish, late init:
//!   reads none
//!                            none -> v1, walk: finds the mm, brings v1
//!   must not undo that
//! ```

use super::hold;
use crate::storm::{area, attacher, crowd, look, report};
use mutants::stage::Point;

pub(super) fn play(_actor: usize, cpu: usize) {
    let place = area::shared(0, 0);
    let mm = crowd::new_mm();
    // The generation moves on, so that late init has something to do.
    let other = area::grow_and_map(area::shared(1, 0));
    let (published, task) = mm.publish(crowd::unpublished(cpu));
    let point = Point::ReferenceRead { slot: report::slot_of(place.address) };
    let grown = hold::at(point, move || area::grow_and_map(place));
    drop(published.init_late());
    let grown = grown.take();
    crowd::load(&task);
    for grown in [grown, other] {
        look::at(grown.address, grown.secret, "in a scene: growth within late init");
        look::reclaim(grown);
    }
    attacher::leave();
    crowd::end(&task);
}
