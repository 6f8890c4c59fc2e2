//! An entry is reclaimed between the copy of a new PGD and its publication, and the table that it led to is freed.
//!
//! ```text
//! fork                       reclaim
//! copies v1
//!                            v1 -> none, walk: misses the mm; a grace period; v1's table is freed
//! publish, late init: must take v1 out
//! ```

use super::grace;
use crate::storm::{area, attacher, crowd, look};

pub(super) fn play(_actor: usize, cpu: usize) {
    let grown = area::grow_and_map(area::shared(0, 0));
    let address = grown.address;
    let mm = crowd::new_mm();
    look::reclaim(grown);
    grace::end();
    let (published, task) = mm.publish(crowd::unpublished(cpu));
    drop(published.init_late());
    crowd::load(&task);
    look::gone(address, "in a scene: reclaimed before late init");
    attacher::leave();
    crowd::end(&task);
}
