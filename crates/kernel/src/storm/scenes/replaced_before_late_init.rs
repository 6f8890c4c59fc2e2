//! An entry is replaced between the copy of a new PGD and its publication, and the table that it led to is freed.
//!
//! ```text
//! fork                       replacement
//! copies v1
//!                            v1 -> v2, walk: misses the mm; a grace period; v1's table is freed
//! publish, late init: must bring v2
//! ```

use super::grace;
use crate::storm::{area, attacher, crowd, look};

pub(super) fn play(_actor: usize, cpu: usize) {
    let mut grown = area::grow_and_map(area::shared(0, 0));
    let mm = crowd::new_mm();
    grown.move_table();
    grace::end();
    let (published, task) = mm.publish(crowd::unpublished(cpu));
    drop(published.init_late());
    crowd::load(&task);
    look::at(grown.address, grown.secret, "in a scene: replaced before late init");
    attacher::leave();
    crowd::end(&task);
    look::reclaim(grown);
}
