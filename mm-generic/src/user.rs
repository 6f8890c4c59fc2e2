//! The user half of an mm: its VMAs and the pages they show.
//!
//! A [`UserSpace`] is reached under the mm's lock (`mmap_lock`), and its methods take the mm it belongs
//! to beside it. `mmap`, `munmap`, `mprotect` and `brk` stand here; what happens when a page is touched is in
//! `fault.rs`, fork's copy in `fork.rs`, the kernel's own access to user memory in `access.rs`.
//!
//! Between any two calls,
//!
//! - **covered**: every mapped page lies in a VMA. VMAs are edited first, which may fail and then
//!   changes nothing; zapping the pages cannot fail.
//! - **rights**: a page's entry allows what its VMA allows, save that a page of a private VMA may
//!   lack [`Prot::WRITE`] until the next store to it.
//! - **counted**: an entry owns one count of the frame it shows. A private page that may be written has a
//!   frame with a count of one, so no store is seen elsewhere.
//! - **tables**: a table below the top level maps an address of a VMA, or one that an edit has unmapped since the mm was made.
//! - **flushed**: no TLB holds a right that an entry has lost, and no frame is freed while a TLB may show it
//!   (`gather.rs`).
//!
//! Tables that an unmapped range leaves empty stay until the mm is torn down, and serve what is
//! mapped there next. Linux frees them with the range (`free_pgtables`); a program that walks through a
//! large address space with short-lived mappings keeps 4 KiB for each 2 MiB it has ever used.
//!
//! The lock is held across [`Kernel::flush_tlb`]: a CPU that waits for an mm's lock must be able to
//! answer the flush.

mod access;
mod copy;
mod fault;
mod fork;
mod gather;
mod pages;

use core::ops::Range;

use crate::arch::ArchPgd;
use crate::frames::PAGE_SIZE;
use crate::kernel::Kernel;
use crate::mm::Mm;
use crate::page_tables::PageTables;
use crate::prot::Prot;
use crate::vma::{Pieces, Vma, VmaError, VmaFlags, VmaSet};

pub use fault::{Access, FaultDone, FaultError};
pub use fork::ForkMmError;

use gather::Gather;
use pages::Pages;

/// Lowest user address that can be mapped, in bytes: a null pointer with a field offset faults.
pub const MMAP_MIN_ADDR: u64 = 0x1_0000;

/// Bytes that stay free below a stack (`stack_guard_gap`): 1 MiB.
pub const STACK_GUARD_GAP: u64 = 256 * PAGE_SIZE;

/// Bytes that a stack may grow to (the usual `RLIMIT_STACK`): 8 MiB.
pub const STACK_MAX: u64 = 8 << 20;

/// An mm's user half, to be reached under the mm's lock.
///
/// # Panics
///
/// Every method that takes the mm panics when the user half belongs to another one.
pub struct UserSpace<K: Kernel> {
    vmas: VmaSet<K::Object>,
    /// From the lowest address that was unmapped to the highest: there may be tables that no VMA needs. Empty if nothing was.
    unmapped: Range<u64>,
}

impl<K: Kernel> UserSpace<K> {
    /// Makes an empty user half that ends a page below the boundary. That page stays free: see [`VmaSet::new`].
    pub(crate) fn new(tables: &<K::Arch as ArchPgd>::Tables) -> Self {
        let vmas = VmaSet::new(MMAP_MIN_ADDR..tables.user_end() - PAGE_SIZE);
        Self { vmas, unmapped: 0..0 }
    }

    /// The VMAs, to look up and to place: [`VmaSet::find_gap`] says where a mapping has room.
    #[must_use]
    pub fn vmas(&self) -> &VmaSet<K::Object> {
        &self.vmas
    }

    /// Maps `vma` where nothing is mapped yet (`mmap` with `MAP_FIXED_NOREPLACE`).
    ///
    /// Pages come when they are touched.
    ///
    /// # Errors
    ///
    /// As [`VmaSet::insert`]; nothing has changed then.
    pub fn mmap(&mut self, vma: Vma<K::Object>) -> Result<(), VmaError> {
        self.vmas.insert(vma)
    }

    /// Maps `vma` over whatever is there (`mmap` with `MAP_FIXED`).
    ///
    /// # Errors
    ///
    /// As [`VmaSet::replace`]; nothing has changed then.
    pub fn mmap_fixed(&mut self, mm: &Mm<K>, vma: Vma<K::Object>) -> Result<(), VmaError> {
        let mut pages = Pages::new(self, mm);
        // The tables of what was there are the new VMA's.
        pages.zap(self.vmas.replace(vma)?);
        Ok(())
    }

