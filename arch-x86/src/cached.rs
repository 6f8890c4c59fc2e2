//! PGDs that are used again: per-CPU caches in front of [`LateInit`].
//!
//! A freed PGD keeps its kernel half, and its stamp, which says how much of the reference that is. In the steady state a
//! fork then neither copies the kernel half nor takes and zeroes a frame: it takes what the CPU's last exit gave back, and
//! late init finds the generation unchanged.
//!
//! NetBSD keeps constructed PGDs as well, and has to keep them on the list, so that a growth finds them. Here nobody visits a PGD in
//! the cache. What the reference has become meanwhile, late init brings, for the stamp is behind then:
//!
//! ```text
//! exit                   growth, replace or reclaim         fork
//! PGD to the cache,
//! stamp 4                generation 5; the walk does
//!                        not find the PGD
//!                                                           takes it, publishes the mm,
//!                                                           FULL BARRIER, stamp 4 is not 5: completes every slot
//! ```
//!
//! The stamp is worth something only if late init was the last to store to the PGD. A walker that did may have been held up, and have
//! stored what was older than the stamp; whoever comes behind it to repair that goes by the places where the mm is, and the
//! mm may be gone. So a PGD that a walker has stored to loses its stamp on the way into the cache.
//!
//! A cached PGD may point to tables that were retired and freed. Nothing translates through it, and late init throws each such
//! entry out before anything can.

use alloc::vec::Vec;

use kernel_sync::{Magazines, OutOfHeap};
use mm_generic::arch::{ArchPgd, PgdAllocError, PgdWalk, PopulateError};
use mm_generic::frames::{Frame, Frames};
use mm_generic::kernel_range::{KernelHalf, KernelRange};
use mm_generic::kernel_slots::KernelSlots;
use mm_generic::word::Word;

use kernel_sync::atomic::Ordering;

use crate::geometry::Geometry;
use crate::late::LateInit;
use crate::late_pgd::LatePgd;
use crate::tables::Tables;

/// x86 with lockless late initialisation and PGDs that are used again.
pub struct Cached<G: Geometry, F: Frames> {
    late: LateInit<G, F>,
    pgds: Magazines<LatePgd>,
    /// The number of the CPU that runs this, for choosing a cache.
    this_cpu: fn() -> usize,
    /// Slots that each mm keeps for itself: they are emptied on the way into the cache.
    private: Vec<usize>,
}

impl<G: Geometry, F: Frames> Cached<G, F> {
    /// Puts caches of `size` PGDs for each of `cpus` CPUs in front of `late`.
    ///
    /// `this_cpu` returns the number of the CPU that runs it. It is a hint: a wrong one costs time and nothing else.
    /// RCU callbacks come in batches of 64; a `size` of 128 takes what they free and what forks take meanwhile.
    ///
    /// # Errors
    ///
    /// [`OutOfHeap`].
    pub fn try_new(
        late: LateInit<G, F>,
        cpus: usize,
        size: usize,
        this_cpu: fn() -> usize,
    ) -> Result<Self, OutOfHeap> {
        let reference = late.slots().reference();
        let private = (0..reference.len()).filter(|&slot| reference.is_private(slot)).collect();
        Ok(Self { late, pgds: Magazines::try_new(cpus, size)?, this_cpu, private })
    }

    /// The scheme behind the caches.
    pub fn late(&self) -> &LateInit<G, F> {
        &self.late
    }

    /// Number of PGDs in the caches: as many frames, or two for each where PMDs are private.
    pub fn kept(&self) -> usize {
        self.pgds.len()
    }

    /// Frees all PGDs in the caches, for a kernel that is short of frames; returns how many.
    pub fn shrink(&self) -> usize {
        core::iter::from_fn(|| self.pgds.steal()).map(|pgd| self.free(pgd)).count()
    }

    fn free(&self, pgd: LatePgd) {
        // SAFETY: `ArchPgd::pgd_free` was promised all this when the PGD came into the cache.
        unsafe { self.late.pgd_free(pgd) };
    }
}

impl<G: Geometry, F: Frames> ArchPgd for Cached<G, F> {
    type Pgd = LatePgd;
    type Tables = Tables<G, F>;

    fn tables(&self) -> &Tables<G, F> {
        self.late.tables()
    }

    #[inline]
    fn root(&self, pgd: &LatePgd) -> Frame {
        pgd.root()
    }

    fn reference_root(&self) -> Frame {
        self.late.reference_root()
    }

    fn kernel_half(&self) -> KernelHalf {
        self.late.kernel_half()
    }

    /// Takes a PGD out of the cache, its kernel half as its stamp says; or a new one, or, without frames, another CPU's.
    fn pgd_alloc(&self) -> Result<LatePgd, PgdAllocError> {
        if let Some(pgd) = self.pgds.take((self.this_cpu)()) {
            return Ok(pgd);
        }
        self.late.pgd_alloc().or_else(|error| self.pgds.steal().ok_or(error))
    }

    unsafe fn pgd_free(&self, pgd: LatePgd) {
        if !self.private.is_empty() {
            // SAFETY: nobody reaches the PGD, by the caller's promise; a private slot is no walker's.
            let slots = unsafe { self.late.slots().of(pgd.root()) };
            for &slot in &self.private {
                G::Word::store(&slots[slot], G::Word::NONE, Ordering::Relaxed);
            }
        }
        pgd.leave_mm();
        if let Err(pgd) = self.pgds.put((self.this_cpu)(), pgd) {
            self.free(pgd);
        }
    }

    #[inline]
    fn pgd_init_late(&self, pgd: &LatePgd) {
        self.late.pgd_init_late(pgd);
    }

    #[inline]
    fn pgd_attach(&self, pgd: &LatePgd) {
        self.late.pgd_attach(pgd);
    }

    fn populate_kernel(&self, range: KernelRange) -> Result<(), PopulateError> {
        self.late.populate_kernel(range)
    }

    fn kernel_slots(&self) -> Option<&dyn KernelSlots> {
        self.late.kernel_slots()
    }

    #[inline]
    fn is_synced(&self, range: KernelRange) -> bool {
        self.late.is_synced(range)
    }

    fn sync_global_pgds(
        &self,
        range: KernelRange,
        walk: &dyn PgdWalk<LatePgd>,
        flush: &mut dyn FnMut(),
    ) {
        self.late.sync_global_pgds(range, walk, flush);
    }
}

impl<G: Geometry, F: Frames> Drop for Cached<G, F> {
    fn drop(&mut self) {
        self.shrink();
    }
}
