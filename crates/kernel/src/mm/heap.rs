//! The kernel heap: `talc` on blocks of frames.
//!
//! It grows when it must, and gives back blocks that nothing is left of, all but a few.
//!
//! # When memory is short
//!
//! Most of what the kernel allocates is small and cannot be refused half-way: a node of a tree, a place on a wait queue. What is large
//! is asked for by programs, and can be. So the frames that [`frames`] holds back from programs are for small allocations: a huge one
//! takes none of them, and a large one nothing of what is left when a quarter is gone. From there on, system calls that make
//! something are refused (`syscall/scarcity.rs`), and so the small ones come to an end too.

use super::frames::{self, Frame};
use crate::layout::{DIRECT_MAP, PAGE_SIZE};
use crate::sync::RawIrqSpinlock;
use core::alloc::Layout;
use kernel_sync::atomic::{AtomicUsize, Ordering};
use talc::TalcLock;
use talc::base::binning::Binning;
use talc::base::{CHUNK_UNIT, Talc};
use talc::source::Source;

/// Blocks the heap grows by have 2^6 frames (256 KiB), unless a request needs more or memory is in smaller pieces.
const ORDER: u8 = 6;

/// Frames the heap keeps when it could give them back: 1 MiB.
const KEPT: usize = 256;

/// Bytes from which on an allocation is large, and huge.
const LARGE: usize = PAGE_SIZE as usize;
const HUGE: usize = 8 * LARGE;

/// Gives the allocator blocks of frames.
#[derive(Debug)]
struct FrameBlocks;

/// What lies behind the last byte that the allocator has of a block.
struct Footer {
    order: u8,
}

/// Bytes of a block that are not the allocator's: the footer, and what is lost by alignment at both ends.
const OVERHEAD: usize = size_of::<Footer>() + 2 * CHUNK_UNIT;

// SAFETY: `acquire` touches the allocator only through the reference it is given; the frame
// allocator below it uses no heap. `resize` returns the end it was given, or the base of a heap that ceases to be.
unsafe impl Source for FrameBlocks {
    fn acquire<B: Binning>(talc: &mut Talc<Self, B>, layout: Layout) -> Result<(), ()> {
        let refused = match layout.size() {
            ..LARGE => false,
            LARGE..HUGE => frames::is_scarce(),
            HUGE.. => frames::is_tight_for_programs(),
        };
        if refused {
            return Err(());
        }
        let mut needed = layout.size() + layout.align() + OVERHEAD;
        if !talc.is_metadata_established() {
            needed += talc::min_first_heap_layout::<B>().size();
        }
        let pages = needed.div_ceil(PAGE_SIZE as usize).next_power_of_two();
        let least = pages.ilog2() as u8;
        if least >= buddy::ORDERS {
            return Err(());
        }
        // Smaller blocks rather than none: what programs leave behind is in pieces.
        let block = (least..=least.max(ORDER)).rev().find_map(|order| {
            let block = frames::alloc_block(order).ok()?;
            Some((block, order))
        });
        let (block, order) = block.ok_or(())?;
        // SAFETY: the block is ours from now on, and the direct map shows it; the footer is not the allocator's.
        unsafe {
            let len = ((PAGE_SIZE as usize) << order) - size_of::<Footer>();
            let end = talc.claim(block.as_ptr(), len).ok_or(())?;
            end.as_ptr().cast::<Footer>().write(Footer { order });
        }
        FRAMES.fetch_add(1 << order, Ordering::Relaxed);
        Ok(())
    }

    const TRACK_HEAP_END: bool = true;

    unsafe fn resize(
        &mut self,
        chunk_base: *mut u8,
        heap_end: *mut u8,
        is_heap_base: bool,
    ) -> *mut u8 {
        if !is_heap_base {
            return heap_end;
        }
        // SAFETY: `acquire` has put it there, behind what it claimed.
        let order = unsafe { heap_end.cast::<Footer>().read().order };
        let frames = 1 << order;
        if FRAMES.load(Ordering::Relaxed) < KEPT + frames && !frames::is_tight_for_programs() {
            return heap_end;
        }
        FRAMES.fetch_sub(frames, Ordering::Relaxed);
        let last = heap_end.addr() as u64 - DIRECT_MAP;
        // Blocks are aligned to their size.
        frames::free_block(Frame::at(last & !((PAGE_SIZE << order) - 1)), order);
        chunk_base
    }
}

const _: () = assert!(align_of::<Footer>() <= CHUNK_UNIT);

#[global_allocator]
static HEAP: TalcLock<RawIrqSpinlock, FrameBlocks> = TalcLock::new(FrameBlocks);

static FRAMES: AtomicUsize = AtomicUsize::new(0);

/// Returns the number of frames the heap has.
#[must_use]
pub fn frames() -> usize {
    FRAMES.load(Ordering::Relaxed)
}

/// Returns the bytes that are allocated now.
#[must_use]
pub fn allocated() -> usize {
    HEAP.lock().counters().allocated_bytes
}
