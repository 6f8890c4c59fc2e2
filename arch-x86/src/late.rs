//! The lockless scheme: a PGD is copied while it is private, published, and completed late.
//!
//! The protocol, its states and its races are told in [`mm_generic::reference`]. This file is CPU A of
//! that story (fork, exec, attach), `sync.rs` is CPU B (growth).

use kernel_sync::smp_mb;
use mm_generic::arch::{ArchPgd, PgdAllocError, PgdWalk, PopulateError};
use mm_generic::frames::{Frame, Frames};
use mm_generic::kernel_range::{KernelHalf, KernelRange};
use mm_generic::kernel_slots::KernelSlots;

use crate::geometry::Geometry;
use crate::late_pgd::LatePgd;
use crate::slots::Slots;
use crate::sync;
use crate::tables::Tables;

/// x86 with lockless late initialisation of PGDs.
///
/// Slots that each mm keeps for itself (Linux's LDT remap) are declared when the [`Slots`] are made: no growth
/// goes there and no late init touches them.
pub struct LateInit<G: Geometry, F: Frames> {
    slots: Slots<G, F>,
}

impl<G: Geometry, F: Frames> LateInit<G, F> {
    /// Uses `slots`, whose reference PGD no mm has been made from yet.
    pub fn new(slots: Slots<G, F>) -> Self {
        Self { slots }
    }

    /// The slots and the reference PGD.
    pub fn slots(&self) -> &Slots<G, F> {
        &self.slots
    }
}

/// Orders the publication of an mm before the first read of the reference PGD's generation.
///
/// Partner: `reference_stored_before_walk` in `sync.rs`. One of the two sides then sees the other: this one the new
/// generation, or that one the mm. It does not order the entries that are read afterwards;
/// the acquire load of the generation does.
#[inline(always)]
fn mm_visible_before_reference_read() {
    smp_mb();
}

impl<G: Geometry, F: Frames> ArchPgd for LateInit<G, F> {
    type Pgd = LatePgd;
    type Tables = Tables<G, F>;

    fn tables(&self) -> &Tables<G, F> {
        self.slots.tables()
    }

    #[inline]
    fn root(&self, pgd: &LatePgd) -> Frame {
        pgd.root()
    }

    fn reference_root(&self) -> Frame {
        self.slots.root()
    }

    fn kernel_half(&self) -> KernelHalf {
        self.slots.tables().geometry().kernel_half()
    }

    /// Takes frames and copies the populated slots, without a lock: nobody can reach the PGD yet. What is
    /// populated later, late init and walks bring.
    fn pgd_alloc(&self) -> Result<LatePgd, PgdAllocError> {
        let root = self.slots.alloc_root()?;
        // SAFETY: made above, and handed to nobody yet.
        let stamp = unsafe { self.slots.reference().copy_populated(self.slots.of(root)) };
        Ok(LatePgd::new(root, stamp))
    }

    unsafe fn pgd_free(&self, pgd: LatePgd) {
        // SAFETY: the caller's promise is the same.
        unsafe { self.slots.free_root(pgd.root()) };
    }

    #[inline]
    fn pgd_init_late(&self, pgd: &LatePgd) {
        mm_visible_before_reference_read();
        let reference = self.slots.reference();
        // Read before the slots are: they then hold at least what the stamp stands for.
        let now = reference.stamp();
        if pgd.has_stamp(now) {
            return;
        }
        // SAFETY: the caller keeps the PGD alive; an mm has one late init, and no CPU loads its PGD before that has ended.
        unsafe { reference.complete(self.slots.of(pgd.root())) };
        pgd.set_stamp(now);
    }

    /// Settles every slot, whatever the stamp says. A walker that has found the mm through another task may have been held up inside since
    /// before late init; it leaves what is older than the stamp, and is waited for here.
    #[inline]
    fn pgd_attach(&self, pgd: &LatePgd) {
        mm_visible_before_reference_read();
        let _settling = pgd.settling.lock();
        // SAFETY: the caller keeps the PGD alive; only slots that the reference has used; the lock is held.
        unsafe { self.slots.reference().settle_used(self.slots.of(pgd.root())) };
    }

    fn populate_kernel(&self, range: KernelRange) -> Result<(), PopulateError> {
        self.slots.populate(range)
    }

    fn kernel_slots(&self) -> Option<&dyn KernelSlots> {
        Some(&self.slots)
    }

    #[inline]
    fn is_synced(&self, range: KernelRange) -> bool {
        self.slots.reference().is_synced(self.slots.range(range))
    }

    fn sync_global_pgds(
        &self,
        range: KernelRange,
        walk: &dyn PgdWalk<LatePgd>,
        flush: &mut dyn FnMut(),
    ) {
        sync::sync_global_pgds(&self.slots, range, walk, flush);
    }
}
