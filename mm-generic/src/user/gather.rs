//! Frames on their way out: entry cleared, TLBs flushed, and only then the frame freed (Linux's `mmu_gather`).
//!
//! Another thread of the program may run on another CPU and reach a page through its TLB until that
//! is flushed, and an MMU may walk through a table that it remembers. A frame that was freed
//! earlier might already be somebody else's. So frames are gathered, flushed for together, and freed.

use core::ops::Range;

use crate::frames::{Frame, Frames, PAGE_SIZE};
use crate::kernel::Kernel;
use crate::mm::Mm;
use crate::page_tables::PageTables;

/// Frames that one flush stands for. The array lives on the stack, 1 KiB, for memory may be what
/// an exit is to bring.
const BATCH: usize = 128;

/// Pages that are flushed one by one. A fork takes the right to store from a few pages far apart, of data and stack: all
/// that the TLB knows between them may stay.
const SINGLE: usize = 32;

const NONE: Frame = match Frame::at(0) {
    Some(frame) => frame,
    None => unreachable!(),
};

/// Frames that no entry shows any more and that a TLB may show. Flushes and frees them when it is dropped.
pub(super) struct Gather<'a, K: Kernel> {
    mm: &'a Mm<K>,
    /// Addresses to flush for.
    stale: Option<Range<u64>>,
    /// The same as single pages, if there are no more of them than fit.
    single: [u64; SINGLE],
    /// Pages that there are; the maximum when tables are among what is stale.
    pages: usize,
    // INVARIANT: the first `len` frames have lost the entry that owned a count of theirs, and that
    // count is here.
    frames: [Frame; BATCH],
    len: usize,
}

impl<'a, K: Kernel> Gather<'a, K> {
    pub(super) fn new(mm: &'a Mm<K>) -> Self {
        Self { mm, stale: None, single: [0; SINGLE], pages: 0, frames: [NONE; BATCH], len: 0 }
    }

    /// Notes that the entry of the page at `addr` has lost a right.
    pub(super) fn stale(&mut self, addr: u64) {
        if let Some(place) = self.single.get_mut(self.pages) {
            *place = addr;
        }
        self.pages = self.pages.saturating_add(1);
        let page = addr..addr + PAGE_SIZE;
        self.stale = Some(match &self.stale {
            Some(stale) => stale.start.min(page.start)..stale.end.max(page.end),
            None => page,
        });
    }

    /// Takes over the count that the entry at `addr` owned, now that the entry is clear.
    pub(super) fn page(&mut self, addr: u64, frame: Frame) {
        self.stale(addr);
        self.push(frame);
    }

    /// Takes over a table that has been unlinked.
    pub(super) fn table(&mut self, frame: Frame) {
        // What a table mapped is not known here any more, and paging-structure caches hold upper levels.
        self.stale = Some(0..self.mm.init_mm().tables().user_end());
        self.pages = usize::MAX;
        self.push(frame);
    }

    fn push(&mut self, frame: Frame) {
        // INVARIANT: the caller gives the count.
        self.frames[self.len] = frame;
        self.len += 1;
        if self.len == BATCH {
            self.flush();
        }
    }

    /// Flushes the TLBs and then frees what has been gathered.
    fn flush(&mut self) {
        let Some(stale) = self.stale.take() else { return };
        match self.single.get(..self.pages) {
            Some(pages) => K::flush_tlb_pages(self.mm, pages),
            None => K::flush_tlb(self.mm, stale),
        }
        self.pages = 0;
        let frames = self.mm.init_mm().frames();
        for &frame in &self.frames[..self.len] {
            // SAFETY: the count is the gather's, by its invariant; no entry shows the frame, and the
            // flush has removed it from every TLB and paging-structure cache.
            unsafe { frames.put(frame) };
        }
        self.len = 0;
    }
}

impl<K: Kernel> Drop for Gather<'_, K> {
    fn drop(&mut self) {
        self.flush();
    }
}
