//! The slots of an mm: which table they are in, how a kernel range maps to them, how the reference gets new ones.
//!
//! What both schemes share, the lockless one and the locked one.

use alloc::vec::Vec;
use core::ops::Range;

use kernel_sync::OutOfHeap;
use kernel_sync::atomic::Ordering;
use mm_generic::arch::{PgdAllocError, PopulateError};
use mm_generic::frames::{Frame, Frames};
use mm_generic::kernel_range::KernelRange;
use mm_generic::reference::{ReferenceError, ReferencePgd};
use mm_generic::word::Word;
use thiserror::Error;

use crate::entry;
use crate::geometry::{Geometry, SlotTable};
use crate::tables::Tables;

/// The kernel's tables could not be set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SetupError {
    /// No top-level table.
    #[error("setting up the reference PGD: {0}")]
    Root(#[from] PgdAllocError),
    /// The boot tables cannot serve as the reference PGD.
    #[error("setting up the reference PGD: {0}")]
    Reference(#[from] ReferenceError),
    /// PAE with private PMDs: the boot tables have no PMD for the kernel.
    #[error("the boot tables at {:#x} have no PMD for the kernel", root.phys())]
    NoKernelPmd {
        /// The boot tables' top level.
        root: Frame,
    },
}

/// The kernel's page tables, the slots of its top level, and the reference PGD over them.
pub struct Slots<G: Geometry, F: Frames> {
    tables: Tables<G, F>,
    root: Frame,
    reference: ReferencePgd<G::Word>,
}

impl<G: Geometry, F: Frames> Slots<G, F> {
    /// Adopts the page tables that the kernel booted with as the reference PGD.
    ///
    /// `private` lists slots, counted from the first of the kernel half, that each mm keeps for itself.
    ///
    /// # Errors
    ///
    /// [`SetupError::Reference`] when a private slot is out of range or in use already,
    /// [`SetupError::NoKernelPmd`] for PAE boot tables without one, [`SetupError::Root`] when CR3 cannot point to `root`.
    pub fn adopt(
        geometry: G,
        frames: &'static F,
        root: Frame,
        private: Vec<usize>,
    ) -> Result<Self, SetupError> {
        let bits = G::CR3_BITS;
        if root.phys() >> bits != 0 {
            return Err(PgdAllocError::RootTooHigh { frame: root, bits }.into());
        }
        let tables = Tables::new(geometry, frames);
        let table = slot_table(&tables, root).ok_or(SetupError::NoKernelPmd { root })?;
        let slots = &G::Word::table(frames, table)[first_slot::<G>()..][..geometry.slots()];
        let set_by_mmu = entry::set_by_mmu(&geometry, G::SLOT_DEPTH);
        Ok(Self { tables, root, reference: ReferencePgd::adopt(slots, private, set_by_mmu)? })
    }

    /// Makes an empty reference PGD, for a host or for a kernel that fills it before its first mm.
    ///
    /// # Errors
    ///
    /// [`SetupError::Root`] without a frame for the root.
    pub fn with_empty_reference(geometry: G, frames: &'static F) -> Result<Self, SetupError> {
        let root = alloc_root(&Tables::new(geometry, frames))?;
        Self::adopt(geometry, frames, root, Vec::new())
    }

    /// The page tables.
    pub fn tables(&self) -> &Tables<G, F> {
        &self.tables
    }

    /// The reference PGD's top-level table.
    pub fn root(&self) -> Frame {
        self.root
    }

    /// The reference PGD.
    pub fn reference(&self) -> &ReferencePgd<G::Word> {
        &self.reference
    }

    /// The slots of the PGD at `root`, to be completed by [`ReferencePgd`]'s methods.
    ///
    /// The shared-level check of the 2015 patch: late init fills top-level entries where what is below
    /// them is shared, and entries of the mm's own PMD where it is not.
    ///
    /// # Panics
    ///
    /// When `root` is not a root that [`Slots::alloc_root`] made.
    ///
    /// # Safety
    ///
    /// `root` is live, and nothing is stored in its slots but by [`ReferencePgd::settle`] and its like.
    #[inline]
    pub unsafe fn of(&self, root: Frame) -> &[<G::Word as Word>::Atomic] {
        let table = slot_table(&self.tables, root)
            .expect("a PAE root with private PMDs has its kernel PMD from alloc_root on");
        &G::Word::table(self.tables.frames(), table)[first_slot::<G>()..]
    }

    /// What the PGD at `root` holds in `slot`.
    ///
    /// # Panics
    ///
    /// As [`Slots::of`], and when `slot` is not below the number of slots.
    ///
    /// # Safety
    ///
    /// `root` is live.
    #[must_use]
    pub unsafe fn entry_of(&self, root: Frame, slot: usize) -> G::Word {
        // SAFETY: the caller's promise; nothing is stored.
        G::Word::load(&unsafe { self.of(root) }[slot], Ordering::Acquire)
    }

    /// The slots that `range` touches.
    #[inline]
    pub fn range(&self, range: KernelRange) -> Range<usize> {
        let geometry = self.tables.geometry();
        let (first, span) = (geometry.kernel_half().first, geometry.slot_span());
        let slot = |addr: u64| ((addr - first) / span) as usize;
        slot(range.start())..slot(range.last()) + 1
    }

    /// Takes frames for a PGD with empty slots and an empty user half.
    ///
    /// # Errors
    ///
    /// [`PgdAllocError::OutOfFrames`], and [`PgdAllocError::RootTooHigh`] where the allocator returns a frame that
    /// CR3 cannot point to: without long mode, PGDs must lie below 4 GiB. Nothing is kept.
    pub fn alloc_root(&self) -> Result<Frame, PgdAllocError> {
        alloc_root(&self.tables)
    }

    /// Gives back what [`Slots::alloc_root`] took.
    ///
    /// # Safety
    ///
    /// As for [`mm_generic::arch::ArchPgd::pgd_free`].
    pub unsafe fn free_root(&self, root: Frame) {
        if let SlotTable::PrivatePmd = G::SLOTS
            && let Some(pmd) = slot_table(&self.tables, root)
        {
            // SAFETY: made in `alloc_root` for this root alone, which nothing reaches any more.
            unsafe { self.tables.frames().put(pmd) };
        }
        // SAFETY: the caller's promise.
        unsafe { self.tables.frames().put(root) };
    }

    /// Takes a share in the slots of `range`, and stores tables for those that the reference lacks: all of them or none.
    ///
    /// # Errors
    ///
    /// See [`PopulateError`]; the reference is unchanged.
    pub fn populate(&self, range: KernelRange) -> Result<(), PopulateError> {
        let slots = self.range(range);
        let private = slots.clone().find(|&slot| self.reference.is_private(slot));
        if let Some(slot) = private {
            return Err(PopulateError::PrivateSlot { slot, addr: self.addr(slot) });
        }
        let mut new = NewTables { tables: &self.tables, entries: Vec::new() };
        loop {
            for slot in slots.clone() {
                if !self.reference.is_populated(slot) {
                    new.add(slot)?;
                }
            }
            // SAFETY: tables made in `add`, zeroed, which nobody frees while they are in the reference; `add` keeps them in order.
            if unsafe { self.reference.populate(slots.clone(), &mut new.entries) } {
                // What another grower populated first stays in `entries`, and its tables are freed here.
                return Ok(());
            }
            // A slot was reclaimed since it was looked at.
        }
    }

    /// First address of a slot.
    pub(crate) fn addr(&self, slot: usize) -> u64 {
        let geometry = self.tables.geometry();
        geometry.kernel_half().first + slot as u64 * geometry.slot_span()
    }
}

/// Tables that wait for their place in the reference; those left over are freed.
struct NewTables<'a, G: Geometry, F: Frames> {
    tables: &'a Tables<G, F>,
    entries: Vec<(usize, G::Word)>,
}

