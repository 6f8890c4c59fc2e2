//! The entries of one mm's user half, with exclusive use of them as a value.
//!
//! All calls into the architecture's page tables are here, and with them what the callers would
//! have to promise each time.

use core::convert::Infallible;
use core::ops::{ControlFlow, Range};

use super::UserSpace;
use super::gather::Gather;
use crate::arch::ArchPgd;
use crate::counted_frame::CountedFrame;
use crate::frames::{Frame, PAGE_SIZE};
use crate::kernel::Kernel;
use crate::mm::Mm;
use crate::page_tables::{Leaf, MapError, PageTables, Shows};
use crate::prot::Prot;

/// The pages of the user half of `mm`.
pub(super) struct Pages<'a, K: Kernel> {
    // INVARIANT: the lock of this mm is held by the caller of the method of `UserSpace` in which this
    // value lives, so it has exclusive use of the user half of the live tables at `root`.
    mm: &'a Mm<K>,
    root: Frame,
}

impl<'a, K: Kernel> Pages<'a, K> {
    /// Takes the pages of `space`, which belongs to `mm`.
    ///
    /// # Panics
    ///
    /// When it does not. A user half lies within its mm, so its address tells; and a `&mut` to what
    /// lies there can only come from the lock.
    pub(super) fn new(space: &mut UserSpace<K>, mm: &'a Mm<K>) -> Self {
        let start = core::ptr::from_ref(mm).addr();
        assert!(
            (start..start + size_of::<Mm<K>>()).contains(&core::ptr::from_ref(space).addr()),
            "a user half was used with an mm that is not its own"
        );
        // INVARIANT: checked above.
        Self { mm, root: mm.root() }
    }

    pub(super) fn mm(&self) -> &'a Mm<K> {
        self.mm
    }

    pub(super) fn frames(&self) -> &'static K::Frames {
        self.mm.init_mm().frames()
    }

    fn tables(&self) -> &'static <K::Arch as ArchPgd>::Tables {
        self.mm.init_mm().tables()
    }

    /// What the page at `page` shows.
    pub(super) fn lookup(&self, page: u64) -> Option<Leaf> {
        // SAFETY: the type's invariant.
        unsafe { self.tables().lookup(self.root, page) }
    }

    /// Maps `frame` at `page`, where nothing is mapped. The entry takes over the count.
    pub(super) fn map(
        &mut self,
        page: u64,
        frame: CountedFrame<K::Frames>,
        prot: Prot,
        dirty: bool,
    ) -> Result<(), MapError> {
        let leaf = Leaf { frame: frame.frame(), prot, dirty };
        // SAFETY: the type's invariant.
        let mapped = unsafe { self.tables().map(self.root, page, leaf) };
        // After an error too: a table may have been made that the MMU must learn of.
        if mapped != Ok(Shows::AtOnce) {
            K::flush_tlb(self.mm, page..page + PAGE_SIZE);
        }
        mapped.map(|_: Shows| frame.give_to_entry())
    }

    /// Maps, allowing `prot`, the frames that `frame` answers with at the pages of `range` that
    /// show nothing. The entries take over the counts. Where one does not fit, the rest is left out.
    pub(super) fn fill(
        &mut self,
        range: Range<u64>,
        prot: Prot,
        mut frame: impl FnMut(u64) -> Option<CountedFrame<K::Frames>>,
    ) {
        // The one that was asked for last has an entry once the next one is asked for, or the end has come.
        let mut last: Option<CountedFrame<K::Frames>> = None;
        let visit = |page| {
            if let Some(mapped) = last.take() {
                mapped.give_to_entry();
            }
            last = frame(page);
            last.as_ref().map(|frame| Leaf { frame: frame.frame(), prot, dirty: false })
        };
        // SAFETY: the type's invariant; `frame` cannot reach these tables, which are borrowed.
        let filled = unsafe { self.tables().fill_range(self.root, range.clone(), visit) };
        if let Some(mapped) = last.filter(|_| filled.is_ok()) {
            mapped.give_to_entry();
        }
        // After an error too: a table may have been made that the MMU must learn of.
        if filled != Ok(Shows::AtOnce) {
            K::flush_tlb(self.mm, range);
        }
    }

    /// Puts `new` in the place of what `page` shows, allowing `prot`.
    ///
    /// The page shows nothing in between: if it went from the one frame to the other at once, a CPU
    /// with a stale TLB entry would read the old frame after another has stored in the new one.
    pub(super) fn replace(
        &mut self,
        page: u64,
        new: CountedFrame<K::Frames>,
        prot: Prot,
    ) -> Result<(), MapError> {
        // SAFETY: the type's invariant.
        let Some(old) = (unsafe { self.tables().unmap(self.root, page) }) else {
            return self.map(page, new, prot, true);
        };
        // SAFETY: the entry is gone, and its count is ours.
        let old_frame = unsafe { CountedFrame::from_count(self.frames(), old.frame) };
        K::flush_tlb(self.mm, page..page + PAGE_SIZE);
        let result = self.map(page, new, prot, true);
        if result.is_err() {
            self.map(page, old_frame, old.prot, old.dirty)
                .expect("what was mapped here until now fits here");
        }
        result
    }

    /// Maps the pages of `range` that `from` has here as well, and gives each, in both, the rights that `rights` answers with. Does
    /// not flush for `from`.
    pub(super) fn share_from(
        &mut self,
        from: &mut Pages<'_, K>,
        range: Range<u64>,
        mut rights: impl FnMut(u64, Leaf) -> Prot,
    ) -> Result<(), MapError> {
        let frames = self.frames();
        let visit = |addr, leaf: Leaf| {
            CountedFrame::share(frames, leaf.frame).give_to_entry();
            rights(addr, leaf)
        };
        // SAFETY: the type's invariant, for both; `rights` cannot reach the tables, which are borrowed.
        let copied =
            unsafe { self.tables().copy_range(from.root, self.root, range.clone(), visit) };
        // After an error too: a table may have been made that the MMU must learn of.
        if copied != Ok(Shows::AtOnce) {
            K::flush_tlb(self.mm, range);
        }
        copied.map(|_: Shows| ())
    }

    /// Gives each mapped page of `range` the rights that `rights` answers with. Does not flush.
    pub(super) fn set_rights(
        &mut self,
        range: Range<u64>,
        mut rights: impl FnMut(u64, Leaf) -> Prot,
    ) {
        let visit = |addr, leaf| ControlFlow::<Infallible, _>::Continue(rights(addr, leaf));
        // SAFETY: the type's invariant; `rights` cannot reach these tables, which are borrowed.
        let ControlFlow::Continue(()) =
            unsafe { self.tables().protect_range(self.root, range, visit) };
    }

    /// Unmaps the pages of `range` and gives their frames to `gather`.
    pub(super) fn unmap(&mut self, range: Range<u64>, gather: &mut Gather<'_, K>) {
        let visit = |addr, leaf: Leaf| gather.page(addr, leaf.frame);
        // SAFETY: the type's invariant; the gather frees frames of pages and reaches no table.
        unsafe { self.tables().unmap_range(self.root, range, visit) };
    }

    /// Unlinks all tables below the top level and gives them to `gather`. No page is mapped any more, and each table is there for
    /// the sake of one of `ranges`, which ascend.
    pub(super) fn unlink_tables(
        &mut self,
        ranges: impl Iterator<Item = Range<u64>>,
        gather: &mut Gather<'_, K>,
    ) {
        let free = |table| gather.table(table);
        // SAFETY: the type's invariant; the caller's word for the rest.
        unsafe { self.tables().unlink_user_tables(self.root, ranges, free) };
    }
}
