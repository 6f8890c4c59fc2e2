//! What mm-generic asks for, page by page, on the tables of x86.

use core::ops::{ControlFlow, Range};

use kernel_sync::atomic::Ordering;
use mm_generic::frames::{Frame, Frames, PAGE_SIZE};
use mm_generic::kernel_range::KernelRange;
use mm_generic::page_tables::{Leaf, MapError, PageTables, Shows};
use mm_generic::prot::Prot;
use mm_generic::word::Word;

use super::Tables;
use super::descent::Cell;
use crate::entry;
use crate::geometry::Geometry;

impl<G: Geometry, F: Frames> Tables<G, F> {
    /// Visits the last-level entries of the part of `range` that lies in the user half, as [`Tables::for_each_stretch`] does.
    fn for_each_user_stretch<B>(
        &self,
        root: Frame,
        range: Range<u64>,
        visit: &mut impl FnMut(u64, &[Cell<G>]) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let end = range.end.min(self.geometry.user_end());
        if range.start >= end {
            return ControlFlow::Continue(());
        }
        self.for_each_stretch(root, 0, range.start, end - 1, visit)
    }
}

/// The entries of a stretch that begins at `start`, with the addresses of their pages.
fn pages<C>(start: u64, cells: &[C]) -> impl Iterator<Item = (u64, &C)> {
    cells.iter().enumerate().map(move |(at, cell)| (start + at as u64 * PAGE_SIZE, cell))
}

/// Takes out what an entry holds, if it holds anything.
fn take_page<G: Geometry>(cell: &Cell<G>) -> Option<G::Word> {
    // The load saves a locked instruction for each page that is not there.
    if G::Word::load(cell, Ordering::Relaxed) == G::Word::NONE {
        return None;
    }
    // A swap: the MMU may set the dirty bit until the entry is clear. Relaxed: whoever mapped the page did so under the lock of the user
    // half, or through the range that the caller has to himself now; and who finds the entry gone has no use of what was before.
    Some(G::Word::swap(cell, G::Word::NONE, Ordering::Relaxed))
}

/// Gives the page of `entry`, as just loaded from `cell`, the rights `prot`; returns the entry as it is then.
fn set_prot<G: Geometry>(cell: &Cell<G>, mut entry: G::Word, prot: Prot) -> G::Word {
    // Only the MMU changes the entry meanwhile: it sets accessed and dirty bits. Relaxed: the frame stays the same, and with it what
    // there was to be seen of it.
    loop {
        let changed = entry::with_prot::<G>(entry, prot);
        if changed == entry {
            return entry;
        }
        match G::Word::compare_exchange(cell, entry, changed, Ordering::Relaxed, Ordering::Relaxed)
        {
            Ok(_) => return changed,
            Err(found) => entry = found,
        }
    }
}

/// What a last-level entry of the user half shows.
fn leaf<G: Geometry>(entry: G::Word) -> Option<Leaf> {
    let frame = entry::page_frame::<G>(entry)?;
    Some(Leaf { frame, prot: entry::prot::<G>(entry, true), dirty: entry::is_dirty(entry) })
}

/// Stores a page entry where none is.
fn store_page<G: Geometry>(cell: &Cell<G>, entry: G::Word, addr: u64) -> Result<(), MapError> {
    // Release: who finds the entry finds the page's contents.
    let stored =
        G::Word::compare_exchange(cell, G::Word::NONE, entry, Ordering::Release, Ordering::Relaxed);
    match stored {
        Ok(_) => Ok(()),
        Err(found) => match entry::page_frame::<G>(found) {
            Some(frame) => Err(MapError::Occupied { addr, frame }),
            None => Err(MapError::BadAddress { addr }),
        },
    }
}

// SAFETY: the entries are those of the SDM (`entry.rs`), found by the levels of the geometry.
unsafe impl<G: Geometry, F: Frames> PageTables for Tables<G, F> {
    fn user_end(&self) -> u64 {
        self.geometry.user_end()
    }

