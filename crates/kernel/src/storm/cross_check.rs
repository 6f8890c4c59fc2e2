//! Every live PGD, slot by slot, against the reference. For a moment in which nobody grows.

use super::{attached, figures, report};
use crate::os::{Os, init_mm, tasks};
use crate::rcu;
use mm_generic::mm::{Mm, Stage};
use mm_generic::walk::Walkers;
use mm_generic::word::Word;

/// Bits that an MMU sets in a live entry.
const ACCESSED: u64 = 1 << 5;

/// Compares all PGDs that a processor may load. Programs go on meanwhile.
pub(super) fn run() {
    let rcu = rcu::read_lock();
    // The right walk, whatever walk the growths are made with.
    Walkers::<Os>::for_each_published(tasks(), &rcu, &mut compare);
    Walkers::<Os>::for_each_loaded(tasks(), &rcu, &mut compare);
}

fn compare(mm: &Mm<Os>) {
    if mm.stage() != Stage::Ready {
        // Its late init is still to come.
        return;
    }
    figures::PGDS_COMPARED.one();
    let slots = init_mm().arch().slots();
    let reference = slots.reference();
    for slot in 0..reference.len() {
        let expected = reference.entry(slot);
        // SAFETY: the walk keeps the mm.
        let entry = || unsafe { slots.entry_of(mm.root(), slot) };
        if is_same(entry(), expected) {
            continue;
        }
        // An mm without a task lacks what came since; where one is being attached, that is about to be put right.
        attached::wait_for_late_inits();
        let held = entry();
        if is_same(held, expected) {
            continue;
        }
        let figure = if held.is_live() { &figures::STALE } else { &figures::MISSED };
        figure.one();
        report::fail(format_args!(
            "slot {slot} of the PGD at {:#x} holds {held:#x}, and the reference {expected:#x}, while nobody grows",
            mm.root().phys()
        ));
    }
    figures::SLOTS_COMPARED.add(reference.len() as u64);
}

/// Tells whether a PGD that holds `held` translates as one that holds `expected`, the reference's entry.
fn is_same(held: u64, expected: u64) -> bool {
    if expected.is_live() {
        (held ^ expected) & !ACCESSED == 0
    } else {
        // None where the mm is younger than a reclaim, or a tombstone.
        !held.is_live()
    }
}
