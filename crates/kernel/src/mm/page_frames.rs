//! The frame allocator as the PGD crates ask for it.

use super::frames;
use crate::layout::{PAGE_SIZE, phys_to_virt};
use core::ptr::NonNull;
use kernel_sync::atomic::{AtomicU32, AtomicU64};
use mm_generic::frames::{Frame, Frames, OutOfFrames};

/// The frames of [`frames`], behind the trait of mm-generic.
#[derive(Debug)]
pub struct PageFrames;

/// The one value that [`mm_generic::init_mm::InitMm`] borrows.
pub static PAGE_FRAMES: PageFrames = PageFrames;

/// Returns the allocator's name for a frame of the crates.
#[must_use]
pub fn own(frame: Frame) -> frames::Frame {
    frames::Frame::at(frame.phys())
}

/// Returns the crates' name for a frame of the allocator.
///
/// # Panics
///
/// Never: the addresses of frames are multiples of the page size.
#[must_use]
pub fn theirs(frame: frames::Frame) -> Frame {
    Frame::at(frame.address()).expect("a frame's address is a multiple of the page size")
}

fn start<T>(frame: Frame) -> NonNull<T> {
    NonNull::new(phys_to_virt(frame.phys())).expect("the direct map is not at 0").cast()
}

// SAFETY: `alloc_zeroed` hands a frame out once until its count drops to 0; the direct map shows all
// RAM, at the same place for ever.
unsafe impl Frames for PageFrames {
    fn alloc(&self) -> Result<Frame, OutOfFrames> {
        match frames::alloc_zeroed() {
            Ok(frame) => Ok(theirs(frame)),
            Err(_) => Err(OutOfFrames { total: frames::total() }),
        }
    }

    unsafe fn alloc_copy(&self, from: Frame) -> Result<Frame, OutOfFrames> {
        let copy = frames::alloc().map_err(|_| OutOfFrames { total: frames::total() })?;
        let (from, to) = (phys_to_virt(from.phys()), copy.as_ptr());
        // SAFETY: the new frame is nobody else's; the caller's promise for the other. They are not the same.
        unsafe { to.copy_from_nonoverlapping(from, PAGE_SIZE as usize) };
        Ok(theirs(copy))
    }

    fn get(&self, frame: Frame) {
        frames::get(own(frame));
    }

    unsafe fn put(&self, frame: Frame) {
        frames::put(own(frame));
    }

    fn is_shared(&self, frame: Frame) -> bool {
        frames::users(own(frame)) > 1
    }

    fn table32(&self, frame: Frame) -> &[AtomicU32] {
        // SAFETY: a frame in the direct map, aligned to its size, that is reached by atomics while it
        // is a table.
        unsafe { NonNull::slice_from_raw_parts(start(frame), PAGE_SIZE as usize / 4).as_ref() }
    }

    fn table64(&self, frame: Frame) -> &[AtomicU64] {
        // SAFETY: as in `table32`.
        unsafe { NonNull::slice_from_raw_parts(start(frame), PAGE_SIZE as usize / 8).as_ref() }
    }

    fn bytes(&self, frame: Frame) -> NonNull<[u8; PAGE_SIZE as usize]> {
        start(frame)
    }
}