    /// Unmaps the bytes of `range` (`munmap`). Holes are no error.
    ///
    /// # Errors
    ///
    /// As [`VmaSet::remove`]; nothing has changed then.
    pub fn munmap(&mut self, mm: &Mm<K>, range: Range<u64>) -> Result<(), VmaError> {
        let mut pages = Pages::new(self, mm);
        let pieces = self.vmas.remove(range)?;
        self.note_unmapped(&pieces);
        pages.zap(pieces);
        Ok(())
    }

    /// Moves the end of an anonymous VMA from `old_end` to `new_end`, addresses in bytes (`brk`).
    ///
    /// # Errors
    ///
    /// As [`VmaSet::resize_end`]; nothing has changed then.
    pub fn brk(&mut self, mm: &Mm<K>, old_end: u64, new_end: u64) -> Result<(), VmaError> {
        let mut pages = Pages::new(self, mm);
        let pieces = self.vmas.resize_end(old_end, new_end)?;
        self.note_unmapped(&pieces);
        pages.zap(pieces);
        Ok(())
    }

    /// Gives the bytes of `range` the rights `prot` (`mprotect`).
    ///
    /// # Errors
    ///
    /// As [`VmaSet::protect`]; nothing has changed then.
    pub fn mprotect(&mut self, mm: &Mm<K>, range: Range<u64>, prot: Prot) -> Result<(), VmaError> {
        let mut pages = Pages::new(self, mm);
        let mut gather = Gather::new(mm);
        for piece in self.vmas.protect(range, prot)? {
            let is_shared = piece.flags().contains(VmaFlags::SHARED);
            pages.set_rights(piece.range(), |addr, leaf| {
                // A private page that may not be written now may share its frame.
                let may_write = is_shared || leaf.prot.contains(Prot::WRITE);
                let new = if may_write { prot } else { prot - Prot::WRITE };
                if !new.contains(leaf.prot) {
                    gather.stale(addr);
                }
                new
            });
        }
        Ok(())
    }

    /// Unmaps everything and frees the pages and the tables (`exit_mmap`).
    ///
    /// A CPU may still have the PGD loaded, lazily: it is flushed before any table is freed.
    pub(crate) fn exit_mmap(&mut self, mm: &Mm<K>) {
        let mut pages = Pages::new(self, mm);
        let empty = VmaSet::new(self.vmas.limits());
        let vmas = core::mem::replace(&mut self.vmas, empty);
        let unmapped = core::mem::replace(&mut self.unmapped, 0..0);
        let mut gather = Gather::new(mm);
        for vma in vmas.iter() {
            pages.unmap(vma.range(), &mut gather);
        }
        // A look at every entry of the top level, and of the few tables below it, would be a quarter of a small program's life.
        pages.unlink_tables(with_tables(&vmas, unmapped), &mut gather);
    }

    fn note_unmapped(&mut self, pieces: &Pieces<K::Object>) {
        for piece in pieces.iter() {
            self.unmapped = hull(&self.unmapped, piece.range());
        }
    }
}

/// Where there may be tables, in ascending order: the VMAs, and in the place of those that `unmapped` touches, one range for all.
fn with_tables<B: Clone + PartialEq>(
    vmas: &VmaSet<B>,
    unmapped: Range<u64>,
) -> impl Iterator<Item = Range<u64>> {
    let whole = vmas.iter().map(Vma::range).filter(|vma| overlap(vma, &unmapped));
    let whole = whole.fold(unmapped.clone(), |whole, vma| hull(&whole, vma));
    let (start, end) = (whole.start, whole.end);
    let below = vmas.iter().map(Vma::range).take_while(move |vma| vma.end <= start);
    let above = vmas.iter().map(Vma::range).filter(move |vma| vma.start >= end);
    below.chain([whole]).chain(above)
}

fn overlap(one: &Range<u64>, other: &Range<u64>) -> bool {
    one.start < other.end && other.start < one.end
}

/// The least range that has both in it.
fn hull(one: &Range<u64>, other: Range<u64>) -> Range<u64> {
    if one.is_empty() { other } else { one.start.min(other.start)..one.end.max(other.end) }
}

impl<K: Kernel> Pages<'_, K> {
    /// Unmaps what an edit of the VMAs has taken away, and frees the frames.
    fn zap(&mut self, pieces: Pieces<K::Object>) {
        let mut gather = Gather::new(self.mm());
        for piece in pieces {
            self.unmap(piece.range(), &mut gather);
        }
    }
}
