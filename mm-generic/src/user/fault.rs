//! Demand paging: what a page shows is found when it is first touched, and copied when it is first stored to.

use kernel_sync::OutOfHeap;
use thiserror::Error;

use super::pages::Pages;
use super::{STACK_GUARD_GAP, STACK_MAX, UserSpace};
use crate::counted_frame::CountedFrame;
use crate::frames::{Frames, OutOfFrames, PAGE_SIZE};
use crate::kernel::Kernel;
use crate::mm::Mm;
use crate::object::{Object, ReadError, SharedPageError};
use crate::page_tables::{Leaf, MapError};
use crate::prot::Prot;
use crate::vma::{Vma, VmaError, VmaFlags};

/// What a program, or the kernel on its behalf, did at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// A load.
    Read,
    /// A store.
    Write,
    /// An instruction fetch. Only an MMU with a no-execute bit tells it from a load.
    Exec,
}

impl Access {
    /// Tells whether rights allow the access. Whatever may be stored to or executed can also be read.
    fn is_allowed(self, prot: Prot) -> bool {
        match self {
            Self::Read => !prot.is_empty(),
            Self::Write => prot.contains(Prot::WRITE),
            Self::Exec => prot.contains(Prot::EXEC),
        }
    }
}

/// Bytes around a page, aligned to their number, that are mapped with it if they cost nothing (Linux's `fault_around_bytes`).
const AROUND: u64 = 16 * PAGE_SIZE;

/// How a fault was resolved. The program repeats the access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultDone {
    /// Nothing was mapped; now a page is.
    PagedIn,
    /// The page's frame was shared with another mm; now the page has a copy of its own.
    Copied,
    /// The page's frame was shared once and is no longer; it may be written again.
    Reused,
    /// The page allowed the access: another thread's fault came first, or a TLB entry was old.
    Spurious,
}

/// A fault that cannot be resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FaultError {
    /// No VMA covers the address, and no stack may grow to it (`SIGSEGV`).
    #[error("nothing is mapped at {addr:#x}")]
    NotMapped {
        /// The address.
        addr: u64,
    },
    /// The VMA does not allow the access (`SIGSEGV`).
    #[error("{access:?} at {addr:#x}, where {prot:?} is allowed")]
    Denied {
        /// The address.
        addr: u64,
        /// What was tried.
        access: Access,
        /// What is allowed.
        prot: Prot,
    },
    /// The stack above the address may not grow so far (`SIGSEGV`).
    #[error("a stack that grows to {addr:#x} has {len:#x} bytes of at most {max_len:#x}")]
    StackLimit {
        /// The address.
        addr: u64,
        /// Bytes the stack would have.
        len: u64,
        /// Bytes it may have.
        max_len: u64,
    },
    /// The stack above the address would come too close to the VMA below it (`SIGSEGV`).
    #[error("a stack that grows to {addr:#x} comes too close to the VMA that ends at {below:#x}")]
    StackGuard {
        /// The address.
        addr: u64,
        /// Where the VMA below ends.
        below: u64,
    },
    /// The object's bytes cannot be had (`SIGBUS`).
    #[error("page at {addr:#x}: {source}")]
    Object {
        /// The page.
        addr: u64,
        /// What the object said.
        source: ReadError,
    },
    /// No frame for the page. The fault can be tried again when memory has been freed.
    #[error("page at {addr:#x}: {source}")]
    OutOfFrames {
        /// The page.
        addr: u64,
        /// What the allocator said.
        source: OutOfFrames,
    },
    /// No heap for the VMA of a stack that grows. The fault can be tried again when memory has been freed.
    #[error("stack at {addr:#x}: {source}")]
    OutOfHeap {
        /// The address.
        addr: u64,
        /// How much was asked for.
        source: OutOfHeap,
    },
    /// The page tables do not take the page: no frame for a table, or a frame out of reach.
    #[error(transparent)]
    Map(#[from] MapError),
}

impl<K: Kernel> UserSpace<K> {
    /// Resolves a page fault of `access` at `addr`.
    ///
    /// # Errors
    ///
    /// [`FaultError`]; what is mapped has not changed. A stack may have grown: its VMA, no page.
    ///
    /// # Panics
    ///
    /// When this is not the user half of `mm`.
    pub fn fault(
        &mut self,
        mm: &Mm<K>,
        addr: u64,
        access: Access,
    ) -> Result<FaultDone, FaultError> {
        let mut pages = Pages::new(self, mm);
        let vma = self.vma_for(addr)?;
        let prot = vma.prot();
        if !access.is_allowed(prot) {
            return Err(FaultError::Denied { addr, access, prot });
        }
        let page = addr - addr % PAGE_SIZE;
        match pages.lookup(page) {
            None => {
                page_in(&mut pages, vma, page, access == Access::Write)?;
                Ok(FaultDone::PagedIn)
            }
            Some(leaf) if access.is_allowed(leaf.prot) => Ok(FaultDone::Spurious),
            // The right that an entry may lack although its VMA has it is that to store.
            Some(leaf) => unshare(&mut pages, page, leaf, prot),
        }
    }

