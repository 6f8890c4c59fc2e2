//! Frames that are free and yet used, in kernels that are stormed: written by a walk that still knows a PGD that is no
//! more, or walked through by a processor that still knows a table that is no more.
//!
//! A frame that is given back is filled with one word and put in quarantine: it is free when so many others have come
//! after it. When it leaves, and when it is taken again, it is looked through.
//!
//! The word is an entry that leads to the *trap*, a page that is full of the same entry. So a processor that walks through
//! a freed table, at whatever level, ends up in the trap, and reads the word there, where it would have found nothing or another page.
//! It also sets the accessed bit on its way, which the look finds.

use super::pte::PteFlags;
use crate::cpu::MAX_CPUS;
use crate::cpu::local::{CpuLocal, Padded};
use crate::layout::{KERNEL_BASE, PAGE_SIZE, phys_to_virt};
use core::cell::RefCell;
use core::slice;
use kernel_sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use spin::Once;

const WORDS: usize = PAGE_SIZE as usize / 8;

#[repr(align(4096))]
struct Page([AtomicU64; WORDS]);

static TRAP: Page = Page([const { AtomicU64::new(0) }; WORDS]);

/// Frames in quarantine on a processor.
const QUARANTINE: usize = 256;

/// Addresses of frames by when they came, the oldest at `next`.
struct Quarantine {
    frames: [Option<u64>; QUARANTINE],
    next: usize,
}

static QUARANTINES: CpuLocal<RefCell<Quarantine>> = CpuLocal::new(
    [const { Padded(RefCell::new(Quarantine { frames: [None; QUARANTINE], next: 0 })) }; MAX_CPUS],
);

static HELD: AtomicUsize = AtomicUsize::new(0);

/// A frame that was written while it was free.
#[derive(Clone, Copy, Debug)]
pub struct Corruption {
    /// Physical address of the frame.
    pub frame: u64,
    /// Which of its 64-bit words.
    pub word: usize,
    /// What was found there.
    pub found: u64,
}

static REPORT: Once<fn(Corruption)> = Once::new();

/// Lets corruptions be reported to `report`. Until then they are not looked for.
pub fn report_to(report: fn(Corruption)) {
    REPORT.call_once(|| report);
}

/// Returns the word that frames are filled with, and makes the trap on first use.
fn word() -> u64 {
    static WORD: Once<u64> = Once::new();
    *WORD.call_once(|| {
        // The image lies at its physical address, `KERNEL_BASE` higher. To be read by the kernel, and by nobody to be written.
        let word = ((&raw const TRAP).addr() as u64 - KERNEL_BASE) | PteFlags::PRESENT.bits();
        TRAP.0.iter().for_each(|entry| entry.store(word, Ordering::Relaxed));
        word
    })
}

/// Tells whether a word that was read through the MMU came from the trap: the read went through a freed table, or to a freed page.
#[must_use]
pub fn is_trap(read: u64) -> bool {
    read & !PteFlags::ACCESSED.bits() == word()
}

fn words(frame: u64) -> &'static [AtomicU64] {
    // SAFETY: a whole frame in the direct map, free, reached by atomics alone.
    unsafe { slice::from_raw_parts(phys_to_virt(frame).cast(), WORDS) }
}

/// Takes the frame at `frame`, which has no user any more, and returns one whose time in quarantine is over.
pub(super) fn exchange(frame: u64) -> Option<u64> {
    let poison = word();
    words(frame).iter().for_each(|word| word.store(poison, Ordering::Relaxed));
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
#[must_use]
pub fn frames() -> usize {
    HELD.load(Ordering::Relaxed)
}

/// Looks through all frames in this processor's quarantine.
pub fn look_through_quarantine() {
    QUARANTINES.with(|quarantine| {
        quarantine.borrow().frames.iter().flatten().for_each(|frame| look_through(*frame));
    });
}

/// Address of the frame that the next one to ask for a frame gets; 0 for none in particular.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// Ends the quarantine of the frame at `frame`: whoever asks for a frame next gets it. Tells whether it was in this
/// processor's quarantine.
#[cfg(feature = "mutants")]
#[must_use]
pub fn take_next(frame: u64) -> bool {
    let is_here = QUARANTINES.with(|quarantine| {
        let mut quarantine = quarantine.borrow_mut();
        let place = quarantine.frames.iter_mut().find(|place| **place == Some(frame));
        place.and_then(Option::take).is_some()
    });
    if is_here {
        HELD.fetch_sub(1, Ordering::Relaxed);
        NEXT.store(frame, Ordering::Release);
    }
    is_here
}

/// Returns the frame that was chosen to be the next.
pub(super) fn next() -> Option<u64> {
    if NEXT.load(Ordering::Relaxed) == 0 {
        return None;
    }
    Some(NEXT.swap(0, Ordering::Acquire)).filter(|&frame| frame != 0)
}

/// Looks through a frame that is about to get its first user, if it was poisoned when it was given back.
pub(super) fn check(frame: u64) {
    if words(frame)[0].load(Ordering::Relaxed) == word() {
        look_through(frame);
        // Whatever block the frame becomes part of next, its first word says nothing about the others.
        words(frame)[0].store(0, Ordering::Relaxed);
    }
}

fn look_through(frame: u64) {
    let poison = word();
    let is_written = |word: &AtomicU64| word.load(Ordering::Relaxed) != poison;
    if let Some(at) = words(frame).iter().position(is_written)
        && let Some(report) = REPORT.get()
    {
        report(Corruption { frame, word: at, found: words(frame)[at].load(Ordering::Relaxed) });
    }
}
