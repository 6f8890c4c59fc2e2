//! Page frames of a host process: one arena, counts, per-thread lists, and traps for tests.
//!
//! The arena is anonymous memory; the physical address of a frame is its distance from the arena's
//! start, so that it fits the 32-bit entries of 2-level tables. Frame 0 is never handed out: an
//! entry that leads there is a bug.
//!
//! A frame is zeroed when its count drops to zero, all 4096 bytes of it, and has to stay zero while it is free.
//! That costs the same as zeroing in `alloc`, and lets [`HostFrames::check_free_frames`] and
//! [`HostFrames::checked`] find what was written after it was freed: a PGD that a walker still
//! reached, a page that a stale TLB entry still showed.
//!
//! Threads share nothing on the usual path. Each works on one of 64 lists of free frames and
//! moves a batch of them to or from the common list when its own runs dry or full. Counts lie a
//! cache line apart, as Linux's `struct page` do.

mod injection;
mod shard;

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;
use std::sync::{Mutex, PoisonError};

use kernel_sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use mm_generic::frames::{Frame, Frames, OutOfFrames, PAGE_SIZE};
use thiserror::Error;

use injection::Injection;
use shard::{SHARDS, Shard, shard_of_this_thread};

const PAGE: usize = PAGE_SIZE as usize;

/// All page frames of a kernel that runs in a host process.
///
/// [`Frames`] wants a `'static` allocator: [`HostFrames::leak`] makes one.
pub struct HostFrames {
    // INVARIANT: `counts.len()` frames of `PAGE` bytes, from `alloc_zeroed`, live as long as `self`.
    arena: NonNull<u8>,
    counts: Box<[Count]>,
    shards: Box<[Mutex<Shard>]>,
    /// Free frames that no shard holds.
    common: Mutex<Vec<u32>>,
    injection: Injection,
    checked: bool,
}

/// A frame's reference count, on a cache line of its own.
#[derive(Default)]
#[repr(align(64))]
struct Count(AtomicU32);

// SAFETY: the arena is reached through atomics and raw pointers only.
unsafe impl Send for HostFrames {}
// SAFETY: as above.
unsafe impl Sync for HostFrames {}

/// A frame that was written to while it was free.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("frame {:#x} was written after it was freed: byte {offset:#x} holds {word:#x}", frame.phys())]
pub struct WrittenAfterFree {
    /// The frame.
    pub frame: Frame,
    /// Where in the frame the first word lies that is not zero, in bytes.
    pub offset: usize,
    /// That word.
    pub word: u64,
}

impl HostFrames {
    /// Makes `frames` frames, of which all but frame 0 can be allocated.
    ///
    /// The host provides memory for a frame when it is first written.
    ///
    /// # Panics
    ///
    /// When `frames` is below 2 or above 2^20 (4 GiB, the reach of a 32-bit entry).
    #[must_use]
    pub fn new(frames: usize) -> Self {
        assert!((2..=1 << 20).contains(&frames), "an arena of {frames} frames");
        let layout = arena_layout(frames);
        // SAFETY: the layout is not empty.
        let arena = unsafe { alloc_zeroed(layout) };
        // INVARIANT: as many frames as there will be counts.
        let arena = NonNull::new(arena).unwrap_or_else(|| handle_alloc_error(layout));
        let free = (1..frames as u32).rev().collect();
        Self {
            arena,
            counts: (0..frames).map(|_| Count::default()).collect(),
            shards: (0..SHARDS).map(|_| Mutex::new(Shard::default())).collect(),
            common: Mutex::new(free),
            injection: Injection::default(),
            checked: false,
        }
    }

    /// Makes every allocation verify that the frame is still zero, at the cost of reading it.
    ///
    /// [`HostFrames::check_free_frames`] cannot see a stray write once the frame has been handed
    /// out again; an allocation can.
    #[must_use]
    pub fn checked(mut self) -> Self {
        self.checked = true;
        self
    }

