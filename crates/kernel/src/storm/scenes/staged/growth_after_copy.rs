//! A growth comes between the copy of a new PGD and its stamp, and its walk before the mm is published.
//!
//! ```text
//! fork                       growth
//! stamp, copy
//!                            reference, generation, walk: misses the mm
//! publish, late init: the generation has moved on
//! ```

use super::hold;
use crate::storm::{area, attacher, crowd, look};
use mutants::stage::Point;

pub(super) fn play(_actor: usize, cpu: usize) {
    let place = area::shared(0, 0);
    let grown = hold::at(Point::Copied, move || area::grow_and_map(place));
    let mm = crowd::new_mm();
    let grown = grown.take();
    let (published, task) = mm.publish(crowd::unpublished(cpu));
    drop(published.init_late());
    crowd::load(&task);
    look::at(grown.address, grown.secret, "in a scene: growth after the copy");
    attacher::leave();
    crowd::end(&task);
    look::reclaim(grown);
}
