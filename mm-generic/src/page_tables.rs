//! What mm-generic asks of an architecture's page tables: one page in, a range of pages out.
//!
//! Demand paging, copy-on-write and fork's copy of the user half are written over these few
//! operations, and so is the mapping of pages into kernel ranges. The tables below the top level
//! belong to the architecture; how many levels there are is nobody else's business.

use core::ops::{ControlFlow, Range};

use thiserror::Error;

use crate::frames::{Frame, OutOfFrames, PAGE_SIZE};
use crate::kernel_range::KernelRange;
use crate::prot::Prot;

/// A present leaf entry: one 4 KiB page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leaf {
    /// The frame that the page shows.
    pub frame: Frame,
    /// What the MMU allows user mode; for a page of the kernel half, the kernel. Copy-on-write pages
    /// lack [`Prot::WRITE`] although their VMA has it. With no right at all the page is kept, and
    /// user mode cannot reach it.
    pub prot: Prot,
    /// A store has gone through this entry (x86 dirty bit).
    pub dirty: bool,
}

/// When every MMU that has the tables loaded finds a page that has been mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a page that shows after a flush faults for ever without one"]
pub enum Shows {
    /// At once: no MMU remembers that nothing was there.
    AtOnce,
    /// After a flush: an MMU may hold on to an absent top-level entry (PAE keeps the four of them in
    /// registers, SDM volume 3, 4.4.1).
    AfterFlush,
}

