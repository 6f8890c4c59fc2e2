//! What the processors translate through, and how they forget it: what [`Os`] promises to the PGD crates.

use crate::cpu::area::cpu_index;
use crate::cpu::mask::CpuMask;
use crate::cpu::tlb::{self, Flush};
use crate::cpu::{MAX_CPUS, smp};
use crate::layout::PAGE_SIZE;
use crate::mm::page_frames::PageFrames;
use crate::mm::shared_page::SharedPage;
use crate::mm::{frames, page_cache};
use crate::os::{Os, tasks};
use crate::rcu::{self, KernelRcu};
use crate::scheme;
use crate::task::FileObject;
use alloc::sync::Arc;
use core::any::Any;
use core::ops::Range;
use files::Errno;
use mm_generic::announced::{AnnouncedRoot, EntriesChanged};
use mm_generic::counted_frame::CountedFrame;
use mm_generic::frames::{Frame, OutOfFrames};
use mm_generic::kernel::Kernel;
use mm_generic::kernel_range::KernelRange;
use mm_generic::mm::Mm;
use mm_generic::object::{ReadError, SharedPageError};
use x86_64::PhysAddr;
use x86_64::registers::control::{Cr3, Cr3Flags};
use x86_64::structures::paging::PhysFrame;

/// The root that each processor has announced.
static ROOTS: [AnnouncedRoot; MAX_CPUS] = [const { AnnouncedRoot::new() }; MAX_CPUS];

/// Pages beyond which all of a processor's user translations are flushed.
const SINGLE_PAGES: u64 = 32;

// SAFETY: CR3 is what the processor translates through. `flush_tlb` reaches every processor that has
// the mm loaded or is loading it (`ROOTS`), and waits until each has flushed; INVLPG and a load of
// CR3 empty the paging-structure caches too (Intel SDM volume 3, section 4.10.4.1).
unsafe impl Kernel for Os {
    type Arch = scheme::Arch;
    type Frames = PageFrames;
    type Rcu = KernelRcu;
    type Walkers = scheme::Walkers<Self>;
    type Object = FileObject;

    unsafe fn load_pgd(root: Frame) {
        ROOTS[cpu_index()].announce(root);
        let frame = PhysFrame::containing_address(PhysAddr::new(root.phys()));
        // SAFETY: the root of a ready mm or of the reference: it has all of the kernel.
        unsafe { Cr3::write(frame, Cr3Flags::empty()) };
    }

    fn flush_tlb(mm: &Mm<Self>, range: Range<u64>) {
        let cpus = translating(mm);
        if cpus.is_empty() {
            return;
        }
        let pages = (range.end - range.start).div_ceil(PAGE_SIZE);
        let what = if pages <= SINGLE_PAGES {
            Flush::Range { start: range.start, end: range.end }
        } else {
            Flush::NotGlobal
        };
        tlb::shoot_down(cpus, what);
    }

    fn flush_tlb_pages(mm: &Mm<Self>, pages: &[u64]) {
        let cpus = translating(mm);
        if !cpus.is_empty() {
            tlb::shoot_down_pages(cpus, pages);
        }
    }

    fn flush_kernel_tlb(range: KernelRange) {
        #[cfg(feature = "mutants")]
        if scheme::leaves_flush_out() {
            return;
        }
        // A range of few pages goes page by page; INVLPG forgets every paging-structure cache entry of the current PCID, and
        // this kernel has one.
        let end = range.last().saturating_add(1);
        tlb::shoot_down(smp::online(), Flush::Range { start: range.start(), end });
    }

    fn kept_page(object: &FileObject, offset: u64, len: usize) -> Option<CountedFrame<PageFrames>> {
        page_cache::page(archive_bytes(object, offset, len)?)
    }

    fn peek_kept_page(
        object: &FileObject,
        offset: u64,
        len: usize,
    ) -> Option<CountedFrame<PageFrames>> {
        page_cache::peek(archive_bytes(object, offset, len)?)
    }

    const HAS_SHARED_PAGES: bool = true;

    fn shared_page(
        object: &FileObject,
        offset: u64,
    ) -> Result<CountedFrame<PageFrames>, SharedPageError> {
        let page = object
            .inode
            .shared_page(offset / PAGE_SIZE, |bytes| Ok(Arc::new(SharedPage::new(bytes)?)));
        let page = page.map_err(|errno| match errno {
            Errno::NOMEM => SharedPageError::OutOfFrames(OutOfFrames { total: frames::total() }),
            // Behind the end, or no room for it in the file system: a bus error, as in Linux.
            _ => SharedPageError::Read(ReadError { offset }),
        })?;
        let page: &dyn Any = &*page;
        let page = page.downcast_ref::<SharedPage>();
        page.map(SharedPage::frame).ok_or(SharedPageError::Read(ReadError { offset }))
    }
}

/// Returns at most `len` bytes of `object` from `offset` on, if it is still as it was in the archive and there are any.
fn archive_bytes(object: &FileObject, offset: u64, len: usize) -> Option<&'static [u8]> {
    let bytes = object.inode.archive_bytes()?;
    let start = usize::try_from(offset).ok()?;
    // What begins behind the end is an error, which a read tells.
    let bytes = bytes.get(start..).filter(|bytes| !bytes.is_empty())?;
    Some(&bytes[..len.min(bytes.len())])
}

/// Returns the processors that may have translations of `mm` cached from before its entries were changed.
fn translating(mm: &Mm<Os>) -> CpuMask {
    let changed = EntriesChanged::before_looks();
    let root = mm.root();
    let rcu = rcu::read_lock();
    let tasks = tasks();
    let may_have = |&cpu: &usize| {
        ROOTS[cpu].may_translate(root, &changed, || {
            let loaded = tasks.loaded(cpu).and_then(|loaded| loaded.get(&rcu));
            loaded.is_some_and(|loaded| core::ptr::eq(loaded, mm))
        })
    };
    let bits = smp::online().into_iter().filter(may_have).map(|cpu| CpuMask::one(cpu).bits());
    CpuMask::from_bits(bits.fold(0, |all, one| all | one))
}