    /// Makes frames for the rest of the process's life.
    #[must_use]
    pub fn leak(self) -> &'static Self {
        Box::leak(Box::new(self))
    }

    /// Number of frames, frame 0 included.
    #[must_use]
    pub fn total(&self) -> usize {
        self.counts.len()
    }

    /// Frames that are allocated. Exact while no thread allocates or frees, else about right.
    #[must_use]
    pub fn allocated(&self) -> usize {
        // A frame may be freed by another thread than the one that took it; only the sum is a count.
        let balance: i64 = self.shards.iter().map(|shard| lock(shard).balance()).sum();
        // Below zero only while a frame's way from one list to another is half summed.
        usize::try_from(balance).unwrap_or(0)
    }

    /// The frame's reference count; 0 when it is free.
    ///
    /// # Panics
    ///
    /// When `frame` is not in the arena.
    #[must_use]
    pub fn count(&self, frame: Frame) -> u32 {
        self.counter(frame).load(Ordering::Acquire)
    }

    /// Tells whether `frame` lies in the arena.
    #[must_use]
    pub fn contains(&self, frame: Frame) -> bool {
        frame.phys() / PAGE_SIZE < self.total() as u64
    }

    /// Verifies that every free frame is still zero. To be called while no thread allocates or frees.
    ///
    /// # Errors
    ///
    /// [`WrittenAfterFree`], for the first frame that is not.
    pub fn check_free_frames(&self) -> Result<(), WrittenAfterFree> {
        for index in 0..self.total() as u32 {
            if self.counts[index as usize].0.load(Ordering::Acquire) == 0 {
                self.check_zero(frame_at(index))?;
            }
        }
        Ok(())
    }

    /// Makes allocation number `n` from now, the next being 0, and all later ones fail.
    pub fn fail_after(&self, n: u64) {
        self.injection.fail_from(n);
    }

    /// Makes allocation number `n` from now, the next being 0, fail, and no other.
    pub fn fail_once_after(&self, n: u64) {
        self.injection.fail_at(n);
    }

    /// Ends what [`HostFrames::fail_after`] or [`HostFrames::fail_once_after`] began.
    pub fn fail_never(&self) {
        self.injection.stop();
    }

    /// Makes this thread's allocation number `n` from now, the next being 0, fail, and no other. Other threads notice nothing.
    pub fn fail_here_once_after(&self, n: u64) {
        self.injection.fail_here_at(n);
    }

    /// Ends what [`HostFrames::fail_here_once_after`] began, and tells whether that allocation came and was refused.
    pub fn fail_here_never(&self) -> bool {
        self.injection.stop_here()
    }

    fn check_zero(&self, frame: Frame) -> Result<(), WrittenAfterFree> {
        // SAFETY: the frame's own bytes, and it is free: who writes to them now is what is looked for.
        if unsafe { self.bytes(frame).as_ref() } == &[0; PAGE] {
            return Ok(());
        }
        for (index, word) in self.table64(frame).iter().enumerate() {
            let word = word.load(Ordering::Relaxed);
            if word != 0 {
                return Err(WrittenAfterFree { frame, offset: index * size_of::<u64>(), word });
            }
        }
        Ok(())
    }

    fn counter(&self, frame: Frame) -> &AtomicU32 {
        &self.counts[(frame.phys() / PAGE_SIZE) as usize].0
    }

    fn start(&self, frame: Frame) -> NonNull<u8> {
        assert!(self.contains(frame), "frame {:#x} is not in the arena", frame.phys());
        // SAFETY: the frame lies in the arena.
        unsafe { self.arena.add(frame.phys() as usize) }
    }

    /// Takes a free frame off a list, wherever one is.
    fn take(&self) -> Option<u32> {
        let own = shard_of_this_thread();
        let mut shard = lock(&self.shards[own]);
        if shard.is_empty() {
            shard.refill(&mut lock(&self.common));
        }
        if let Some(index) = shard.take() {
            return Some(index);
        }
        drop(shard);
        // Other threads' lists last, one lock at a time: two threads may do this to each other.
        let index = (1..SHARDS)
            .find_map(|distance| lock(&self.shards[(own + distance) % SHARDS]).steal())?;
        lock(&self.shards[own]).book_stolen();
        Some(index)
    }
}

