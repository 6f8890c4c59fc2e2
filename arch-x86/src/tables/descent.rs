//! Ways down the tables: to one entry, with and without making tables, and to the last-level entries of a range.

use core::ops::ControlFlow;

use kernel_sync::atomic::Ordering;
use mm_generic::frames::{Frame, Frames, PAGE_SIZE};
use mm_generic::page_tables::{Leaf, MapError, Shows};
use mm_generic::prot::Prot;
use mm_generic::word::Word;

use super::Tables;
use crate::entry::{self, Target};
use crate::geometry::Geometry;

/// The cell of one entry.
pub(super) type Cell<G> = <<G as Geometry>::Word as Word>::Atomic;

impl<G: Geometry, F: Frames> Tables<G, F> {
    /// Finds the page that `addr` lies in, with the rights of all levels together.
    pub(super) fn find(&self, root: Frame, addr: u64, user: bool) -> Option<Leaf> {
        let mut prot = Prot::all();
        let mut table = root;
        for (depth, level) in self.geometry.levels().iter().enumerate() {
            let entry = G::Word::load(&self.entries(table)[level.index(addr)], Ordering::Acquire);
            if !entry::is_pdpte(&self.geometry, depth) {
                prot &= entry::prot::<G>(entry, user);
            }
            match entry::target(&self.geometry, depth, entry) {
                Target::Nothing => return None,
                Target::Table(next) => table = next,
                Target::Page(first) => {
                    let within = addr % level.span();
                    let frame = Frame::at(first.phys() + (within - within % PAGE_SIZE))?;
                    return Some(Leaf { frame, prot, dirty: entry::is_dirty(entry) });
                }
            }
        }
        None
    }

    /// Finds the last-level entry for `addr`, unless a table on the way is absent or a large page lies there.
    pub(super) fn find_cell(&self, root: Frame, addr: u64) -> Option<&Cell<G>> {
        let (last, upper) = self.geometry.levels().split_last()?;
        let mut table = root;
        for (depth, level) in upper.iter().enumerate() {
            let entry = G::Word::load(&self.entries(table)[level.index(addr)], Ordering::Acquire);
            let Target::Table(next) = entry::target(&self.geometry, depth, entry) else {
                return None;
            };
            table = next;
        }
        Some(&self.entries(table)[last.index(addr)])
    }

    /// Finds the last-level entry for `addr`, and makes the tables that lack on the way.
    ///
    /// In the kernel half, slots are filled by growth alone; an empty one is a bad address.
    pub(super) fn make_cell(
        &self,
        root: Frame,
        addr: u64,
        user: bool,
    ) -> Result<(&Cell<G>, Shows), MapError> {
        let last = self.geometry.levels().last().ok_or(MapError::BadAddress { addr })?;
        let (cells, shows) = self.make_cells(root, addr, user)?;
        Ok((&cells[last.index(addr)], shows))
    }

    /// Finds the last-level table for `addr`, as [`Tables::make_cell`] does.
    pub(super) fn make_cells(
        &self,
        root: Frame,
        addr: u64,
        user: bool,
    ) -> Result<(&[Cell<G>], Shows), MapError> {
        let (_, upper) =
            self.geometry.levels().split_last().ok_or(MapError::BadAddress { addr })?;
        let mut shows = Shows::AtOnce;
        let mut table = root;
        for (depth, level) in upper.iter().enumerate() {
            let cell = &self.entries(table)[level.index(addr)];
            let entry = G::Word::load(cell, Ordering::Acquire);
            table = match entry::target(&self.geometry, depth, entry) {
                Target::Table(next) => next,
                Target::Page(frame) => return Err(MapError::Occupied { addr, frame }),
                Target::Nothing if !user && depth <= G::SLOT_DEPTH => {
                    return Err(MapError::BadAddress { addr });
                }
                Target::Nothing => {
                    if entry::is_pdpte(&self.geometry, depth) {
                        shows = Shows::AfterFlush;
                    }
                    self.make_table(cell, depth, addr, user)?
                }
            };
        }
        Ok((self.entries(table), shows))
    }

