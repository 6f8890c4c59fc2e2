//! Page frames that cost nothing: what is left of `pgd_alloc` is the kernel half.
//!
//! A kernel's frame source takes a frame off a per-CPU list and, now or at some earlier time, zeroes it. Both
//! are the same for every scheme, cost more than the kernel half does, and would hide it. Here the
//! frames of a few new PGDs lie in a ring and come round again and again.

use std::alloc::{Layout, alloc_zeroed, handle_alloc_error};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};

use kernel_sync::atomic::{AtomicU32, AtomicU64};
use mm_generic::frames::{Frame, Frames, OutOfFrames, PAGE_SIZE};

const PAGE: usize = PAGE_SIZE as usize;

/// Frames that are handed out one after the other; from [`RingFrames::close`] on, the same few.
///
/// For one thread.
pub struct RingFrames {
    // INVARIANT: `total` pages from `alloc_zeroed`, never freed.
    arena: NonNull<u8>,
    total: usize,
    next: AtomicUsize,
    /// Where the ring begins.
    first: AtomicUsize,
    /// Where it ends.
    end: AtomicUsize,
}

// SAFETY: the arena is reached through atomics and raw pointers only.
unsafe impl Send for RingFrames {}
// SAFETY: as above.
unsafe impl Sync for RingFrames {}

impl RingFrames {
    /// Makes `total` frames for the rest of the process's life.
    ///
    /// # Panics
    ///
    /// When so many do not fit the address space.
    #[must_use]
    pub fn leak(total: usize) -> &'static Self {
        let layout =
            Layout::from_size_align(total * PAGE, PAGE).expect("less than the address space");
        // SAFETY: the layout is not empty.
        let arena = unsafe { alloc_zeroed(layout) };
        // INVARIANT: as many pages as is said.
        let arena = NonNull::new(arena).unwrap_or_else(|| handle_alloc_error(layout));
        Box::leak(Box::new(Self {
            arena,
            total,
            next: AtomicUsize::new(0),
            first: AtomicUsize::new(0),
            end: AtomicUsize::new(total),
        }))
    }

    /// Makes the next `frames` frames a ring: from now on no others are handed out.
    ///
    /// # Panics
    ///
    /// When fewer are left.
    pub fn close(&self, frames: usize) {
        let first = self.next.load(Ordering::Relaxed);
        assert!(first + frames <= self.total, "a ring of {frames} after {first} of {}", self.total);
        self.first.store(first, Ordering::Relaxed);
        self.end.store(first + frames, Ordering::Relaxed);
    }

    /// Ends the ring: the frames after it come next.
    pub fn open(&self) {
        self.next.store(self.end.load(Ordering::Relaxed), Ordering::Relaxed);
        self.end.store(self.total, Ordering::Relaxed);
    }

    /// Takes all frames back and zeroes those that were handed out. Whoever had some has forgotten them.
    pub fn reset(&self) {
        let (next, end) = (self.next.load(Ordering::Relaxed), self.end.load(Ordering::Relaxed));
        let used = if end == self.total { next } else { end };
        // SAFETY: the arena's own bytes.
        unsafe { self.arena.write_bytes(0, used * PAGE) };
        self.next.store(0, Ordering::Relaxed);
        self.first.store(0, Ordering::Relaxed);
        self.end.store(self.total, Ordering::Relaxed);
    }

    /// The frame that will be handed out next.
    #[must_use]
    #[inline]
    pub fn next(&self) -> Frame {
        frame_at(self.next.load(Ordering::Relaxed))
    }

    /// First byte of the upper half of `frame`, which is 2 KiB long: the kernel half of a long-mode PGD.
    #[must_use]
    #[inline]
    pub fn kernel_half(&self, frame: Frame) -> NonNull<u8> {
        // SAFETY: half-way into the frame.
        unsafe { self.bytes(frame).cast::<u8>().add(PAGE / 2) }
    }
}

// SAFETY: a frame stays where it is. That it is zeroed and nobody else's holds until the ring is closed.
// From then on it is broken on purpose: a bench's PGDs lie one over the other. No CPU loads
// them, one thread writes them, and all access is atomic or through raw pointers.
unsafe impl Frames for RingFrames {
    #[inline]
    fn alloc(&self) -> Result<Frame, OutOfFrames> {
        let index = self.next.load(Ordering::Relaxed);
        let following = index + 1;
        let wraps = following == self.end.load(Ordering::Relaxed);
        let first = self.first.load(Ordering::Relaxed);
        self.next.store(if wraps { first } else { following }, Ordering::Relaxed);
        Ok(frame_at(index))
    }

    fn get(&self, _frame: Frame) {}

    unsafe fn put(&self, _frame: Frame) {}

    fn is_shared(&self, _frame: Frame) -> bool {
        false
    }

    #[inline]
    fn table32(&self, frame: Frame) -> &[AtomicU32] {
        let start = self.bytes(frame).cast();
        // SAFETY: the frame's own bytes, always initialised, reached by atomics while they are a table.
        unsafe { NonNull::slice_from_raw_parts(start, PAGE / size_of::<u32>()).as_ref() }
    }

    #[inline]
    fn table64(&self, frame: Frame) -> &[AtomicU64] {
        let start = self.bytes(frame).cast();
        // SAFETY: as in `table32`.
        unsafe { NonNull::slice_from_raw_parts(start, PAGE / size_of::<u64>()).as_ref() }
    }

    #[inline]
    fn bytes(&self, frame: Frame) -> NonNull<[u8; PAGE]> {
        // SAFETY: `alloc` hands out frames of the arena only.
        unsafe { self.arena.add(frame.phys() as usize) }.cast()
    }
}

#[inline]
fn frame_at(index: usize) -> Frame {
    Frame::at(index as u64 * PAGE_SIZE).expect("a multiple of the page size")
}
