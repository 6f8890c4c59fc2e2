//! Frames that are free and yet written: by a walk that still knows a PGD that is no more.
//!
//! A frame that is given back is filled with a word that no table and no program writes, and put in quarantine: it
//! is free when so many others have come after it. When it leaves, and when it is taken again, it is looked through.

use super::{figures, report};
use crate::cpu::MAX_CPUS;
use crate::cpu::local::{CpuLocal, Padded};
use crate::layout::PAGE_SIZE;
use crate::mm::frames::Frame;
use core::cell::RefCell;
use core::slice;
use kernel_sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Not present, as a page-table entry.
const POISON: u64 = 0x5afe_5afe_5afe_5afa;

const WORDS: usize = PAGE_SIZE as usize / 8;

/// Frames in quarantine on a processor.
const QUARANTINE: usize = 256;

/// Frames by when they came, the oldest at `next`.
struct Quarantine {
    frames: [Option<Frame>; QUARANTINE],
    next: usize,
}

static QUARANTINES: CpuLocal<RefCell<Quarantine>> = CpuLocal::new(
    [const { Padded(RefCell::new(Quarantine { frames: [None; QUARANTINE], next: 0 })) }; MAX_CPUS],
);

static HELD: AtomicUsize = AtomicUsize::new(0);

fn words(frame: Frame) -> &'static [AtomicU64] {
    // SAFETY: a whole frame in the direct map, free, reached by atomics alone.
    unsafe { slice::from_raw_parts(frame.as_ptr().cast(), WORDS) }
}

/// Takes a frame that has no user any more, and returns one whose time in quarantine is over.
pub(crate) fn exchange(frame: Frame) -> Option<Frame> {
    words(frame).iter().for_each(|word| word.store(POISON, Ordering::Relaxed));
    let oldest = QUARANTINES.with(|quarantine| {
        let mut quarantine = quarantine.borrow_mut();
        let next = quarantine.next;
        quarantine.next = (next + 1) % QUARANTINE;
        quarantine.frames[next].replace(frame)
    });
    match oldest {
        Some(frame) => look_through(frame),
        None => _ = HELD.fetch_add(1, Ordering::Relaxed),
    }
    oldest
}

/// Returns the number of frames in quarantine, on all processors.
pub(crate) fn frames() -> usize {
    HELD.load(Ordering::Relaxed)
}

/// Looks through all frames in this processor's quarantine.
pub(crate) fn look_through_quarantine() {
    QUARANTINES.with(|quarantine| {
        quarantine.borrow().frames.iter().flatten().for_each(|frame| look_through(*frame));
    });
}

/// Looks through a frame that is about to get its first user, if it was poisoned when it was given back.
pub(crate) fn check(frame: Frame) {
    if words(frame)[0].load(Ordering::Relaxed) == POISON {
        look_through(frame);
        // Whatever block the frame becomes part of next, its first word says nothing about the others.
        words(frame)[0].store(0, Ordering::Relaxed);
    }
}

fn look_through(frame: Frame) {
    let is_written = |word: &AtomicU64| word.load(Ordering::Relaxed) != POISON;
    if let Some(at) = words(frame).iter().position(is_written) {
        figures::CORRUPTED.one();
        let (address, word) = (frame.address(), words(frame)[at].load(Ordering::Relaxed));
        report::fail(format_args!(
            "word {at} of the frame at {address:#x} was written after it had been freed: {word:#x}"
        ));
    }
}
