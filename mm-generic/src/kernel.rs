//! The kernel that consumes these crates, as one type.

use core::ops::Range;

use kernel_sync::{ArcCache, Rcu};

use crate::arch::ArchPgd;
use crate::counted_frame::CountedFrame;
use crate::frames::{Frame, Frames, PAGE_SIZE};
use crate::kernel_range::KernelRange;
use crate::mm::Mm;
use crate::object::{Object, ReadError, SharedPageError};
use crate::walk::Walkers;

/// Read-side guard of the kernel's RCU.
pub type RcuGuard<K> = <<K as Kernel>::Rcu as Rcu>::Guard;

/// A PGD of the kernel's architecture.
pub type Pgd<K> = <<K as Kernel>::Arch as ArchPgd>::Pgd;

/// Per-CPU caches of memory for mms.
pub type MmCache<K> = ArcCache<Mm<K>>;

/// Ties a kernel's architecture, frames, RCU, task structures and files together.
///
/// # Safety
///
/// An implementer promises what [`Kernel::load_pgd`], [`Kernel::flush_tlb`] and [`Kernel::flush_kernel_tlb`] say: frames are
/// freed on the strength of it.
pub unsafe trait Kernel: Sized + Send + Sync + 'static {
    /// The architecture's PGDs.
    type Arch: ArchPgd;
    /// The page frames.
    type Frames: Frames;
    /// Read-copy update.
    type Rcu: Rcu;
    /// How walkers find every mm.
    type Walkers: Walkers<Self>;
    /// What a file-backed VMA shows.
    type Object: Object;

    /// Makes this CPU translate through `root` from now on (x86: writes CR3).
    ///
    /// # Safety
    ///
    /// `root` is the root of a ready mm or of the reference PGD; preemption is off.
    unsafe fn load_pgd(root: Frame);

    /// Removes every cached translation of `mm`'s `range` (user addresses in bytes), and paging-structure caches with them,
    /// from each CPU that has `mm` loaded, lazily or not. Returns when all have done so.
    ///
    /// [`crate::loaded::LoadedMm`] is not enough to find those CPUs: it is written after CR3, for the sake of walks, and a CPU
    /// caches translations as soon as CR3 is written. A kernel announces the root in [`Kernel::load_pgd`], before CR3, and flushes
    /// by that: [`crate::announced::AnnouncedRoot`].
    fn flush_tlb(mm: &Mm<Self>, range: Range<u64>);

    /// Removes every cached translation of the `pages` of `mm` (user addresses in bytes), at least one of them, as
    /// [`Kernel::flush_tlb`] does for a range.
    ///
    /// A kernel that can flush a single page overrides this: the pages may be far apart.
    fn flush_tlb_pages(mm: &Mm<Self>, pages: &[u64]) {
        let (start, last) = pages
            .iter()
            .fold((u64::MAX, 0), |(least, greatest), &page| (least.min(page), greatest.max(page)));
        Self::flush_tlb(mm, start..last + PAGE_SIZE);
    }

    /// Removes every cached translation of the kernel's `range`, global ones included, and every paging-structure cache
    /// entry for it, top level included, from every CPU. Returns when all have done so.
    ///
    /// x86: `invlpg` for one page of the range flushes paging-structure caches of the current PCID only and says nothing of
    /// other pages below the same top-level entry; a reload of CR3 leaves global pages. So a CPU toggles `CR4.PGE` or uses
    /// `invpcid` of type 2 (SDM volume 3, 4.10.4.1). A CPU in PAE mode reloads CR3 as well, which reads its four top-level entries anew.
    ///
    /// Called inside a read-side section, without any lock: it must not wait for a grace period.
    fn flush_kernel_tlb(range: KernelRange);

    /// Returns a frame that the kernel keeps (its page cache): `len` bytes of `object` from `offset`, and zeros behind them.
    ///
    /// Private pages that are not stored to show such a frame, all of them the same one, and the first store copies
    /// it. So nobody stores to it as long as the kernel has its count: a kernel whose files change keeps another
    /// frame for the new bytes. `None`, which is the default, costs a frame and a copy for each mm.
    fn kept_page(
        _object: &Self::Object,
        _offset: u64,
        _len: usize,
    ) -> Option<CountedFrame<Self::Frames>> {
        None
    }

    /// Returns the frame that [`Kernel::kept_page`] would, if the kernel has it already: nothing is made, read or waited for.
    ///
    /// Asked for the pages around one that a program has just loaded from, which it is likely to need next. `None`, which is the
    /// default, leaves each page to a fault of its own.
    fn peek_kept_page(
        _object: &Self::Object,
        _offset: u64,
        _len: usize,
    ) -> Option<CountedFrame<Self::Frames>> {
        None
    }

    /// Whether pages of a shared VMA are the object's own: [`Kernel::shared_page`] has them. If not, which is the default,
    /// those who share a VMA by fork see each other's stores, and the object sees none.
    const HAS_SHARED_PAGES: bool = false;

    /// Returns the frame in which `object` has its page at `offset` (a multiple of the page size), for a VMA that is shared.
    ///
    /// Entries show that frame with the VMA's rights, so programs store to it at any time: whoever else reads or writes it
    /// does so as one does beside other processors. The frame is the object's as long as the object has the page.
    ///
    /// # Errors
    ///
    /// [`SharedPageError`]: a bus error for the program, or a fault that can be tried again.
    fn shared_page(
        _object: &Self::Object,
        offset: u64,
    ) -> Result<CountedFrame<Self::Frames>, SharedPageError> {
        Err(SharedPageError::Read(ReadError { offset }))
    }
}
