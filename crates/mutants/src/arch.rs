//! `arch_x86::late` with one step wrong.

use alloc::vec::Vec;

use arch_x86::geometry::Geometry;
use arch_x86::slots::Slots;
use arch_x86::tables::Tables;
use kernel_sync::Mutex;
use kernel_sync::atomic::{AtomicU64, Ordering, fence};
use mm_generic::arch::{ArchPgd, PgdAllocError, PgdWalk, PopulateError};
use mm_generic::frames::{Frame, Frames};
use mm_generic::kernel_range::{KernelHalf, KernelRange};
use mm_generic::kernel_slots::KernelSlots;
use mm_generic::reference::Stamp;
use mm_generic::retired::Retired;
use mm_generic::word::Word;

use crate::list::Mutant;
use crate::stage::{self, Point};

/// x86 with a wrong late initialisation; with `None`, a second writing-down of the right one.
pub struct MutantArch<G: Geometry, F: Frames> {
    slots: Slots<G, F>,
    mutant: Option<Mutant>,
    /// What was retired and has to wait for the walk.
    pub(crate) kept: Mutex<Vec<Retired>>,
}

/// The top-level table of one mm and its stamp.
pub struct MutantPgd {
    root: Frame,
    stamp: AtomicU64,
    settling: Mutex<()>,
}

impl<G: Geometry, F: Frames> MutantArch<G, F> {
    /// Uses `slots` with the step that `mutant` names wrong.
    pub fn new(slots: Slots<G, F>, mutant: Option<Mutant>) -> Self {
        Self { slots, mutant, kept: Mutex::new(Vec::new()) }
    }

    /// The slots and the reference PGD.
    pub fn slots(&self) -> &Slots<G, F> {
        &self.slots
    }

    pub(crate) fn mutant(&self) -> Option<Mutant> {
        self.mutant
    }

    pub(crate) fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// A full barrier, unless it is `gone`.
    pub(crate) fn barrier(&self, gone: Mutant) {
        if !self.is(gone) {
            fence(Ordering::SeqCst);
        }
    }

    fn barrier_or_weak(&self, gone: Mutant, weak: Mutant) {
        if self.is(weak) {
            fence(Ordering::AcqRel);
        } else {
            self.barrier(gone);
        }
    }

    /// Reads the whole reference, then writes all of it over a table that walks are filling, as a
    /// literal port of the 2015 patch would: there, no entry of a 4-level table counts as none.
    fn copy_blindly(&self, pgd: &MutantPgd) {
        let reference = self.slots.reference();
        let entries: Vec<G::Word> =
            (0..reference.len()).map(|slot| self.read_reference(slot)).collect();
        // SAFETY: a broken promise on purpose: what is stored may be older than what is there.
        let table = unsafe { self.slots.of(pgd.root) };
        for (cell, entry) in table.iter().zip(entries) {
            G::Word::store(cell, entry, Ordering::Release);
        }
    }

    /// Calls `bring` with the slots of `pgd` if the reference has changed since they were last brought up to it.
    fn bring_up(&self, pgd: &MutantPgd, bring: impl FnOnce(&[<G::Word as Word>::Atomic])) {
        self.barrier_or_weak(Mutant::ForkBarrierGone, Mutant::ForkBarrierWeak);
        let now = self.slots.reference().stamp();
        if now == Stamp::from_u64(pgd.stamp.load(Ordering::Acquire)) {
            return;
        }
        // SAFETY: the caller keeps the PGD alive.
        bring(unsafe { self.slots.of(pgd.root) });
        pgd.stamp.store(now.to_u64(), Ordering::Release);
    }
}

impl<G: Geometry, F: Frames> ArchPgd for MutantArch<G, F> {
    type Pgd = MutantPgd;
    type Tables = Tables<G, F>;

    fn tables(&self) -> &Tables<G, F> {
        self.slots.tables()
    }

    fn root(&self, pgd: &MutantPgd) -> Frame {
        pgd.root
    }

