//! Pages of files that programs have mapped to share them.
//!
//! The file has the frame, and so has every page-table entry that shows it. Programs store to it whenever they like, on other
//! processors too, so the kernel reads and writes it in assembly, where that is nobody's undefined behaviour: what it gets is
//! some mixture of old and new bytes, as for any two who use memory without agreeing.

use super::page_frames::{PAGE_FRAMES, PageFrames};
use core::arch::asm;
use core::ptr::NonNull;
use files::{Errno, PAGE_SIZE};
use mm_generic::counted_frame::CountedFrame;

/// A page in a frame of its own.
#[derive(Debug)]
pub struct SharedPage(CountedFrame<PageFrames>);

impl SharedPage {
    /// Makes a page with these bytes.
    ///
    /// # Errors
    ///
    /// [`Errno::NOMEM`] without a frame for it.
    pub fn new(bytes: &[u8; PAGE_SIZE]) -> Result<Self, Errno> {
        let mut frame = CountedFrame::alloc(&PAGE_FRAMES).map_err(|_| Errno::NOMEM)?;
        *frame.bytes().ok_or(Errno::NOMEM)? = *bytes;
        Ok(Self(frame))
    }

    /// Returns a count of the frame, for an entry that shows it.
    #[must_use]
    pub fn frame(&self) -> CountedFrame<PageFrames> {
        self.0.clone()
    }

    /// Returns where the bytes from `start` on are, of which there are at least `len`.
    fn at(&self, start: usize, len: usize) -> NonNull<u8> {
        assert!(
            start <= PAGE_SIZE && len <= PAGE_SIZE - start,
            "{len} bytes from {start} are no part of a page"
        );
        // SAFETY: within the page, as just checked.
        unsafe { self.0.memory().cast().add(start) }
    }
}

/// Copies `len` bytes, of which others may store to either.
///
/// # Safety
///
/// `from` can be read and `to` written for `len` bytes, and they do not overlap.
unsafe fn copy(to: *mut u8, from: *const u8, len: usize) {
    // SAFETY: the caller's promise. The direction flag is clear in all of the kernel.
    unsafe {
        asm!(
            "rep movsq",
            "mov rcx, {rest}",
            "rep movsb",
            rest = in(reg) len % 8,
            inout("rcx") len / 8 => _,
            inout("rdi") to => _,
            inout("rsi") from => _,
            options(nostack, preserves_flags),
        );
    }
}

impl files::SharedPage for SharedPage {
    fn read(&self, start: usize, to: &mut [u8]) {
        // SAFETY: `at` has checked the source, and the frame lives as long as this; it is no Rust object's memory.
        unsafe { copy(to.as_mut_ptr(), self.at(start, to.len()).as_ptr(), to.len()) };
    }

    fn write(&self, start: usize, from: &[u8]) {
        // SAFETY: as in `read`, with source and destination exchanged.
        unsafe { copy(self.at(start, from.len()).as_ptr(), from.as_ptr(), from.len()) };
    }
}
