//! The locked scheme: every PGD is copied under `pgd_lock` and registered on `pgd_list` (Linux since 2003).
//!
//! Correct, simple, and the baseline that the lockless scheme is compared with: each `pgd_alloc`
//! and each `pgd_free` on every CPU takes the one lock.

use alloc::vec::Vec;

use kernel_sync::{Mutex, OutOfHeap};
use mm_generic::arch::{ArchPgd, PgdAllocError, PgdWalk, PopulateError};
use mm_generic::frames::{Frame, Frames};
use mm_generic::kernel_range::{KernelHalf, KernelRange};
use mm_generic::kernel_slots::KernelSlots;

use crate::geometry::Geometry;
use crate::slots::Slots;
use crate::tables::Tables;

/// x86 with `pgd_lock` and `pgd_list`.
pub struct Locked<G: Geometry, F: Frames> {
    slots: Slots<G, F>,
    /// `pgd_lock`, around `pgd_list`.
    pgd_list: Mutex<PgdList>,
}

/// The top-level table of one mm, and its place on `pgd_list`.
pub struct LockedPgd {
    root: Frame,
    place: usize,
}

/// Roots of all PGDs from `pgd_alloc` to `pgd_free`; free places are chained.
struct PgdList {
    places: Vec<Place>,
    free: Option<usize>,
}

enum Place {
    Used(Frame),
    Free { next: Option<usize> },
}

impl PgdList {
    fn add(&mut self, root: Frame) -> Result<usize, OutOfHeap> {
        if let Some(place) = self.free {
            if let Place::Free { next } = self.places[place] {
                self.free = next;
            }
            self.places[place] = Place::Used(root);
            return Ok(place);
        }
        self.places.try_reserve(1).map_err(|_| OutOfHeap { bytes: size_of::<Place>() })?;
        self.places.push(Place::Used(root));
        Ok(self.places.len() - 1)
    }

    fn remove(&mut self, place: usize) {
        self.places[place] = Place::Free { next: self.free };
        self.free = Some(place);
    }

    fn roots(&self) -> impl Iterator<Item = Frame> {
        self.places.iter().filter_map(|place| match place {
            Place::Used(root) => Some(*root),
            Place::Free { .. } => None,
        })
    }
}

impl<G: Geometry, F: Frames> Locked<G, F> {
    /// Uses `slots`, whose reference PGD no mm has been made from yet.
    pub fn new(slots: Slots<G, F>) -> Self {
        Self { slots, pgd_list: Mutex::new(PgdList { places: Vec::new(), free: None }) }
    }

    /// The slots and the reference PGD.
    pub fn slots(&self) -> &Slots<G, F> {
        &self.slots
    }
}

impl<G: Geometry, F: Frames> ArchPgd for Locked<G, F> {
    type Pgd = LockedPgd;
    type Tables = Tables<G, F>;

    fn tables(&self) -> &Tables<G, F> {
        self.slots.tables()
    }

    #[inline]
    fn root(&self, pgd: &LockedPgd) -> Frame {
        pgd.root
    }

    fn reference_root(&self) -> Frame {
        self.slots.root()
    }

    fn kernel_half(&self) -> KernelHalf {
        self.slots.tables().geometry().kernel_half()
    }

    fn pgd_alloc(&self) -> Result<LockedPgd, PgdAllocError> {
        let root = self.slots.alloc_root()?;
        // Copy and registration are one critical section: a growth comes before both or after both.
        let mut pgd_list = self.pgd_list.lock();
        // SAFETY: made above, and not on the list yet.
        unsafe { self.slots.reference().copy_populated(self.slots.of(root)) };
        match pgd_list.add(root) {
            Ok(place) => Ok(LockedPgd { root, place }),
            Err(error) => {
                drop(pgd_list);
                // SAFETY: made above, never loaded, not on the list.
                unsafe { self.slots.free_root(root) };
                Err(error.into())
            }
        }
    }

    unsafe fn pgd_free(&self, pgd: LockedPgd) {
        self.pgd_list.lock().remove(pgd.place);
        // SAFETY: the caller's promise, and the list has forgotten it.
        unsafe { self.slots.free_root(pgd.root) };
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

    /// Walks `pgd_list` under `pgd_lock`; the task layer's walk is not needed. The flush comes after the lock is let go: Linux's
    /// `__split_large_page` flushes under it, and can then never take it with interrupts off.
    fn sync_global_pgds(
        &self,
        range: KernelRange,
        _walk: &dyn PgdWalk<LockedPgd>,
        flush: &mut dyn FnMut(),
    ) {
        let reference = self.slots.reference();
        let range = self.slots.range(range);
        let walked_from = reference.stamp();
        {
            let pgd_list = self.pgd_list.lock();
            for root in pgd_list.roots() {
                // SAFETY: on the list, so it lives.
                let table = unsafe { self.slots.of(root) };
                for slot in range.clone() {
                    // SAFETY: an updater's range has no private slots; `pgd_lock` is held.
                    unsafe { reference.settle(table, slot) };
                }
            }
        }
        if reference.is_flush_due(range.clone()) {
            flush();
        }
        // SAFETY: every PGD was on the list, or has been copied from the reference under the lock since; flushed above.
        unsafe { reference.mark_synced(range, walked_from) };
    }
}