    fn reference_root(&self) -> Frame {
        self.slots.root()
    }

    fn kernel_half(&self) -> KernelHalf {
        self.slots.tables().geometry().kernel_half()
    }

    fn pgd_alloc(&self) -> Result<MutantPgd, PgdAllocError> {
        let reference = self.slots.reference();
        let root = self.slots.alloc_root()?;
        // SAFETY: made above, and handed to nobody yet.
        let mut stamp = unsafe { reference.copy_populated(self.slots.of(root)) };
        stage::at(Point::Copied);
        if self.is(Mutant::StampAfterCopy) {
            stamp = reference.stamp();
        }
        Ok(MutantPgd { root, stamp: AtomicU64::new(stamp.to_u64()), settling: Mutex::new(()) })
    }

    unsafe fn pgd_free(&self, pgd: MutantPgd) {
        // SAFETY: the caller's promise is the same.
        unsafe { self.slots.free_root(pgd.root) };
    }

    fn pgd_init_late(&self, pgd: &MutantPgd) {
        match self.mutant {
            Some(Mutant::CopyBeforePublication) => {}
            Some(Mutant::PlainStore) => self.copy_blindly(pgd),
            _ => self.bring_up(pgd, |slots| self.complete(slots)),
        }
    }

    fn pgd_attach(&self, pgd: &MutantPgd) {
        if !self.is(Mutant::AttachWithoutLateInit) {
            self.bring_up(pgd, |slots| {
                let _settling = (!self.is(Mutant::AttachWithoutLock)).then(|| pgd.settling.lock());
                // SAFETY: the lock is held, but for one mutant.
                unsafe { self.settle_used(slots) };
            });
        }
    }

    fn populate_kernel(&self, range: KernelRange) -> Result<(), PopulateError> {
        self.slots.populate(range)
    }

    fn kernel_slots(&self) -> Option<&dyn KernelSlots> {
        Some(self)
    }

    fn is_synced(&self, range: KernelRange) -> bool {
        let (reference, mut slots) = (self.slots.reference(), self.slots.range(range));
        if self.is(Mutant::PresentIsSynced) {
            return slots.all(|slot| reference.is_populated(slot));
        }
        reference.is_synced(slots)
    }

    fn sync_global_pgds(
        &self,
        range: KernelRange,
        walk: &dyn PgdWalk<MutantPgd>,
        flush: &mut dyn FnMut(),
    ) {
        let (reference, slots) = (self.slots.reference(), self.slots.range(range));
        let mut walked_from = reference.stamp();
        self.barrier_or_weak(Mutant::WalkBarrierGone, Mutant::WalkBarrierWeak);
        if self.is(Mutant::SyncedBeforeWalk) {
            // SAFETY: a broken promise on purpose: the walk has not begun.
            unsafe { reference.mark_synced(slots.clone(), walked_from) };
        }
        let flush_early = self.is(Mutant::FlushBeforeWalk);
        if flush_early && reference.is_flush_due(slots.clone()) {
            flush();
        }
        stage::at(Point::WalkBegins);
        walk.for_each_pgd(&mut |pgd| {
            // SAFETY: the walk keeps the PGD alive.
            let table = unsafe { self.slots.of(pgd.root) };
            let _settling = (!self.is(Mutant::WalkWithoutLock)).then(|| pgd.settling.lock());
            self.barrier(Mutant::FoundBarrierGone);
            slots.clone().for_each(|slot| self.settle(table, slot));
        });
        stage::at(Point::Walked);
        if self.is(Mutant::StampAfterWalk) {
            walked_from = reference.stamp();
        }
        self.free_kept();
        let flushes = !flush_early && !self.is(Mutant::HelperDoesNotFlush);
        if flushes && reference.is_flush_due(slots.clone()) {
            flush();
        }
        // SAFETY: the walk above has ended, right or wrong.
        unsafe { reference.mark_synced(slots, walked_from) };
    }
}
