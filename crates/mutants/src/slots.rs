//! What updaters take out of the reference, with one step wrong.

use arch_x86::geometry::Geometry;
use kernel_sync::OutOfHeap;
use mm_generic::frames::Frames;
use mm_generic::kernel_range::KernelRange;
use mm_generic::kernel_slots::KernelSlots;
use mm_generic::replacement::{ReplaceError, Replacement};
use mm_generic::retired::Retired;

use crate::arch::MutantArch;
use crate::list::Mutant;

impl<G: Geometry, F: Frames> KernelSlots for MutantArch<G, F> {
    fn whole(&self, range: KernelRange) -> KernelRange {
        if self.is(Mutant::HelperFlushesOwnRange) { range } else { self.slots().whole(range) }
    }

    fn first_large(&self, range: KernelRange) -> Option<u64> {
        self.slots().first_large(range)
    }

    unsafe fn replace(&self, addr: u64, how: Replacement) -> Result<Retired, ReplaceError> {
        // SAFETY: the caller's promise is the same.
        let mut retired = unsafe { self.slots().replace(addr, how)? };
        self.free_early(&mut retired);
        Ok(retired)
    }

    fn reserve_retired(&self, range: KernelRange) -> Result<Retired, OutOfHeap> {
        self.slots().reserve_retired(range)
    }

    unsafe fn retire(&self, range: KernelRange, retired: &mut Retired) {
        // SAFETY: the caller's promise is the same.
        unsafe { self.slots().retire(range, retired) };
        self.free_early(retired);
    }

    unsafe fn free_retired(&self, retired: Retired) {
        // SAFETY: the caller's promise is the same.
        unsafe { self.slots().free_retired(retired) };
    }
}

impl<G: Geometry, F: Frames> MutantArch<G, F> {
    /// Frees what was retired at once, or keeps it for [`MutantArch::free_kept`].
    fn free_early(&self, retired: &mut Retired) {
        if self.is(Mutant::TablesFreedBeforeWalk) {
            // SAFETY: a broken promise on purpose: the walk has not begun.
            unsafe { self.slots().free_retired(core::mem::take(retired)) };
        } else if self.is(Mutant::TablesFreedBeforeFlush) || self.is(Mutant::TablesFreedAfterFlush)
        {
            self.kept.lock().push(core::mem::take(retired));
        }
    }

    /// Frees what a walk has taken out of every PGD, if `mutant` does so at this point.
    pub(crate) fn free_kept(&self, mutant: Mutant) {
        if self.is(mutant) {
            for retired in core::mem::take(&mut *self.kept.lock()) {
                // SAFETY: a broken promise on purpose: no CPU has flushed, or no grace period has passed.
                unsafe { self.slots().free_retired(retired) };
            }
        }
    }
}
