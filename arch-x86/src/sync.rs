//! `sync_global_pgds`: brings changed top-level entries to every PGD, in one walk for the whole range.
//!
//! CPU B of the story told in [`mm_generic::reference`].

use kernel_sync::smp_mb;
use mm_generic::arch::PgdWalk;
use mm_generic::frames::Frames;
use mm_generic::kernel_range::KernelRange;

use crate::geometry::Geometry;
use crate::late_pgd::LatePgd;
use crate::slots::Slots;

/// Orders the reference PGD's new entries and generation before the walk's first read of the task list.
///
/// Partner: `mm_visible_before_reference_read` in `late.rs`. It does not order the walk's
/// reads among themselves; tasks before CPUs is program order and the acquire loads of the walk.
#[inline(always)]
fn reference_stored_before_walk() {
    smp_mb();
}

/// Orders a walker's finding of an mm before its reads of the reference.
///
/// Partner: `reference_stored_before_walk` of an updater whose walk has missed the mm. That updater may have returned, and this walker,
/// who walks for an earlier change, must not bring the earlier entry. x86 needs no instruction for it: the lock of the PGD is a full barrier.
#[inline(always)]
fn mm_found_before_reference_read() {
    smp_mb();
}

/// Settles the slots of `range` in every PGD that a CPU may load, flushes where that is due, and marks the slots synced.
///
/// Every slot of the range is settled, not only those that this CPU changed: a slot that another
/// CPU populated and is still walking for is not synced yet, and this walk is its sync too.
pub(crate) fn sync_global_pgds<G: Geometry, F: Frames>(
    slots: &Slots<G, F>,
    range: KernelRange,
    walk: &dyn PgdWalk<LatePgd>,
    flush: &mut dyn FnMut(),
) {
    let reference = slots.reference();
    let range = slots.range(range);
    // What changes after this may come too late for the walk, and is not vouched for below.
    let walked_from = reference.stamp();
    reference_stored_before_walk();
    walk.for_each_pgd(&mut |pgd| {
        // SAFETY: the walk keeps the PGD alive.
        let table = unsafe { slots.of(pgd.root()) };
        let _settling = pgd.settling.lock();
        mm_found_before_reference_read();
        for slot in range.clone() {
            // SAFETY: an updater's range has no private slots; the lock is held.
            if unsafe { reference.settle(table, slot) } {
                pgd.note_walker();
            }
        }
    });
    // After the walk: a CPU that loaded a PGD before the walk came to it has cached the old entry from there.
    if reference.is_flush_due(range.clone()) {
        flush();
    }
    // After the walk and the flush, never before: who finds the slots synced uses the addresses at once.
    // SAFETY: the walk above has ended, and so has the flush.
    unsafe { reference.mark_synced(range, walked_from) };
}