    /// Puts a new table behind the empty entry `cell` of a table of level `depth`, or finds the one
    /// that another CPU has put there meanwhile.
    fn make_table(
        &self,
        cell: &Cell<G>,
        depth: usize,
        addr: u64,
        user: bool,
    ) -> Result<Frame, MapError> {
        let frame = self.frames.alloc().map_err(|source| MapError::OutOfFrames { addr, source })?;
        let result = match entry::table(&self.geometry, depth, frame, user) {
            None => Err(MapError::FrameTooHigh { addr, frame }),
            // Release: the table is seen zeroed. Acquire: so is the one found instead.
            Some(entry) => match G::Word::compare_exchange(
                cell,
                G::Word::NONE,
                entry,
                Ordering::Release,
                Ordering::Acquire,
            ) {
                Ok(_) => return Ok(frame),
                Err(found) => match entry::target(&self.geometry, depth, found) {
                    Target::Table(found) => Ok(found),
                    Target::Page(frame) => Err(MapError::Occupied { addr, frame }),
                    Target::Nothing => Err(MapError::BadAddress { addr }),
                },
            },
        };
        // SAFETY: allocated above, and not stored in any table.
        unsafe { self.frames.put(frame) };
        result
    }

    /// Visits the last-level entries from `first` to `last`, both included, in ascending order, present or not, where there are
    /// tables for them: those of one table at once, with the address of the first of them.
    ///
    /// `table` is a table of level `depth`, and the range lies within what it maps.
    pub(super) fn for_each_stretch<B>(
        &self,
        table: Frame,
        depth: usize,
        first: u64,
        last: u64,
        visit: &mut impl FnMut(u64, &[Cell<G>]) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let levels = self.geometry.levels();
        let level = levels[depth];
        let entries = self.entries(table);
        if depth + 1 == levels.len() {
            let page = first - first % PAGE_SIZE;
            return visit(page, &entries[level.index(first)..=level.index(last)]);
        }
        let mut addr = first;
        loop {
            // The last address of the address space has no next one.
            let end = (addr | (level.span() - 1)).min(last);
            let entry = G::Word::load(&entries[level.index(addr)], Ordering::Acquire);
            if let Target::Table(next) = entry::target(&self.geometry, depth, entry) {
                self.for_each_stretch(next, depth + 1, addr, end, visit)?;
            }
            if end == last {
                return ControlFlow::Continue(());
            }
            addr = end + 1;
        }
    }

    /// Unlinks the tables that map an address from `first` to `last`, both included, and none from `next` on, and hands each to
    /// `free` once everything below it is gone.
    ///
    /// `table` is a table of level `depth`, not the last one, and the range lies within what it maps. What its tables map below
    /// `first` is gone already.
    pub(super) fn unlink_range(
        &self,
        table: Frame,
        depth: usize,
        first: u64,
        last: u64,
        next: u64,
        free: &mut impl FnMut(Frame),
    ) {
        let levels = self.geometry.levels();
        let level = levels[depth];
        let entries = self.entries(table);
        let mut addr = first;
        loop {
            let mapped_to = addr | (level.span() - 1);
            let end = mapped_to.min(last);
            let cell = &entries[level.index(addr)];
            // Relaxed: the caller has the user half to himself.
            let entry = G::Word::load(cell, Ordering::Relaxed);
            if let Target::Table(child) = entry::target(&self.geometry, depth, entry) {
                if depth + 2 < levels.len() {
                    self.unlink_range(child, depth + 1, addr, end, next, free);
                }
                if mapped_to < next {
                    // Relaxed: a walk that finds the entry gone has found nothing, and one that went through it before is over when the
                    // caller has flushed.
                    G::Word::swap(cell, G::Word::NONE, Ordering::Relaxed);
                    free(child);
                }
            }
            if end == last {
                return;
            }
            addr = end + 1;
        }
    }

    /// Frees the tables behind the entries of `table`, a table of level `depth`. The entries stay: the table goes next.
    ///
    /// # Safety
    ///
    /// Nothing leads to `table` any more, and what was stored in it, and in what is below, happened before.
    pub(crate) unsafe fn free_below(&self, table: Frame, depth: usize) {
        let levels = self.geometry.levels();
        if depth + 1 >= levels.len() {
            return;
        }
        for cell in &self.entries(table)[..levels[depth].entries()] {
            // Relaxed: the caller's promise.
            let entry = G::Word::load(cell, Ordering::Relaxed);
            if let Target::Table(child) = entry::target(&self.geometry, depth, entry) {
                // SAFETY: nothing leads to what is below an unreachable table, and the caller's promise for the rest.
                unsafe {
                    self.free_below(child, depth + 1);
                    self.frames.put(child);
                }
            }
        }
    }
}