/// A page that could not be mapped. Tables made on the way stay and hold nothing; in the user half,
/// they call for a flush as [`Shows::AfterFlush`] does.
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
    unsafe fn map(&self, root: Frame, addr: u64, leaf: Leaf) -> Result<Shows, MapError>;

    /// What `addr` shows, if anything; `addr` may lie in either half.
    ///
    /// # Safety
    ///
    /// `root` is live and its tables are not freed meanwhile. Those of the kernel half are not before the caller's read-side section
    /// ends: that, and nothing else, is what a reclaim's grace period is for. MMUs have let go of them by its walk and its flush.
    unsafe fn lookup(&self, root: Frame, addr: u64) -> Option<Leaf>;

    /// Takes out the mapped pages of `range` (user addresses in bytes) in ascending order and hands
    /// each, with its address, to `visit`. Tables stay, even empty ones.
    ///
    /// The caller flushes the TLB before it frees a frame; it may do so within `visit`, for the
    /// entries handed out so far are clear.
    ///
    /// # Safety
    ///
    /// As for [`PageTables::map`]; `visit` does not use these tables.
    unsafe fn unmap_range(&self, root: Frame, range: Range<u64>, visit: impl FnMut(u64, Leaf));

    /// Visits the mapped pages of `range` (user addresses in bytes) in ascending order, and gives each
    /// the rights that `visit` answers with, until it answers [`ControlFlow::Break`].
    ///
    /// The MMU may set the dirty bit at the same moment; it is not lost.
    ///
    /// # Safety
    ///
    /// As for [`PageTables::map`]; `visit` does not use these tables.
    unsafe fn protect_range<B>(
        &self,
        root: Frame,
        range: Range<u64>,
        visit: impl FnMut(u64, Leaf) -> ControlFlow<B, Prot>,
    ) -> ControlFlow<B>;

    /// Visits the mapped pages of `range` (user addresses in bytes) of the tables at `from` in ascending order, gives each the
    /// rights that `visit` answers with, and maps its frame with these rights at the same address of the tables at `to`.
    ///
    /// The MMU may set the dirty bit of a page of `from` at the same moment; it is not lost there. `visit` adds the count of the
    /// frame that the new entry owns.
    ///
    /// # Errors
    ///
    /// See [`MapError`]; the page in question has not been visited, and the ones before have been copied.
    ///
    /// # Safety
    ///
    /// As for [`PageTables::map`], for both roots; `visit` uses neither's tables.
    unsafe fn copy_range(
        &self,
        from: Frame,
        to: Frame,
        range: Range<u64>,
        mut visit: impl FnMut(u64, Leaf) -> Prot,
    ) -> Result<Shows, MapError> {
        let mut shows = Shows::AtOnce;
        let copy = |addr, leaf: Leaf| {
            // Rights come last: they are only added, and no TLB has to learn of that.
            let kept = Leaf { prot: Prot::empty(), ..leaf };
            // SAFETY: the caller's promise for `to`.
            match unsafe { self.map(to, addr, kept) } {
                Ok(Shows::AtOnce) => {}
                Ok(Shows::AfterFlush) => shows = Shows::AfterFlush,
                Err(error) => return ControlFlow::Break(error),
            }
            let prot = visit(addr, leaf);
            // SAFETY: as above.
            unsafe { self.protect(to, addr, prot) };
            ControlFlow::Continue(prot)
        };
        // SAFETY: the caller's promise for `from`; the visitor uses the other tables.
        match unsafe { self.protect_range(from, range, copy) } {
            ControlFlow::Continue(()) => Ok(shows),
            ControlFlow::Break(error) => Err(error),
        }
    }

    /// Visits the pages of `range` (user addresses in bytes) that show nothing, in ascending order, and maps what `visit` answers
    /// with, until one cannot be mapped. Pages for which a table lacks need not be visited.
    ///
    /// Takes over no count of the frames; the caller's counts stay with the entries.
    ///
    /// # Errors
    ///
    /// See [`MapError`]; the page that `visit` was asked for last shows nothing.
    ///
    /// # Safety
    ///
    /// As for [`PageTables::map`]; `visit` does not use these tables.
    unsafe fn fill_range(
        &self,
        root: Frame,
        range: Range<u64>,
        mut visit: impl FnMut(u64) -> Option<Leaf>,
    ) -> Result<Shows, MapError> {
        let mut shows = Shows::AtOnce;
        for addr in range.step_by(PAGE_SIZE as usize) {
            // SAFETY: the caller's promise.
            if unsafe { self.lookup(root, addr) }.is_none()
                && let Some(leaf) = visit(addr)
                // SAFETY: as above.
                && unsafe { self.map(root, addr, leaf) }? == Shows::AfterFlush
            {
                shows = Shows::AfterFlush;
            }
        }
        Ok(shows)
    }

    /// Takes out one page of the user half and returns what it showed.
    ///
    /// The caller flushes the TLB before it frees the frame.
    ///
    /// # Safety
    ///
    /// As for [`PageTables::map`].
    unsafe fn unmap(&self, root: Frame, addr: u64) -> Option<Leaf> {
        let mut found = None;
        // SAFETY: the caller's promise; the visitor touches no table.
        unsafe { self.unmap_range(root, addr..addr + PAGE_SIZE, |_, leaf| found = Some(leaf)) };
        found
    }

    /// Changes what the MMU allows on one page of the user half, if it is mapped.
    ///
    /// # Safety
    ///
    /// As for [`PageTables::map`].
    unsafe fn protect(&self, root: Frame, addr: u64, prot: Prot) {
        let visit = |_, _| ControlFlow::<(), _>::Continue(prot);
        // SAFETY: the caller's promise; the visitor touches no table.
        let _ = unsafe { self.protect_range(root, addr..addr + PAGE_SIZE, visit) };
    }

    /// Unlinks the tables below the top level that `ranges` (user addresses in bytes) need, and hands each to `free`, lower
    /// tables first. The ranges ascend, with or without gaps, and do not overlap; no other part of the tables is looked at.
    ///
    /// The caller flushes the TLBs and paging-structure caches before it frees the frames; it may do
    /// so within `free`, for the tables handed out so far are unlinked.
    ///
    /// # Safety
    ///
    /// As for [`PageTables::map`]; no page of the user half is mapped, and each table that there is maps an address of one of the
    /// ranges, or else what it holds leaks. `free` does not use these tables.
    unsafe fn unlink_user_tables(
        &self,
        root: Frame,
        ranges: impl Iterator<Item = Range<u64>>,
        free: impl FnMut(Frame),
    );

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

    /// Takes out the mapped pages of `range` in ascending order and hands each, with its address, to `visit`, until it
    /// answers [`ControlFlow::Break`]; that page is taken out too. Tables stay, even empty ones, and so do large pages.
    ///
    /// # Safety
    ///
    /// As for [`PageTables::unmap_kernel`]; `visit` does not use the pages of `range`.
    unsafe fn unmap_kernel_range<B>(
        &self,
        root: Frame,
        range: KernelRange,
        visit: impl FnMut(u64, Frame) -> ControlFlow<B>,
    ) -> ControlFlow<B>;
}