    unsafe fn map(&self, root: Frame, addr: u64, leaf: Leaf) -> Result<Shows, MapError> {
        if addr >= self.geometry.user_end() || !addr.is_multiple_of(PAGE_SIZE) {
            return Err(MapError::BadAddress { addr });
        }
        let entry = entry::page::<G>(leaf.frame, leaf.prot, true, leaf.dirty)
            .ok_or(MapError::FrameTooHigh { addr, frame: leaf.frame })?;
        let (cell, shows) = self.make_cell(root, addr, true)?;
        store_page::<G>(cell, entry, addr)?;
        Ok(shows)
    }

    unsafe fn lookup(&self, root: Frame, addr: u64) -> Option<Leaf> {
        let user = addr < self.geometry.user_end();
        let half = self.geometry.kernel_half();
        if !user && (addr < half.first || addr > half.last) {
            return None;
        }
        self.find(root, addr, user)
    }

    unsafe fn unmap_range(&self, root: Frame, range: Range<u64>, mut visit: impl FnMut(u64, Leaf)) {
        let mut unmap = |start: u64, cells: &[Cell<G>]| {
            for (addr, cell) in pages(start, cells) {
                if let Some(leaf) = take_page::<G>(cell).and_then(leaf::<G>) {
                    visit(addr, leaf);
                }
            }
            ControlFlow::<()>::Continue(())
        };
        let _ = self.for_each_user_stretch(root, range, &mut unmap);
    }

    unsafe fn protect_range<B>(
        &self,
        root: Frame,
        range: Range<u64>,
        mut visit: impl FnMut(u64, Leaf) -> ControlFlow<B, Prot>,
    ) -> ControlFlow<B> {
        let mut protect = |start: u64, cells: &[Cell<G>]| {
            for (addr, cell) in pages(start, cells) {
                // Relaxed: the caller has the user half to himself.
                let entry = G::Word::load(cell, Ordering::Relaxed);
                if let Some(leaf) = leaf::<G>(entry) {
                    let prot = visit(addr, leaf)?;
                    set_prot::<G>(cell, entry, prot);
                }
            }
            ControlFlow::Continue(())
        };
        self.for_each_user_stretch(root, range, &mut protect)
    }

    unsafe fn copy_range(
        &self,
        from: Frame,
        to: Frame,
        range: Range<u64>,
        mut visit: impl FnMut(u64, Leaf) -> Prot,
    ) -> Result<Shows, MapError> {
        let mut shows = Shows::AtOnce;
        let mut copy_page = |copy: &Cell<G>, addr, cell: &Cell<G>, entry, leaf| {
            // Nobody else uses these tables: what is vacant now stays so.
            if let Some(frame) = entry::page_frame::<G>(G::Word::load(copy, Ordering::Relaxed)) {
                return Err(MapError::Occupied { addr, frame });
            }
            let entry = set_prot::<G>(cell, entry, visit(addr, leaf));
            // Release: who finds the entry finds the page's contents.
            G::Word::store(copy, entry, Ordering::Release);
            Ok(())
        };
        let mut copy = |start: u64, cells: &[Cell<G>]| {
            // Found for the first page: where there is none, no table is needed.
            let mut copies = None;
            for (addr, cell) in pages(start, cells) {
                // Relaxed, as in `protect_range`.
                let entry = G::Word::load(cell, Ordering::Relaxed);
                let Some(leaf) = leaf::<G>(entry) else { continue };
                let table = match copies {
                    Some(table) => table,
                    None => match self.make_cells(to, addr, true) {
                        Ok((table, new)) => {
                            if new == Shows::AfterFlush {
                                shows = new;
                            }
                            *copies.insert(table)
                        }
                        Err(error) => return ControlFlow::Break(error),
                    },
                };
                let at = (addr / PAGE_SIZE) as usize % table.len();
                if let Err(error) = copy_page(&table[at], addr, cell, entry, leaf) {
                    return ControlFlow::Break(error);
                }
            }
            ControlFlow::Continue(())
        };
        match self.for_each_user_stretch(from, range, &mut copy) {
            ControlFlow::Continue(()) => Ok(shows),
            ControlFlow::Break(error) => Err(error),
        }
    }

