//! Two growths come to a slot between a reclaim's store to the reference and its walk: the first to another page of it, the second to
//! the very page that is being given back, of which every processor still has the translation.
//!
//! ```text
//! reclaim                    growth of page b     growth of page a
//! unmaps page a
//! v1 -> none
//!                            none -> v2, walks,
//!                            flushes the whole slot
//!                                                 synced already; maps a, uses it
//! walks, flushes
//! ```

use super::hold;
use crate::storm::{area, attacher, crowd, look};
use mutants::stage::Point;

/// Pages that are tried, one after the other: a TLB may lose this or that one by itself.
const TRIED: usize = area::MAX_GROWERS - 1;

pub(super) fn play(_actor: usize, cpu: usize) {
    let task = crowd::ready(cpu);
    crowd::load(&task);
    for number in 0..TRIED {
        let page = area::shared(0, number);
        let former = area::grow_and_map(page);
        look::everywhere(&former);
        let held = hold::at(Point::WalkBegins, move || {
            let other = area::grow_and_map(area::shared(0, TRIED));
            let again = area::grow_and_map(page);
            look::everywhere(&again);
            [other, again]
        });
        // Not `look::reclaim`: the page is there again.
        former.give_back();
        held.take().into_iter().for_each(look::reclaim);
    }
    attacher::leave();
    crowd::end(&task);
}
