//! Full store buffers, in which the next store waits.
//!
//! A missing barrier shows only while a store waits in its processor's store buffer. Stores leave it in order, so those
//! before it are made to lines that the other processor has just written, and which take their time to come.

use crate::cpu::local::Padded;
use kernel_sync::atomic::{AtomicU64, Ordering};

/// Stores at most.
pub(super) const LINES: u64 = 32;

static IN_THE_WAY: [[Padded<AtomicU64>; LINES as usize]; 2] =
    [const { [const { Padded(AtomicU64::new(0)) }; LINES as usize] }; 2];

/// Takes the lines that `side` is going to write into this processor's cache.
pub(super) fn take_lines_of(side: usize) {
    IN_THE_WAY[side].iter().for_each(|line| line.0.store(1, Ordering::Relaxed));
}

/// Makes `count` stores, as `side`, that wait for the other processor.
#[inline]
pub(super) fn fill(side: usize, count: u64) {
    for line in IN_THE_WAY[side].iter().take(count as usize) {
        line.0.store(2, Ordering::Relaxed);
    }
}
