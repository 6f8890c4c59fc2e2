//! `arch_x86::late` with one step wrong.

use alloc::vec::Vec;

use arch_x86::geometry::Geometry;
use arch_x86::slots::Slots;
use arch_x86::tables::Tables;
use kernel_sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use kernel_sync::{Magazines, Mutex};
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
    /// PGDs for other mms, as `arch_x86::cached` keeps them: for the mutants of that.
    cache: Option<Magazines<MutantPgd>>,
}

/// The top-level table of one mm and its stamp.
pub struct MutantPgd {
    root: Frame,
    stamp: AtomicU64,
    walked: AtomicBool,
    settling: Mutex<()>,
}

/// PGDs that are kept.
const KEPT: usize = 64;

impl<G: Geometry, F: Frames> Drop for MutantArch<G, F> {
    fn drop(&mut self) {
        while let Some(pgd) = self.cache.as_ref().and_then(Magazines::steal) {
            // SAFETY: promised when it came into the cache.
            unsafe { self.slots.free_root(pgd.root) };
        }
    }
}

impl<G: Geometry, F: Frames> MutantArch<G, F> {
    /// Uses `slots` with the step that `mutant` names wrong.
    ///
    /// # Panics
    ///
    /// When there is no heap for a cache that the mutant needs.
    pub fn new(slots: Slots<G, F>, mutant: Option<Mutant>) -> Self {
        let keeps_pgds =
            matches!(mutant, Some(Mutant::KeptStampRenewed | Mutant::KeptStampTrusted));
        let cache = keeps_pgds.then(|| Magazines::try_new(1, KEPT).expect("a little heap"));
        Self { slots, mutant, kept: Mutex::new(Vec::new()), cache }
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

    /// Tells whether `pgd` holds what the reference does, by its stamp.
    fn is_current(&self, pgd: &MutantPgd, now: Stamp) -> bool {
        now == Stamp::from_u64(pgd.stamp.load(Ordering::Acquire))
    }

    fn barrier_at_birth(&self) {
        self.barrier_or_weak(Mutant::ForkBarrierGone, Mutant::ForkBarrierWeak);
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
        if let Some(pgd) = self.cache.as_ref().and_then(|cache| cache.take(0)) {
            if self.is(Mutant::KeptStampRenewed) {
                pgd.stamp.store(reference.stamp().to_u64(), Ordering::Relaxed);
            }
            return Ok(pgd);
        }
        let root = self.slots.alloc_root()?;
        // SAFETY: made above, and handed to nobody yet.
        let mut stamp = unsafe { reference.copy_populated(self.slots.of(root)) };
        stage::at(Point::Copied);
        if self.is(Mutant::StampAfterCopy) {
            stamp = reference.stamp();
        }
        Ok(MutantPgd {
            root,
            stamp: AtomicU64::new(stamp.to_u64()),
            walked: AtomicBool::new(false),
            settling: Mutex::new(()),
        })
    }

    unsafe fn pgd_free(&self, mut pgd: MutantPgd) {
        if let Some(cache) = &self.cache {
            if pgd.walked.load(Ordering::Relaxed) && !self.is(Mutant::KeptStampTrusted) {
                pgd.walked.store(false, Ordering::Relaxed);
                pgd.stamp.store(Stamp::NEVER.to_u64(), Ordering::Relaxed);
            }
            match cache.put(0, pgd) {
                Ok(()) => return,
                Err(refused) => pgd = refused,
            }
        }
        // SAFETY: the caller's promise is the same.
        unsafe { self.slots.free_root(pgd.root) };
    }

    fn pgd_init_late(&self, pgd: &MutantPgd) {
        match self.mutant {
            Some(Mutant::CopyBeforePublication) => {}
            Some(Mutant::PlainStore) => self.copy_blindly(pgd),
            _ => {
                self.barrier_at_birth();
                let now = self.slots.reference().stamp();
                if !self.is_current(pgd, now) {
                    // SAFETY: the caller keeps the PGD alive.
                    self.complete(unsafe { self.slots.of(pgd.root) });
                    pgd.stamp.store(now.to_u64(), Ordering::Release);
                }
            }
        }
    }

    fn pgd_attach(&self, pgd: &MutantPgd) {
        if self.is(Mutant::AttachWithoutLateInit) {
            return;
        }
        self.barrier_at_birth();
        let reference = self.slots.reference();
        if self.is(Mutant::AttachByStamp) && self.is_current(pgd, reference.stamp()) {
            return;
        }
        let _settling = (!self.is(Mutant::AttachWithoutLock)).then(|| pgd.settling.lock());
        // SAFETY: the caller keeps the PGD alive; only slots that the reference has used; the lock is held, but for one mutant.
        unsafe { self.settle_used(self.slots.of(pgd.root)) };
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
            for slot in slots.clone() {
                if self.settle(table, slot) {
                    pgd.walked.store(true, Ordering::Relaxed);
                }
            }
        });
        stage::at(Point::Walked);
        if self.is(Mutant::StampAfterWalk) {
            walked_from = reference.stamp();
        }
        self.free_kept(Mutant::TablesFreedBeforeFlush);
        let flushes = !flush_early && !self.is(Mutant::HelperDoesNotFlush);
        if flushes && reference.is_flush_due(slots.clone()) {
            flush();
        }
        self.free_kept(Mutant::TablesFreedAfterFlush);
        // SAFETY: the walk above has ended, right or wrong.
        unsafe { reference.mark_synced(slots, walked_from) };
    }
}
