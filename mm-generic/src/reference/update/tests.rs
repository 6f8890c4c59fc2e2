//! What one updater after another does to a slot. What several do at once is explored in `tests-host`.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use kernel_sync::atomic::{AtomicU64, Ordering};

use super::{ReferencePgd, Refusal};

const SLOT: usize = 3;

fn table() -> &'static [AtomicU64] {
    Box::leak((0..8).map(|_| AtomicU64::new(0)).collect())
}

fn reference() -> ReferencePgd<u64> {
    ReferencePgd::adopt(table(), Vec::new(), 0).expect("8 slots")
}

fn grow(reference: &ReferencePgd<u64>, entry: u64) -> Vec<(usize, u64)> {
    let mut entries = vec![(SLOT, entry)];
    // SAFETY: no MMU uses these tables.
    assert!(unsafe { reference.populate(SLOT..SLOT + 1, &mut entries) });
    entries
}

fn sync(reference: &ReferencePgd<u64>) {
    // SAFETY: there is no PGD and no MMU.
    unsafe { reference.mark_synced(SLOT..SLOT + 1, reference.stamp()) };
}

fn retire(reference: &ReferencePgd<u64>) -> Vec<(usize, u64)> {
    let mut retired = Vec::new();
    // SAFETY: there is no MMU, and the caller has a share.
    unsafe { reference.retire(SLOT..SLOT + 1, |slot, entry| retired.push((slot, entry))) };
    retired
}

fn replace(reference: &ReferencePgd<u64>, entry: u64) -> Result<u64, Refusal> {
    // SAFETY: there is no MMU.
    unsafe { reference.replace(SLOT, true, |_| Ok(entry)) }
}

#[test]
fn the_entry_goes_with_the_last_share() {
    let reference = reference();
    assert_eq!(grow(&reference, 0x1001), []);
    assert_eq!(grow(&reference, 0x2001), [(SLOT, 0x2001)], "populated already");
    sync(&reference);
    assert_eq!(retire(&reference), []);
    assert!(reference.is_populated(SLOT));
    assert_eq!(retire(&reference), [(SLOT, 0x1001)]);
    assert!(!reference.is_synced(SLOT..SLOT + 1) && !reference.is_populated(SLOT));
    assert!(reference.is_flush_due(SLOT..SLOT + 1));
    assert_eq!(reference.entry(SLOT), 0);
}

/// Another growth could get the addresses of the pages that were unmapped, and TLBs may still show them.
#[test]
fn a_slot_that_keeps_its_entry_at_a_reclaim_is_synced_again_only_after_a_flush() {
    let reference = reference();
    grow(&reference, 0x1001);
    grow(&reference, 0x2001);
    let walked_from = reference.stamp();
    sync(&reference);
    assert_eq!(retire(&reference), []);
    assert!(!reference.is_synced(SLOT..SLOT + 1) && reference.is_flush_due(SLOT..SLOT + 1));
    // SAFETY: there is no PGD and no MMU.
    unsafe { reference.mark_synced(SLOT..SLOT + 1, walked_from) };
    assert!(reference.is_flush_due(SLOT..SLOT + 1), "a walk from before the unmapping");
    sync(&reference);
    assert!(reference.is_synced(SLOT..SLOT + 1) && !reference.is_flush_due(SLOT..SLOT + 1));
}

#[test]
fn a_reclaimed_slot_is_populated_anew_at_once() {
    let reference = reference();
    for entry in [0x1001, 0x2001, 0x1001] {
        assert_eq!(grow(&reference, entry), []);
        assert_eq!(reference.entry(SLOT), entry);
        assert_eq!(retire(&reference), [(SLOT, entry)]);
        assert_eq!(reference.entry(SLOT), 0);
    }
}

#[test]
fn a_slot_that_is_neither_populated_nor_offered_an_entry_is_named_before_anything_is_done() {
    let reference = reference();
    let mut entries = vec![(SLOT, 0x1001)];
    // SAFETY: no MMU uses these tables.
    assert!(!unsafe { reference.populate(SLOT..SLOT + 2, &mut entries) });
    assert_eq!(entries, [(SLOT, 0x1001)]);
    assert!(!reference.is_populated(SLOT));
    assert_eq!(grow(&reference, 0x1001), []);
    assert_eq!(retire(&reference).len(), 1, "the failed call took no share");
}

#[test]
fn what_the_boot_tables_held_is_copied_completed_and_synced() {
    let boot = table();
    boot[SLOT].store(0x9001, Ordering::Relaxed);
    let reference = ReferencePgd::<u64>::adopt(boot, Vec::new(), 0).expect("8 slots");
    assert!(reference.is_populated(SLOT) && reference.is_synced(SLOT..SLOT + 1));
    let (copied, completed) = (table(), table());
    // SAFETY: no MMU uses these tables.
    unsafe {
        reference.copy_populated(copied);
        reference.complete(completed);
    }
    assert_eq!(copied[SLOT].load(Ordering::Relaxed), 0x9001);
    assert_eq!(completed[SLOT].load(Ordering::Relaxed), 0x9001);
}

#[test]
fn what_the_boot_tables_held_is_neither_moved_nor_retired() {
    let boot = table();
    boot[SLOT].store(0x9001, Ordering::Relaxed);
    let reference = ReferencePgd::<u64>::adopt(boot, Vec::new(), 0).expect("8 slots");
    assert_eq!(grow(&reference, 0x1001), [(SLOT, 0x1001)]);
    assert_eq!(replace(&reference, 0x2001), Err(Refusal::OfTheBoot { slot: SLOT }));
    assert_eq!(retire(&reference), []);
    assert_eq!(reference.entry(SLOT), 0x9001);
}

#[test]
fn a_walk_vouches_for_nothing_that_changed_after_it_began() {
    let reference = reference();
    grow(&reference, 0x1001);
    let walked_from = reference.stamp();
    assert_eq!(replace(&reference, 0x2001), Ok(0x1001));
    // SAFETY: there is no PGD and no MMU.
    unsafe { reference.mark_synced(SLOT..SLOT + 1, walked_from) };
    assert!(!reference.is_synced(SLOT..SLOT + 1));
    assert!(reference.is_flush_due(SLOT..SLOT + 1));
    sync(&reference);
    assert!(reference.is_synced(SLOT..SLOT + 1));
    assert!(!reference.is_flush_due(SLOT..SLOT + 1));
}

#[test]
fn only_a_sole_owner_replaces() {
    let reference = reference();
    grow(&reference, 0x1001);
    grow(&reference, 0x3001);
    let refusal = Refusal::NotSoleOwner { slot: SLOT, shares: 2 };
    assert_eq!(replace(&reference, 0x2001), Err(refusal));
    assert_eq!(retire(&reference), []);
    assert_eq!(replace(&reference, 0x2001), Ok(0x1001));
    assert_eq!(reference.entry(SLOT), 0x2001);
}
