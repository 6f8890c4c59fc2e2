//! The CPUs of a domain: what each announces, and how many callbacks it queued and ran.
//!
//! # Counting without a line that all CPUs write
//!
//! Every CPU counts what it queued and what it ran, on a line of its own; a callback may be queued
//! on one CPU and run on another. The number of callbacks pending is the difference of the sums. It
//! is exact only while nothing moves, but a zero is always true: see [`Members::pending`].
//!
//! The counts are kept twice, for even and for odd generations (`epoch.rs` tells what a generation
//! is), so that a barrier can wait for one kind while callbacks of the other kind keep coming.

use alloc::sync::Arc;
use alloc::vec::Vec;

use kernel_sync::Mutex;
use kernel_sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::section::{Announcement, CurrentEpoch, Epoch};

/// Which of the two sets of counters a callback is counted in: the lowest bit of a generation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Parity {
    Even,
    Odd,
}

impl Parity {
    pub(super) const BOTH: [Self; 2] = [Self::Even, Self::Odd];

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

/// One CPU. Its announcement is on lines of its own, and so are its counters; the CPU that owns them writes
/// them, and nobody else.
pub(super) struct Member {
    pub(super) announcement: Announcement,
    tally: Tally,
}

#[repr(align(128))]
struct Tally {
    queued: [AtomicU64; 2],
    ran: [AtomicU64; 2],
    owned: AtomicBool,
}

impl Member {
    fn new() -> Self {
        Self {
            announcement: Announcement::new(),
            tally: Tally {
                queued: [AtomicU64::new(0), AtomicU64::new(0)],
                ran: [AtomicU64::new(0), AtomicU64::new(0)],
                owned: AtomicBool::new(true),
            },
        }
    }

    /// Counts a callback that the owner is about to queue.
    pub(super) fn queued(&self, parity: Parity) {
        increment(&self.tally.queued[parity as usize]);
    }

    /// Counts a callback that the owner has run.
    pub(super) fn ran(&self, parity: Parity) {
        increment(&self.tally.ran[parity as usize]);
    }

    /// Gives the place up. What the counters say stays true and goes on counting in the sums.
    pub(super) fn release(&self) {
        // Release: the next owner goes on from our last counts.
        self.tally.owned.store(false, Ordering::Release);
    }
}

/// Adds one to a counter that only the caller writes: a load and a store, no locked instruction.
fn increment(counter: &AtomicU64) {
    let value = counter.load(Ordering::Relaxed);
    // Release: who reads the new value sees what was counted as done.
    counter.store(value + 1, Ordering::Release);
}

/// All CPUs of a domain. The lock is for registering, for reading the sums and for advancing the epoch;
/// sections and counting do not take it.
pub(super) struct Members(Mutex<Vec<Arc<Member>>>);

impl Members {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// Returns a place for a new CPU: that of a CPU that left, or a new one.
    pub(super) fn register(&self) -> Arc<Member> {
        let mut all = self.0.lock();
        // Acquire pairs with `release`.
        let left = all.iter().find(|member| !member.tally.owned.load(Ordering::Acquire));
        if let Some(member) = left {
            member.tally.owned.store(true, Ordering::Relaxed);
            return Arc::clone(member);
        }
        let member = Arc::new(Member::new());
        all.push(Arc::clone(&member));
        member
    }

    /// Advances `epoch` by one if every section allows it, and unless another CPU is at it; returns it as it is then.
    pub(super) fn advance(&self, epoch: &CurrentEpoch) -> Epoch {
        if let Some(all) = self.0.try_lock() {
            epoch.advance(epoch.load(), all.iter().map(|member| &member.announcement));
        }
        epoch.load()
    }

    /// Returns how many callbacks of these parities are queued and have not run.
    ///
    /// May be too high while CPUs queue and run. Zero is exact: at some moment of the call nothing
    /// was pending; what all the callbacks queued before did is visible.
    pub(super) fn pending(&self, parities: &[Parity]) -> u64 {
        let all = self.0.lock();
        let sum = |counters: fn(&Tally) -> &[AtomicU64; 2]| -> u64 {
            let each = all.iter().flat_map(|member| {
                parities.iter().map(move |&parity| &counters(&member.tally)[parity as usize])
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
    use super::{Members, Parity};

    #[test]
    fn counters_of_a_cpu_that_left_are_reused_and_still_counted() {
        let members = Members::new();
        let first = members.register();
        first.queued(Parity::Even);
        first.queued(Parity::Odd);
        first.release();
        let second = members.register();
        assert!(alloc::sync::Arc::ptr_eq(&first, &second));
        assert_eq!(members.pending(&[Parity::Even]), 1);
        let third = members.register();
        third.ran(Parity::Even);
        assert_eq!(members.pending(&[Parity::Even]), 0);
        assert_eq!(members.pending(&[Parity::Odd]), 1);
    }
}