impl<G: Geometry, F: Frames> NewTables<'_, G, F> {
    /// Makes a table for `slot`, unless there is one already.
    fn add(&mut self, slot: usize) -> Result<(), PopulateError> {
        let Err(place) = self.entries.binary_search_by_key(&slot, |&(slot, _)| slot) else {
            return Ok(());
        };
        self.entries
            .try_reserve(1)
            .map_err(|_| OutOfHeap { bytes: size_of::<(usize, G::Word)>() })?;
        let frame = self.tables.frames().alloc()?;
        match entry::table(self.tables.geometry(), G::SLOT_DEPTH, frame, false) {
            Some(entry) => self.entries.insert(place, (slot, entry)),
            None => {
                // SAFETY: just allocated, never stored anywhere.
                unsafe { self.tables.frames().put(frame) };
                return Err(PopulateError::FrameTooHigh { frame });
            }
        }
        Ok(())
    }
}

impl<G: Geometry, F: Frames> Drop for NewTables<'_, G, F> {
    fn drop(&mut self) {
        for &(_, entry) in &self.entries {
            if let Some(frame) = entry::frame(entry) {
                // SAFETY: allocated in `add`, never stored in any table.
                unsafe { self.tables.frames().put(frame) };
            }
        }
    }
}

/// Index of the first slot in its table.
const fn first_slot<G: Geometry>() -> usize {
    match G::SLOTS {
        SlotTable::TopLevel => G::BOUNDARY,
        SlotTable::PrivatePmd => 0,
    }
}

/// The table that holds the slots of `root`.
#[inline]
fn slot_table<G: Geometry, F: Frames>(tables: &Tables<G, F>, root: Frame) -> Option<Frame> {
    match G::SLOTS {
        SlotTable::TopLevel => Some(root),
        SlotTable::PrivatePmd => tables.child(root, G::BOUNDARY),
    }
}

/// Takes frames for a root and, where PMDs are private, for its kernel PMD.
fn alloc_root<G: Geometry, F: Frames>(tables: &Tables<G, F>) -> Result<Frame, PgdAllocError> {
    let frames = tables.frames();
    let root = frames.alloc()?;
    if root.phys() >> G::CR3_BITS != 0 {
        // SAFETY: just allocated, never stored anywhere.
        unsafe { frames.put(root) };
        return Err(PgdAllocError::RootTooHigh { frame: root, bits: G::CR3_BITS });
    }
    if let SlotTable::PrivatePmd = G::SLOTS {
        let pmd = match frames.alloc() {
            Ok(pmd) => pmd,
            Err(error) => {
                // SAFETY: just allocated, never stored anywhere.
                unsafe { frames.put(root) };
                return Err(error.into());
            }
        };
        tables.set_child(root, G::BOUNDARY, pmd);
    }
    Ok(root)
}
