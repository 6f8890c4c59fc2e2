//! The kernel heap: `talc` on blocks of frames.
//!
//! It grows when it must and never shrinks: what it frees it uses again.

use super::frames;
use crate::layout::PAGE_SIZE;
use crate::sync::RawIrqSpinlock;
use core::alloc::Layout;
use kernel_sync::atomic::{AtomicUsize, Ordering};
use talc::TalcLock;
use talc::base::Talc;
use talc::base::binning::Binning;
use talc::source::Source;

/// Blocks the heap grows by have 2^6 frames (256 KiB) unless a request needs more.
const MIN_ORDER: u8 = 6;

/// Gives the allocator blocks of frames.
#[derive(Debug)]
struct FrameBlocks;

// SAFETY: `acquire` touches the allocator only through the reference it is given; the frame
// allocator below it uses no heap.
unsafe impl Source for FrameBlocks {
    fn acquire<B: Binning>(talc: &mut Talc<Self, B>, layout: Layout) -> Result<(), ()> {
        // Room for the request at any alignment, and for the allocator's own tables on first use.
        let needed = layout.size() + layout.align() + talc::min_first_heap_layout::<B>().size();
        let pages = needed.div_ceil(PAGE_SIZE as usize).next_power_of_two();
        let order = (pages.ilog2() as u8).max(MIN_ORDER);
        if order >= buddy::ORDERS {
            return Err(());
        }
        let block = frames::alloc_block(order).map_err(|_| ())?;
        // SAFETY: the block is ours from now on, and the direct map shows it.
        unsafe { talc.claim(block.as_ptr(), (PAGE_SIZE as usize) << order) }.ok_or(())?;
        FRAMES.fetch_add(1 << order, Ordering::Relaxed);
        Ok(())
    }
}

#[global_allocator]
static HEAP: TalcLock<RawIrqSpinlock, FrameBlocks> = TalcLock::new(FrameBlocks);

static FRAMES: AtomicUsize = AtomicUsize::new(0);

/// Returns the number of frames the heap has taken.
#[must_use]
pub fn frames() -> usize {
    FRAMES.load(Ordering::Relaxed)
}

/// Returns the bytes that are allocated now.
#[must_use]
pub fn allocated() -> usize {
    HEAP.lock().counters().allocated_bytes
}
