//! Two schemes as Linux has them, or was to have: entries are only ever added. For tests that must fail on them.

use arch_x86::geometry::Geometry;
#[cfg(feature = "pgd-init-late")]
use arch_x86::late::LateInit;
use arch_x86::slots::Slots;
use arch_x86::tables::Tables;
use hosted::frames::HostFrames;
use kernel_sync::Mutex;
use kernel_sync::atomic::Ordering;
use mm_generic::arch::{ArchPgd, PgdAllocError, PgdWalk, PopulateError};
use mm_generic::frames::Frame;
use mm_generic::kernel_range::{KernelHalf, KernelRange};
use mm_generic::kernel_slots::KernelSlots;
use mm_generic::word::Word;
use tests_host::machine::PgdScheme;

/// Fills a slot that is none, and leaves alone one that is not: `if (pgd_none(*pgd)) set_pgd(pgd, *pgd_ref)`.
fn fill_if_none<G: Geometry>(slots: &Slots<G, HostFrames>, root: Frame, slot: usize) {
    let entry = slots.reference().entry(slot);
    // SAFETY: the caller keeps the PGD alive. That nothing but `settle` stores there is the promise that Linux does not keep.
    let cell = &unsafe { slots.of(root) }[slot];
    let _ =
        G::Word::compare_exchange(cell, G::Word::NONE, entry, Ordering::AcqRel, Ordering::Acquire);
}

/// `pgd_lock`, `pgd_list`, and a `sync_global_pgds` that fills what is none.
pub(super) struct GrowOnly<G: Geometry> {
    slots: Slots<G, HostFrames>,
    pgd_list: Mutex<Vec<Frame>>,
}

impl<G: Geometry> PgdScheme<G> for GrowOnly<G> {
    const WALKS: bool = false;

    fn over(slots: Slots<G, HostFrames>) -> Self {
        Self { slots, pgd_list: Mutex::new(Vec::new()) }
    }

    fn slots(&self) -> &Slots<G, HostFrames> {
        &self.slots
    }
}

impl<G: Geometry> ArchPgd for GrowOnly<G> {
    type Pgd = Frame;
    type Tables = Tables<G, HostFrames>;

    fn tables(&self) -> &Self::Tables {
        self.slots.tables()
    }

    fn root(&self, pgd: &Frame) -> Frame {
        *pgd
    }

    fn reference_root(&self) -> Frame {
        self.slots.root()
    }

    fn kernel_half(&self) -> KernelHalf {
        self.slots.tables().geometry().kernel_half()
    }

    fn pgd_alloc(&self) -> Result<Frame, PgdAllocError> {
        let root = self.slots.alloc_root()?;
        let mut pgd_list = self.pgd_list.lock();
        // SAFETY: made above, and not on the list yet.
        unsafe { self.slots.reference().copy_populated(self.slots.of(root)) };
        pgd_list.push(root);
        Ok(root)
    }

    unsafe fn pgd_free(&self, pgd: Frame) {
        self.pgd_list.lock().retain(|&root| root != pgd);
        // SAFETY: the caller's promise is the same.
        unsafe { self.slots.free_root(pgd) };
    }

    fn populate_kernel(&self, range: KernelRange) -> Result<(), PopulateError> {
        self.slots.populate(range)
    }

    fn kernel_slots(&self) -> Option<&dyn KernelSlots> {
        Some(&self.slots)
    }

    fn is_synced(&self, range: KernelRange) -> bool {
        self.slots.reference().is_synced(self.slots.range(range))
    }

    fn sync_global_pgds(
        &self,
        range: KernelRange,
        _walk: &dyn PgdWalk<Frame>,
        flush: &mut dyn FnMut(),
    ) {
        let walked_from = self.slots.reference().stamp();
        let slots = self.slots.range(range);
        for &root in self.pgd_list.lock().iter() {
            slots.clone().for_each(|slot| fill_if_none(&self.slots, root, slot));
        }
        flush();
        // SAFETY: a broken promise on purpose: what was not none is as it was.
        unsafe { self.slots.reference().mark_synced(slots, walked_from) };
    }
}

/// The 2015 series' late init over this project's walks: it fills what is none, for "entries are only ever added".
#[cfg(feature = "pgd-init-late")]
pub(super) struct GrowOnlyLate<G: Geometry>(LateInit<G, HostFrames>);

#[cfg(feature = "pgd-init-late")]
impl<G: Geometry> PgdScheme<G> for GrowOnlyLate<G> {
    const WALKS: bool = true;

    fn over(slots: Slots<G, HostFrames>) -> Self {
        Self(LateInit::new(slots))
    }

    fn slots(&self) -> &Slots<G, HostFrames> {
        self.0.slots()
    }
}

#[cfg(feature = "pgd-init-late")]
impl<G: Geometry> ArchPgd for GrowOnlyLate<G> {
    type Pgd = <LateInit<G, HostFrames> as ArchPgd>::Pgd;
    type Tables = Tables<G, HostFrames>;

    fn tables(&self) -> &Self::Tables {
        self.0.tables()
    }

    fn root(&self, pgd: &Self::Pgd) -> Frame {
        self.0.root(pgd)
    }

    fn reference_root(&self) -> Frame {
        self.0.reference_root()
    }

    fn kernel_half(&self) -> KernelHalf {
        self.0.kernel_half()
    }

    fn pgd_alloc(&self) -> Result<Self::Pgd, PgdAllocError> {
        self.0.pgd_alloc()
    }

    unsafe fn pgd_free(&self, pgd: Self::Pgd) {
        // SAFETY: the caller's promise is the same.
        unsafe { self.0.pgd_free(pgd) };
    }

    fn pgd_init_late(&self, pgd: &Self::Pgd) {
        kernel_sync::smp_mb();
        let slots = self.0.slots();
        (0..slots.reference().len()).for_each(|slot| fill_if_none(slots, self.root(pgd), slot));
    }

    fn pgd_attach(&self, pgd: &Self::Pgd) {
        self.0.pgd_attach(pgd);
    }

    fn populate_kernel(&self, range: KernelRange) -> Result<(), PopulateError> {
        self.0.populate_kernel(range)
    }

    fn kernel_slots(&self) -> Option<&dyn KernelSlots> {
        self.0.kernel_slots()
    }

    fn is_synced(&self, range: KernelRange) -> bool {
        self.0.is_synced(range)
    }

    fn sync_global_pgds(
        &self,
        range: KernelRange,
        walk: &dyn PgdWalk<Self::Pgd>,
        flush: &mut dyn FnMut(),
    ) {
        self.0.sync_global_pgds(range, walk, flush);
    }
}