// SAFETY: a frame is on one list or has a count; it is zeroed on its way to a list, and the arena
// does not move.
unsafe impl Frames for HostFrames {
    fn alloc(&self) -> Result<Frame, OutOfFrames> {
        let out_of_frames = OutOfFrames { total: self.total() };
        if self.injection.strikes() {
            return Err(out_of_frames);
        }
        let frame = frame_at(self.take().ok_or(out_of_frames)?);
        if self.checked
            && let Err(error) = self.check_zero(frame)
        {
            panic!("{error}");
        }
        // Relaxed: the list's lock has ordered this allocation after the free.
        let before = self.counter(frame).swap(1, Ordering::Relaxed);
        assert_eq!(before, 0, "frame {:#x} was on a free list with a count", frame.phys());
        Ok(frame)
    }

    fn get(&self, frame: Frame) {
        // Relaxed: the caller has a count, or a table entry that has one.
        let before = self.counter(frame).fetch_add(1, Ordering::Relaxed);
        assert_ne!(before, 0, "frame {:#x} is free and was to be shared", frame.phys());
    }

    unsafe fn put(&self, frame: Frame) {
        // Release, and acquire at zero: what each holder did to the frame happens before it is zeroed.
        let before = self.counter(frame).fetch_sub(1, Ordering::Release);
        assert_ne!(before, 0, "frame {:#x} was freed twice", frame.phys());
        if before != 1 {
            return;
        }
        fence(Ordering::Acquire);
        // SAFETY: the frame's own bytes, and the caller promised that nobody reaches them any more.
        unsafe { self.start(frame).write_bytes(0, PAGE) };
        let mut shard = lock(&self.shards[shard_of_this_thread()]);
        shard.give((frame.phys() / PAGE_SIZE) as u32);
        if shard.is_full() {
            shard.drain(&mut lock(&self.common));
        }
    }

    fn is_shared(&self, frame: Frame) -> bool {
        // Acquire: who finds itself alone has seen the others' last access.
        let count = self.counter(frame).load(Ordering::Acquire);
        assert_ne!(count, 0, "frame {:#x} is free and its owner asks for it", frame.phys());
        count > 1
    }

    fn table32(&self, frame: Frame) -> &[AtomicU32] {
        let start = self.start(frame).cast();
        // SAFETY: the frame's own bytes, aligned to a page, live as long as `self`, always
        // initialised, and reached by atomics while they are a table.
        unsafe { NonNull::slice_from_raw_parts(start, PAGE / size_of::<u32>()).as_ref() }
    }

    fn table64(&self, frame: Frame) -> &[AtomicU64] {
        let start = self.start(frame).cast();
        // SAFETY: as in `table32`.
        unsafe { NonNull::slice_from_raw_parts(start, PAGE / size_of::<u64>()).as_ref() }
    }

    fn bytes(&self, frame: Frame) -> NonNull<[u8; PAGE]> {
        self.start(frame).cast()
    }
}

impl Drop for HostFrames {
    fn drop(&mut self) {
        // SAFETY: from `alloc_zeroed` with this layout; nobody borrows `self` any more.
        unsafe { dealloc(self.arena.as_ptr(), arena_layout(self.total())) };
    }
}

fn arena_layout(frames: usize) -> Layout {
    Layout::from_size_align(frames * PAGE, PAGE).expect("at most 4 GiB, aligned to a power of two")
}

fn frame_at(index: u32) -> Frame {
    Frame::at(u64::from(index) * PAGE_SIZE).expect("a multiple of the page size")
}

/// Takes a lock whose data is whole even if a thread panicked with it, on purpose, in a test.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
