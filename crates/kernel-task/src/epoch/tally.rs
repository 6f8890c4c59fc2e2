//! Counting callbacks without a line that all CPUs write.
//!
//! Every CPU counts what it queued and what it ran, on a line of its own; a callback may be queued
//! on one CPU and run on another. The number of callbacks pending is the difference of the sums. It
//! is exact only while nothing moves, but a zero is always true: see [`Tallies::pending`].
//!
//! The counts are kept twice, for even and for odd generations (`epoch.rs` tells what a generation
//! is), so that a barrier can wait for one kind while callbacks of the other kind keep coming.

use alloc::sync::Arc;
use alloc::vec::Vec;

use kernel_sync::Mutex;
use kernel_sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Which of the two sets of counters a callback is counted in: the lowest bit of a generation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Parity {
    Even,
    Odd,
}

impl Parity {
    pub(super) fn of(generation: u64) -> Self {
        if generation.is_multiple_of(2) { Self::Even } else { Self::Odd }
    }

    pub(super) fn other(self) -> Self {
        match self {
            Self::Even => Self::Odd,
            Self::Odd => Self::Even,
        }
    }
}

/// One CPU's counters, on two cache lines of their own. Written by the CPU that owns them, and by
/// nobody else.
#[repr(align(128))]
pub(super) struct Tally {
    queued: [AtomicU64; 2],
    ran: [AtomicU64; 2],
    owned: AtomicBool,
}

impl Tally {
    fn new() -> Self {
        Self {
            queued: [AtomicU64::new(0), AtomicU64::new(0)],
            ran: [AtomicU64::new(0), AtomicU64::new(0)],
            owned: AtomicBool::new(true),
        }
    }

    /// Counts a callback that the owner is about to queue.
    pub(super) fn queued(&self, parity: Parity) {
        increment(&self.queued[parity as usize]);
    }

    /// Counts a callback that the owner has run.
    pub(super) fn ran(&self, parity: Parity) {
        increment(&self.ran[parity as usize]);
    }

    /// Gives the counters up. What they say stays true and goes on counting in the sums.
    pub(super) fn release(&self) {
        // Release: the next owner goes on from our last counts.
        self.owned.store(false, Ordering::Release);
    }
}

/// Adds one to a counter that only the caller writes: a load and a store, no locked instruction.
fn increment(counter: &AtomicU64) {
    let value = counter.load(Ordering::Relaxed);
    // Release: who reads the new value sees what was counted as done.
    counter.store(value + 1, Ordering::Release);
}

/// The counters of all CPUs of a domain. The lock is for registering and for reading the sums;
/// counting does not take it.
pub(super) struct Tallies(Mutex<Vec<Arc<Tally>>>);

impl Tallies {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// Returns counters for a new CPU: those of a CPU that left, or new ones.
    pub(super) fn register(&self) -> Arc<Tally> {
        let mut all = self.0.lock();
        // Acquire pairs with `release`.
        let left = all.iter().find(|tally| !tally.owned.load(Ordering::Acquire));
        if let Some(tally) = left {
            tally.owned.store(true, Ordering::Relaxed);
            return Arc::clone(tally);
        }
        let tally = Arc::new(Tally::new());
        all.push(Arc::clone(&tally));
        tally
    }

    /// Returns how many callbacks of these parities are queued and have not run.
    ///
    /// May be too high while CPUs queue and run. Zero is exact: at some moment of the call nothing
    /// was pending; what all the callbacks queued before did is visible.
    pub(super) fn pending(&self, parities: &[Parity]) -> u64 {
        let all = self.0.lock();
        let sum = |counters: fn(&Tally) -> &[AtomicU64; 2]| -> u64 {
            let each = all.iter().flat_map(|tally| {
                parities.iter().map(move |&parity| &counters(tally)[parity as usize])
            });
            each.map(|counter| counter.load(Ordering::Acquire)).sum()
        };
        // What ran first, what was queued second. A callback's queueing happens before its running,
        // so each one that is in the first sum is in the second: the difference is not negative, and
        // zero means that the two sums are of the same callbacks.
        let ran = sum(|tally| &tally.ran);
        let queued = sum(|tally| &tally.queued);
        queued - ran
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{Parity, Tallies};

    #[test]
    fn counters_of_a_cpu_that_left_are_reused_and_still_counted() {
        let tallies = Tallies::new();
        let first = tallies.register();
        first.queued(Parity::Even);
        first.queued(Parity::Odd);
        first.release();
        let second = tallies.register();
        assert!(alloc::sync::Arc::ptr_eq(&first, &second));
        assert_eq!(tallies.pending(&[Parity::Even]), 1);
        let third = tallies.register();
        third.ran(Parity::Even);
        assert_eq!(tallies.pending(&[Parity::Even]), 0);
        assert_eq!(tallies.pending(&[Parity::Odd]), 1);
    }
}
