//! A count of a frame, as a value: given back when it is dropped.

use core::ptr::NonNull;

use crate::frames::{Frame, Frames, OutOfFrames, PAGE_SIZE};

/// One count of a frame that no page-table entry owns.
#[derive(Debug)]
pub struct CountedFrame<F: Frames> {
    frames: &'static F,
    // INVARIANT: one count of this frame is here.
    frame: Frame,
}

impl<F: Frames> CountedFrame<F> {
    /// Takes a new frame, zeroed.
    ///
    /// # Errors
    ///
    /// [`OutOfFrames`] when none is free.
    pub fn alloc(frames: &'static F) -> Result<Self, OutOfFrames> {
        // INVARIANT: the count that comes with the frame.
        Ok(Self { frames, frame: frames.alloc()? })
    }

    /// Takes a new frame with the bytes of `from`.
    ///
    /// # Safety
    ///
    /// As for [`Frames::alloc_copy`].
    pub(crate) unsafe fn alloc_copy(frames: &'static F, from: Frame) -> Result<Self, OutOfFrames> {
        // SAFETY: the caller's promise.
        let frame = unsafe { frames.alloc_copy(from)? };
        // INVARIANT: the count that comes with the frame.
        Ok(Self { frames, frame })
    }

    /// Takes over a count.
    ///
    /// # Safety
    ///
    /// The caller owned one count of `frame`, which is one of `frames`, and gives it away.
    pub(crate) unsafe fn from_count(frames: &'static F, frame: Frame) -> Self {
        // INVARIANT: the caller's count.
        Self { frames, frame }
    }

    /// Adds a count to a frame that an entry of the caller's shows.
    pub(crate) fn share(frames: &'static F, frame: Frame) -> Self {
        frames.get(frame);
        // INVARIANT: the count just added.
        Self { frames, frame }
    }

    /// Returns the frame's bytes if this is the only count; `None` when others may be reading them.
    pub fn bytes(&mut self) -> Option<&mut [u8; PAGE_SIZE as usize]> {
        if self.is_shared() {
            return None;
        }
        // SAFETY: the frame's own memory for as long as it has a count. The only one is here, so no entry shows the
        // frame and nobody else reaches it.
        Some(unsafe { self.frames.bytes(self.frame).as_mut() })
    }

    /// Returns where the frame's memory is. Others may be storing to it, programs among them: only what is meant for that,
    /// such as a copy in assembly, may reach it there, and only as long as this value lives.
    #[must_use]
    pub fn memory(&self) -> NonNull<[u8; PAGE_SIZE as usize]> {
        self.frames.bytes(self.frame)
    }

    /// Tells whether there are other counts: entries that show the frame, or values like this one.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.frames.is_shared(self.frame)
    }

    pub(crate) fn frame(&self) -> Frame {
        self.frame
    }

    /// Lets go of the count, which an entry owns from here on.
    pub(crate) fn give_to_entry(self) {
        core::mem::forget(self);
    }
}

impl<F: Frames> Clone for CountedFrame<F> {
    fn clone(&self) -> Self {
        Self::share(self.frames, self.frame)
    }
}

impl<F: Frames> Drop for CountedFrame<F> {
    fn drop(&mut self) {
        // SAFETY: the count is this value's; no entry shows the frame on its strength, and no TLB does.
        unsafe { self.frames.put(self.frame) };
    }
}
