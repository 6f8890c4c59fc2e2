//! Slots of the reference whose entries change or go: a large page split, a table collapsed, moved or taken out.
//!
//! What the new entry maps is what the old one mapped, page by page. Accessed and dirty bits that an MMU sets in the old
//! table after it was read are lost; nobody asks for those of the kernel half.

use kernel_sync::OutOfHeap;
use kernel_sync::atomic::Ordering;
use mm_generic::frames::{Frame, Frames, PAGE_SIZE};
use mm_generic::kernel_range::KernelRange;
use mm_generic::kernel_slots::KernelSlots;
use mm_generic::replacement::{ReplaceError, Replacement};
use mm_generic::retired::{Behind, Retired};
use mm_generic::word::Word;

use crate::entry::{self, Target};
use crate::geometry::Geometry;
use crate::slots::Slots;

/// A frame for a table that is not in the reference yet. Freed unless it is taken.
struct NewTable<F: Frames> {
    frames: &'static F,
    frame: Option<Frame>,
}

impl<F: Frames> NewTable<F> {
    fn take(&mut self) -> Frame {
        self.frame.take().expect("taken once, when it is stored")
    }
}

impl<F: Frames> Drop for NewTable<F> {
    fn drop(&mut self) {
        if let Some(frame) = self.frame {
            // SAFETY: allocated for this, and not stored in any table.
            unsafe { self.frames.put(frame) };
        }
    }
}

impl<G: Geometry, F: Frames> KernelSlots for Slots<G, F> {
    fn whole(&self, range: KernelRange) -> KernelRange {
        let geometry = self.tables().geometry();
        let slots = self.range(range);
        let len = slots.len() as u64 * geometry.slot_span();
        geometry
            .kernel_half()
            .range(self.addr(slots.start), len)
            .expect("slots are in the kernel half")
    }

    fn first_large(&self, range: KernelRange) -> Option<u64> {
        let geometry = self.tables().geometry();
        let slot = self.range(range).find(|&slot| {
            let entry = self.reference().entry(slot);
            matches!(entry::target(geometry, G::SLOT_DEPTH, entry), Target::Page(_))
        })?;
        Some(self.addr(slot).max(range.start()))
    }

    unsafe fn replace(&self, addr: u64, how: Replacement) -> Result<Retired, ReplaceError> {
        let tables = self.tables();
        let range = tables.geometry().kernel_half().range(addr - addr % PAGE_SIZE, PAGE_SIZE);
        let slot = self.range(range.map_err(|_| ReplaceError::BadAddress { addr })?).start;
        if how != Replacement::Move && !tables.geometry().slots_hold_large_pages() {
            return Err(ReplaceError::NoLargePages { slot });
        }
        let mut retired = Retired::with_capacity(1, Behind::Table)?;
        let mut new = NewTable { frames: tables.frames(), frame: None };
        if how != Replacement::Collapse {
            new.frame = Some(tables.frames().alloc()?);
        }
        let change = |old: G::Word| {
            let target = entry::target(tables.geometry(), G::SLOT_DEPTH, old);
            match (how, target) {
                (Replacement::Split, Target::Page(first)) => self.split(old, first, &mut new),
                (Replacement::Collapse, Target::Table(table)) => self.collapse(slot, table),
                (Replacement::Move, Target::Table(table)) => self.move_table(table, &mut new),
                _ => Err(ReplaceError::WrongKind { slot, entry: old.to_u64(), how }),
            }
        };
        // Below a large page there is nothing that others could be mapping.
        let sole = how != Replacement::Split;
        // SAFETY: the caller's promise; the new entry maps what the old one does.
        let old = unsafe { self.reference().replace(slot, sole, change)? };
        retired.push(slot, old.to_u64());
        Ok(retired)
    }

    fn reserve_retired(&self, range: KernelRange) -> Result<Retired, OutOfHeap> {
        Retired::with_capacity(self.range(range).len(), Behind::Subtree)
    }

    unsafe fn retire(&self, range: KernelRange, retired: &mut Retired) {
        let push = |slot, entry: G::Word| retired.push(slot, entry.to_u64());
        // SAFETY: the caller's promise is the same.
        unsafe { self.reference().retire(self.range(range), push) };
    }

