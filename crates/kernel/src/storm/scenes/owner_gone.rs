//! A processor has a PGD loaded whose last task has exited: lazy TLB. A growth must come to it.

use crate::storm::{area, attacher, crowd, look};

pub(super) fn play(_actor: usize, cpu: usize) {
    let task = crowd::ready(cpu);
    crowd::load(&task);
    crowd::end(&task);
    let grown = area::grow_and_map(area::shared(0, 0));
    look::at(grown.address, grown.secret, "in a scene: the owner is gone");
    look::reclaim(grown);
    attacher::leave();
}
