//! An entry is replaced, and then reclaimed, while a processor has a PGD loaded that holds it; what it led to is freed each time.

use super::grace;
use crate::storm::{area, attacher, crowd, look};

const PLACE: &str = "in a scene: changed while loaded";

pub(super) fn play(_actor: usize, cpu: usize) {
    let mut grown = area::grow_and_map(area::shared(0, 0));
    let address = grown.address;
    let task = crowd::ready(cpu);
    crowd::load(&task);
    grown.move_table();
    grace::end();
    look::at(address, grown.secret, PLACE);
    look::reclaim(grown);
    grace::end();
    look::gone(address, PLACE);
    attacher::leave();
    crowd::end(&task);
}