    unsafe fn free_retired(&self, retired: Retired) {
        let tables = self.tables();
        for &(_, entry) in retired.entries() {
            let entry = G::Word::from_u64(entry).expect("it came from an entry");
            if let Target::Table(table) = entry::target(tables.geometry(), G::SLOT_DEPTH, entry) {
                if retired.behind() == Behind::Subtree {
                    // SAFETY: the caller's promise: nothing leads to the table any more, and a grace period has passed.
                    unsafe { tables.free_below(table, G::SLOT_DEPTH + 1) };
                }
                // SAFETY: the caller's promise: nothing leads to the table any more.
                unsafe { tables.frames().put(table) };
            }
        }
    }
}

impl<G: Geometry, F: Frames> Slots<G, F> {
    /// Fills a new table with the pages of a large one.
    fn split(
        &self,
        old: G::Word,
        first: Frame,
        new: &mut NewTable<F>,
    ) -> Result<G::Word, ReplaceError> {
        let (prot, dirty) = (entry::prot::<G>(old, false), entry::is_dirty(old));
        self.fill(new, |index| {
            let frame = Frame::at(first.phys() + index as u64 * PAGE_SIZE).expect("a page further");
            entry::page::<G>(frame, prot, false, dirty).expect("it fits, as the large page's did")
        })
    }

    /// Fills a new table with what another one holds.
    fn move_table(&self, old: Frame, new: &mut NewTable<F>) -> Result<G::Word, ReplaceError> {
        let from = G::Word::table(self.tables().frames(), old);
        // Relaxed: the sole owner's range is borrowed exclusively, so whoever mapped here has handed it on since.
        self.fill(new, |index| G::Word::load(&from[index], Ordering::Relaxed))
    }

    /// Fills a new table, and makes its entry.
    fn fill(
        &self,
        new: &mut NewTable<F>,
        entry: impl Fn(usize) -> G::Word,
    ) -> Result<G::Word, ReplaceError> {
        let tables = self.tables();
        let frame = new.frame.expect("allocated before the updaters' lock was taken");
        let of_slot = entry::table(tables.geometry(), G::SLOT_DEPTH, frame, false)
            .ok_or(ReplaceError::FrameTooHigh { frame })?;
        let entries = tables.geometry().levels()[G::SLOT_DEPTH + 1].entries();
        for (index, cell) in G::Word::table(tables.frames(), frame)[..entries].iter().enumerate() {
            // Relaxed: the store of the table's own entry releases these.
            G::Word::store(cell, entry(index), Ordering::Relaxed);
        }
        new.take();
        Ok(of_slot)
    }

    /// Makes the entry of the large page that shows what `table` shows.
    fn collapse(&self, slot: usize, table: Frame) -> Result<G::Word, ReplaceError> {
        let geometry = self.tables().geometry();
        let entries = geometry.levels()[G::SLOT_DEPTH + 1].entries();
        let not_uniform = |index: usize| ReplaceError::NotUniform {
            slot,
            addr: self.addr(slot) + index as u64 * PAGE_SIZE,
        };
        let page = |cell| {
            // Relaxed, as in `move_table`.
            let entry = G::Word::load(cell, Ordering::Relaxed);
            let frame = entry::frame(entry)?;
            Some((frame.phys(), entry::prot::<G>(entry, false), entry::is_dirty(entry)))
        };
        let cells = &G::Word::table(self.tables().frames(), table)[..entries];
        let (first, prot, _) = page(&cells[0])
            .filter(|(first, ..)| first.is_multiple_of(geometry.slot_span()))
            .ok_or(not_uniform(0))?;
        let mut dirty = false;
        for (index, cell) in cells.iter().enumerate() {
            let (frame, rights, is_dirty) = page(cell).ok_or(not_uniform(index))?;
            if frame != first + index as u64 * PAGE_SIZE || rights != prot {
                return Err(not_uniform(index));
            }
            dirty |= is_dirty;
        }
        let frame = Frame::at(first).expect("the first page's");
        entry::large_page::<G>(frame, prot, dirty).ok_or(ReplaceError::FrameTooHigh { frame })
    }
}