    unsafe fn fill_range(
        &self,
        root: Frame,
        range: Range<u64>,
        mut visit: impl FnMut(u64) -> Option<Leaf>,
    ) -> Result<Shows, MapError> {
        let mut fill = |start: u64, cells: &[Cell<G>]| {
            for (addr, cell) in pages(start, cells) {
                if G::Word::load(cell, Ordering::Relaxed) != G::Word::NONE {
                    continue;
                }
                let Some(leaf) = visit(addr) else { continue };
                let Leaf { frame, prot, dirty } = leaf;
                let Some(entry) = entry::page::<G>(frame, prot, true, dirty) else {
                    return ControlFlow::Break(MapError::FrameTooHigh { addr, frame });
                };
                // Release: who finds the entry finds the page's contents.
                G::Word::store(cell, entry, Ordering::Release);
            }
            ControlFlow::Continue(())
        };
        match self.for_each_user_stretch(root, range, &mut fill) {
            // No table was made, and MMUs remember no absent entry of the last level.
            ControlFlow::Continue(()) => Ok(Shows::AtOnce),
            ControlFlow::Break(error) => Err(error),
        }
    }

    unsafe fn unlink_user_tables(
        &self,
        root: Frame,
        ranges: impl Iterator<Item = Range<u64>>,
        mut free: impl FnMut(Frame),
    ) {
        let end = self.geometry.user_end();
        let mut ranges = ranges.filter(|range| range.start < range.end.min(end)).peekable();
        while let Some(range) = ranges.next() {
            // A table that the next range needs as well goes with the last one that needs it, as in Linux's `free_pgtables`.
            let next = ranges.peek().map_or(end, |next| next.start);
            let last = range.end.min(end) - 1;
            self.unlink_range(root, 0, range.start, last, next, &mut free);
        }
    }

    unsafe fn map_kernel(
        &self,
        root: Frame,
        addr: u64,
        frame: Frame,
        prot: Prot,
    ) -> Result<(), MapError> {
        self.geometry
            .kernel_half()
            .range(addr, PAGE_SIZE)
            .map_err(|_| MapError::BadAddress { addr })?;
        // Written as used, so that no MMU has to do it later.
        let entry = entry::page::<G>(frame, prot, false, prot.contains(Prot::WRITE))
            .ok_or(MapError::FrameTooHigh { addr, frame })?;
        let (cell, _) = self.make_cell(root, addr, false)?;
        store_page::<G>(cell, entry, addr)
    }

    unsafe fn unmap_kernel(&self, root: Frame, addr: u64) -> Option<Frame> {
        self.geometry.kernel_half().range(addr, PAGE_SIZE).ok()?;
        let cell = self.find_cell(root, addr)?;
        // Acquire: what was done with the frame before it was mapped is over. Not release: nobody reads of an entry that it is gone and
        // relies on what was before.
        entry::frame(G::Word::swap(cell, G::Word::NONE, Ordering::Acquire))
    }

    unsafe fn unmap_kernel_range<B>(
        &self,
        root: Frame,
        range: KernelRange,
        mut visit: impl FnMut(u64, Frame) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let mut unmap = |start: u64, cells: &[Cell<G>]| {
            pages(start, cells).try_for_each(|(addr, cell)| {
                match take_page::<G>(cell).and_then(entry::frame) {
                    Some(frame) => visit(addr, frame),
                    None => ControlFlow::Continue(()),
                }
            })
        };
        self.for_each_stretch(root, 0, range.start(), range.last(), &mut unmap)
    }
}