    /// The VMA that covers `addr`, a stack that has grown to it included.
    fn vma_for(&mut self, addr: u64) -> Result<&Vma<K::Object>, FaultError> {
        self.vmas.grow_down(addr, STACK_GUARD_GAP, STACK_MAX).map_err(|error| match error {
            VmaError::StackLimit { len, max_len } => FaultError::StackLimit { addr, len, max_len },
            VmaError::GuardGap { below, .. } => FaultError::StackGuard { addr, below },
            VmaError::OutOfHeap(source) => FaultError::OutOfHeap { addr, source },
            _ => FaultError::NotMapped { addr },
        })
    }
}

/// Maps a frame at `page`, where nothing is mapped: one that the kernel keeps of the object, if the page is private
/// and not stored to, or the object's own, if the page is shared; else a new one, filled with what `vma` shows there. `dirty` says that a store comes.
pub(super) fn page_in<K: Kernel>(
    pages: &mut Pages<'_, K>,
    vma: &Vma<K::Object>,
    page: u64,
    dirty: bool,
) -> Result<(), FaultError> {
    let source = vma.page_source(page).map(|(object, bytes)| {
        let len = (bytes.end - bytes.start) as usize;
        (object, bytes.start, len)
    });
    if let Some((object, offset, len)) = source
        && !dirty
        && !vma.flags().contains(VmaFlags::SHARED)
        && let Some(kept) = K::kept_page(object, offset, len)
    {
        // The first store copies it, as after a fork.
        pages.map(page, kept, vma.prot() - Prot::WRITE, false)?;
        map_around(pages, vma, page);
        return Ok(());
    }
    if K::HAS_SHARED_PAGES
        && vma.flags().contains(VmaFlags::SHARED)
        && let Some((object, offset, _)) = source
    {
        let frame = K::shared_page(object, offset).map_err(|error| match error {
            SharedPageError::Read(source) => FaultError::Object { addr: page, source },
            SharedPageError::OutOfFrames(source) => FaultError::OutOfFrames { addr: page, source },
        })?;
        return Ok(pages.map(page, frame, vma.prot(), dirty)?);
    }
    let mut frame = alloc(pages, page)?;
    if let Some((object, offset, len)) = source {
        object
            .read(offset, len, frame.bytes().expect(NEW))
            .map_err(|source| FaultError::Object { addr: page, source })?;
    }
    // With the right to store, though this may be a load: the frame is nobody else's yet.
    Ok(pages.map(page, frame, vma.prot(), dirty)?)
}

/// Maps the pages around `page`, of a private VMA, whose frames the kernel has anyway: a program that has come to a page of its
/// text comes to the next ones soon, and each would cost a fault (Linux's `filemap_map_pages`).
fn map_around<K: Kernel>(pages: &mut Pages<'_, K>, vma: &Vma<K::Object>, page: u64) {
    let start = page & !(AROUND - 1);
    let around = start.max(vma.start())..start.saturating_add(AROUND).min(vma.end());
    pages.fill(around, vma.prot() - Prot::WRITE, |page| {
        let (object, bytes) = vma.page_source(page)?;
        K::peek_kept_page(object, bytes.start, (bytes.end - bytes.start) as usize)
    });
}

/// Makes `page` of a private VMA writable: in place if its frame is no longer shared, else as a copy (COW).
fn unshare<K: Kernel>(
    pages: &mut Pages<'_, K>,
    page: u64,
    leaf: Leaf,
    prot: Prot,
) -> Result<FaultDone, FaultError> {
    let frames = pages.frames();
    // The entry owns a count, so `false` stays true: nobody else could add one.
    if !frames.is_shared(leaf.frame) {
        // No flush: rights are only added, and an old TLB entry makes one more fault.
        pages.set_rights(page..page + PAGE_SIZE, |_, _| prot);
        return Ok(FaultDone::Reused);
    }
    // SAFETY: the entry keeps a count. Nobody stores to the frame: each entry that shows a shared frame of a private page
    // denies it, and TLBs were flushed when it began to.
    let copy = unsafe { CountedFrame::alloc_copy(frames, leaf.frame) }
        .map_err(|source| FaultError::OutOfFrames { addr: page, source })?;
    pages.replace(page, copy, prot)?;
    Ok(FaultDone::Copied)
}

/// Why [`alloc`]'s frames show their bytes.
const NEW: &str = "a new frame is not shared";

fn alloc<K: Kernel>(
    pages: &Pages<'_, K>,
    page: u64,
) -> Result<CountedFrame<K::Frames>, FaultError> {
    CountedFrame::alloc(pages.frames())
        .map_err(|source| FaultError::OutOfFrames { addr: page, source })
}
