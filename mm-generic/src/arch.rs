//! The hook: what an architecture does with the kernel half of a PGD.
//!
//! An architecture whose user PGDs carry copies of the kernel's top-level entries (x86) fills them
//! in [`ArchPgd::pgd_init_late`], after the mm has become visible to walkers. An architecture with
//! a kernel root of its own (arm64's TTBR1) leaves every provided method alone: they are empty,
//! inlined, and cost nothing.

use kernel_sync::OutOfHeap;
use thiserror::Error;

use crate::frames::{Frame, OutOfFrames};
use crate::kernel_range::{KernelHalf, KernelRange};
use crate::kernel_slots::KernelSlots;
use crate::page_tables::PageTables;

/// A `pgd_alloc` that failed. Nothing was kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PgdAllocError {
    /// No frame for a table.
    #[error("pgd_alloc: {0}")]
    OutOfFrames(#[from] OutOfFrames),
    /// The frame for the top-level table lies where CR3 cannot point to. It has been given back.
    #[error("pgd_alloc: frame {:#x} is beyond the {bits} bits that the root register holds", frame.phys())]
    RootTooHigh {
        /// The frame.
        frame: Frame,
        /// Bits of physical address that a root can have.
        bits: u32,
    },
    /// No heap for what is kept beside the table.
    #[error("pgd_alloc: {0}")]
    OutOfHeap(#[from] OutOfHeap),
}

/// A growth of the kernel half that failed. The reference PGD holds what it held before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PopulateError {
    /// No frame for a table of the range.
    #[error("growth: {0}")]
    OutOfFrames(#[from] OutOfFrames),
    /// No heap for the list of new tables.
    #[error("growth: {0}")]
    OutOfHeap(#[from] OutOfHeap),
    /// A new table lies at a physical address that an entry of this geometry cannot hold.
    #[error("growth: frame {:#x} is beyond what an entry can hold", frame.phys())]
    FrameTooHigh {
        /// The frame. It has been given back.
        frame: Frame,
    },
    /// The range touches a top-level slot that each mm keeps for itself.
    #[error("growth into {addr:#x}: top-level slot {slot} is private to each mm")]
    PrivateSlot {
        /// Index of the slot within the kernel half.
        slot: usize,
        /// First address of the slot.
        addr: u64,
    },
}

/// The PGDs that a walk visits. mm-generic implements it; architectures only call it.
///
/// # Safety
///
/// An implementer promises that [`PgdWalk::for_each_pgd`] visits what it says: slots are marked synced on
/// the strength of it.
pub unsafe trait PgdWalk<P> {
    /// Calls `visit` for the PGD of every mm that a CPU may load.
    ///
    /// Every mm that was published before the call is visited, tasks first and CPUs second, some
    /// of them more than once. The order is what makes the walk complete: an exiting task clears
    /// its mm while its CPU still has the PGD loaded, never the other way round.
    fn for_each_pgd(&self, visit: &mut dyn FnMut(&P));
}

/// An architecture's PGDs.
///
/// Linux's `pgd_alloc`, `pgd_free`, `arch_pgd_init_late` (proposed in 2015) and `sync_global_pgds`.
/// [`crate::mm::Mm`] and [`crate::init_mm::InitMm`] call the methods, each at its one place; a kernel does not
/// call them itself.
pub trait ArchPgd: Send + Sync + Sized + 'static {
    /// One mm's top-level table and what the architecture keeps beside it.
    type Pgd: Send + Sync + 'static;

    /// The page tables below and including the top level.
    type Tables: PageTables;

    /// The page tables.
    fn tables(&self) -> &Self::Tables;

    /// The frame of the top-level table: what a CPU is loaded with.
    fn root(&self, pgd: &Self::Pgd) -> Frame;

    /// The root of the reference PGD: what a CPU is loaded with when it is on no mm.
    fn reference_root(&self) -> Frame;

    /// The kernel addresses that this architecture's PGDs map.
    fn kernel_half(&self) -> KernelHalf;

    /// Makes a PGD that no CPU can load yet, its user half empty.
    ///
    /// # Errors
    ///
    /// [`PgdAllocError`] when a frame is missing; nothing is kept.
    fn pgd_alloc(&self) -> Result<Self::Pgd, PgdAllocError>;

    /// Frees a PGD.
    ///
    /// # Safety
    ///
    /// * No CPU has it loaded and none will load it.
    /// * No walker can reach it: an RCU grace period has passed since the last one could find it.
    /// * Its user half is empty.
    unsafe fn pgd_free(&self, pgd: Self::Pgd);

    /// Completes the kernel half of a new PGD that walkers can already see.
    ///
    /// Called in fork and exec, after the mm was published and before the PGD is loaded anywhere.
    /// An implementation starts with a full barrier, so that either this call sees an updater's
    /// reference entry or that updater's walk sees the mm. Once per PGD; no CPU loads it before this has returned.
    #[inline(always)]
    fn pgd_init_late(&self, _pgd: &Self::Pgd) {}

    /// Completes the kernel half of a PGD that has just become visible to walkers anew.
    ///
    /// Called when an mm that no task may have had during an earlier walk gets a task again:
    /// `kthread_use_mm`, and a process made with `CLONE_VM`. Its late init has ended, and other CPUs may have the PGD loaded.
    #[inline(always)]
    fn pgd_attach(&self, _pgd: &Self::Pgd) {}

    /// Makes the kernel's own tables cover `range`: stores the missing top-level entries in the
    /// reference PGD, and takes a share in each. Nothing is handed out before [`ArchPgd::sync_global_pgds`] has returned.
    ///
    /// # Errors
    ///
    /// See [`PopulateError`]; the reference PGD is then unchanged.
    fn populate_kernel(&self, range: KernelRange) -> Result<(), PopulateError>;

    /// How top-level entries are replaced and taken out; `None` where all PGDs share their top level, and there is nothing
    /// that a walk would have to bring to them.
    fn kernel_slots(&self) -> Option<&dyn KernelSlots> {
        None
    }

    /// Tells whether every CPU translates `range` through the reference's top-level entries, and nothing else.
    ///
    /// An entry in the reference is not enough: its grower's walk may still be under way.
    #[inline(always)]
    fn is_synced(&self, _range: KernelRange) -> bool {
        false
    }

    /// Brings the reference's entries for `range` to every PGD, in one walk; then calls `flush`, if a CPU may
    /// still translate through an entry that was replaced or retired; and then marks the slots synced.
    ///
    /// An implementation starts with a full barrier, the partner of the one in
    /// [`ArchPgd::pgd_init_late`].
    #[inline(always)]
    fn sync_global_pgds(
        &self,
        _range: KernelRange,
        _walk: &dyn PgdWalk<Self::Pgd>,
        _flush: &mut dyn FnMut(),
    ) {
    }
}
