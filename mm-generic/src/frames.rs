//! Page frames: what the PGD crates ask of a kernel's frame allocator and direct map.

use core::ptr::NonNull;

use kernel_sync::atomic::{AtomicU32, AtomicU64};
use thiserror::Error;

/// Bytes in a page frame.
pub const PAGE_SIZE: u64 = 4096;

/// A 4 KiB page frame, named by its physical address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Frame(u64);

impl Frame {
    /// Names the frame at physical address `phys` (bytes).
    ///
    /// Returns `None` when `phys` is not a multiple of [`PAGE_SIZE`].
    #[must_use]
    pub const fn at(phys: u64) -> Option<Self> {
        if phys.is_multiple_of(PAGE_SIZE) { Some(Self(phys)) } else { None }
    }

    /// Physical address of the first byte.
    #[must_use]
    pub const fn phys(self) -> u64 {
        self.0
    }
}

/// No page frame was free.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("out of page frames: {total} frames exist and none is free")]
pub struct OutOfFrames {
    /// Frames that the allocator manages in all.
    pub total: usize,
}

/// A kernel's page frames: allocation, sharing counts and access through the direct map.
///
/// Every frame has a reference count, as Linux's `struct page` has; it is one after
/// [`Frames::alloc`], and copy-on-write sharing adds to it.
///
/// # Safety
///
/// An implementer promises that
/// * a frame returned by [`Frames::alloc`] is zeroed, is nobody else's, and keeps its contents until its
///   count drops to zero;
/// * [`Frames::table32`], [`Frames::table64`] and [`Frames::bytes`] reach the frame's own memory, at the
///   same place every time.
pub unsafe trait Frames: Send + Sync + Sized + 'static {
    /// Takes a zeroed frame with a count of one.
    ///
    /// # Errors
    ///
    /// [`OutOfFrames`] when none is free.
    fn alloc(&self) -> Result<Frame, OutOfFrames>;

    /// Takes a frame with a count of one that has the bytes of `from`.
    ///
    /// The default copies over the zeros; a kernel that can take a frame as it is saves them.
    ///
    /// # Errors
    ///
    /// [`OutOfFrames`] when none is free.
    ///
    /// # Safety
    ///
    /// `from` has a count, and nobody stores to it meanwhile.
    unsafe fn alloc_copy(&self, from: Frame) -> Result<Frame, OutOfFrames> {
        let copy = self.alloc()?;
        // SAFETY: the new frame is nobody else's; the caller's promise for the other.
        unsafe { *self.bytes(copy).as_mut() = *self.bytes(from).as_ref() };
        Ok(copy)
    }

    /// Adds one to the frame's count (`get_page`).
    fn get(&self, frame: Frame);

    /// Takes one from the frame's count and frees the frame at zero (`put_page`).
    ///
    /// # Safety
    ///
    /// The caller owned one count. At the last one, nothing may reach the frame any more: no table
    /// entry, no TLB, no paging-structure cache, no walker.
    unsafe fn put(&self, frame: Frame);

    /// Tells whether the count is above one. Only a caller who owns a count can rely on the answer `false`.
    fn is_shared(&self, frame: Frame) -> bool;

    /// Views a frame as a table of at most 1024 entries of 32 bits.
    fn table32(&self, frame: Frame) -> &[AtomicU32];

    /// Views a frame as a table of at most 512 entries of 64 bits.
    fn table64(&self, frame: Frame) -> &[AtomicU64];

    /// The frame's 4096 bytes in the direct map.
    fn bytes(&self, frame: Frame) -> NonNull<[u8; PAGE_SIZE as usize]>;
}
