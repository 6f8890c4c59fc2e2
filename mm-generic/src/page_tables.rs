//! What mm-generic asks of an architecture's page tables: one page in, one page out.
//!
//! Demand paging, copy-on-write and fork's copy of the user half are written over these few
//! operations, and so is the mapping of pages into kernel ranges. The tables below the top level
//! belong to the architecture; how many levels there are is nobody else's business.

use core::ops::Range;

use thiserror::Error;

use crate::frames::{Frame, OutOfFrames};
use crate::prot::Prot;

/// A present leaf entry: one 4 KiB page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leaf {
    /// The frame that the page shows.
    pub frame: Frame,
    /// What the MMU allows. Copy-on-write pages lack [`Prot::WRITE`] although their VMA has it.
    pub prot: Prot,
    /// A store has gone through this entry (x86 dirty bit).
    pub dirty: bool,
}

/// A page that could not be mapped. Tables made on the way stay; they hold nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum MapError {
    /// No frame for a table.
    #[error("mapping {addr:#x}: {source}")]
    OutOfFrames {
        /// Address that was to be mapped.
        addr: u64,
        /// What the allocator said.
        source: OutOfFrames,
    },
    /// Something is mapped there already; it was left alone.
    #[error("mapping {addr:#x}: already maps frame {:#x}", frame.phys())]
    Occupied {
        /// Address that was to be mapped.
        addr: u64,
        /// What it shows.
        frame: Frame,
    },
    /// The address is not in the half that was asked for, or not page-aligned.
    #[error("mapping {addr:#x}: not a page of this half of the address space")]
    BadAddress {
        /// Address that was to be mapped.
        addr: u64,
    },
    /// The frame's physical address does not fit the entries of this geometry.
    #[error("mapping {addr:#x}: frame {:#x} is beyond what an entry can hold", frame.phys())]
    FrameTooHigh {
        /// Address that was to be mapped.
        addr: u64,
        /// The frame.
        frame: Frame,
    },
}

/// An architecture's page tables, reached from a root frame (what CR3 is loaded with).
///
/// # Safety
///
/// An implementer promises that the MMU, given `root`, finds exactly what these methods say.
pub unsafe trait PageTables: Send + Sync + 'static {
    /// User addresses: the first one is 0, this is the first that is none.
    fn user_end(&self) -> u64;

    /// Maps one page of the user half, with user access as `leaf.prot` says.
    ///
    /// Takes over no count of `leaf.frame`; the caller's count stays with the entry.
    ///
    /// # Errors
    ///
    /// See [`MapError`]; the page then shows what it showed before.
    ///
    /// # Safety
    ///
    /// `root` is live and the caller has exclusive use of its user half.
    unsafe fn map(&self, root: Frame, addr: u64, leaf: Leaf) -> Result<(), MapError>;

    /// What `addr` shows, if anything; `addr` may lie in either half.
    ///
    /// # Safety
    ///
    /// `root` is live and its tables are not freed meanwhile.
    unsafe fn lookup(&self, root: Frame, addr: u64) -> Option<Leaf>;

    /// Takes out one page of the user half and returns what it showed.
    ///
    /// The caller flushes the TLB before it frees the frame.
    ///
    /// # Safety
    ///
    /// As for [`PageTables::map`].
    unsafe fn unmap(&self, root: Frame, addr: u64) -> Option<Leaf>;

    /// Changes what the MMU allows on one mapped page of the user half, and returns the leaf as it was.
    ///
    /// The MMU may set the dirty bit at the same moment; it is not lost.
    ///
    /// # Safety
    ///
    /// As for [`PageTables::map`].
    unsafe fn protect(&self, root: Frame, addr: u64, prot: Prot) -> Option<Leaf>;

    /// Visits the mapped pages of `range` (user addresses in bytes) in ascending order, skipping empty tables.
    ///
    /// # Safety
    ///
    /// As for [`PageTables::map`]; `visit` does not use these tables.
    unsafe fn for_each_leaf(
        &self,
        root: Frame,
        range: Range<u64>,
        visit: &mut dyn FnMut(u64, Leaf),
    );

    /// Unlinks every table below the top level of the user half and hands each to `free`, lower tables first.
    ///
    /// The caller flushes the TLBs and paging-structure caches before it frees the frames.
    ///
    /// # Safety
    ///
    /// As for [`PageTables::map`]; no page of the user half is mapped.
    unsafe fn unlink_user_tables(&self, root: Frame, free: &mut dyn FnMut(Frame));

    /// Maps one page of the kernel half, for supervisor mode only, in tables that all PGDs share.
    ///
    /// Several CPUs may do so at once.
    ///
    /// # Errors
    ///
    /// See [`MapError`]; the page then shows what it showed before.
    ///
    /// # Safety
    ///
    /// `root` is the reference PGD, and its top-level entry for `addr` is populated.
    unsafe fn map_kernel(
        &self,
        root: Frame,
        addr: u64,
        frame: Frame,
        prot: Prot,
    ) -> Result<(), MapError>;

    /// Takes out one page of the kernel half and returns the frame it showed.
    ///
    /// # Safety
    ///
    /// As for [`PageTables::map_kernel`]; the caller flushes the TLBs of all CPUs before it frees the frame.
    unsafe fn unmap_kernel(&self, root: Frame, addr: u64) -> Option<Frame>;
}
