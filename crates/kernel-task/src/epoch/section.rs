//! Epochs and read-side sections: when a grace period is over.
//!
//! # States
//!
//! The domain has one epoch, a number that only grows. Each CPU has one word, its *announcement*: zero
//! outside of sections, and inside of one the epoch that it read on the way in.
//!
//! # Transitions
//!
//! - *Enter*: read the epoch, announce it, FULL BARRIER (E).
//! - *Leave*: announce zero, with release ordering.
//! - *Seal* (of callbacks): FULL BARRIER (S), read the epoch. That is the batch's stamp.
//! - *Advance* from `e` to `e + 1`, one CPU at a time: FULL BARRIER (D), read all announcements; if
//!   each is zero or `e`, store `e + 1`.
//!
//! A batch with stamp `s` may run once the epoch is `s + 2`.
//!
//! # The race
//!
//! CPU A unlinks an object, queues its end and seals with stamp `s`. CPU B is in a section.
//!
//! ```text
//! CPU B                             CPU A                     CPU D
//! b1 e := epoch                     a1 unlink                 d1 epoch is s + 1
//! b2 announce e                     a2 FULL BARRIER (S)       d2 FULL BARRIER (D)
//! b3 FULL BARRIER (E)               a3 s := epoch             d3 read B's announcement
//! b4 find the object, use it                                  d4 epoch := s + 2
//! ```
//!
//! - (S) before (E): b4 sees a1. B does not find the object, whatever D does. This is the half of RCU's
//!   contract that is easily forgotten.
//! - (E) before (S): then also (E) before (D), because d1 happens before d2 and a3 still read `s`. So d3
//!   sees b2 or later. While B is in its section, it announces `e`, and `e <= s`: had b1 read
//!   `s + 1`, then a3, behind (E) and (S), would have as well. D needs `s + 1` of everyone, and waits.
//!
//! Either barrier weakened to acquire and release loses: `tests/epoch_loom.rs` shows it for each.
//! That B's section happens before the callback comes from its release of zero (or of a later announcement), which
//! D acquires in d3 and passes on in d4, which whoever runs the batch acquires with the epoch.

#[cfg(loom)]
use kernel_sync::atomic::fence;
use kernel_sync::atomic::{AtomicU64, Ordering};
use kernel_sync::smp_mb;

/// A value of the domain's epoch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(super) struct Epoch(u64);

/// Epochs that make a grace period.
pub(super) const OVER: usize = 2;

impl Epoch {
    pub(super) const fn from_raw(raw: u64) -> Self {
        Self(raw)
    }

    pub(super) const fn to_raw(self) -> u64 {
        self.0
    }

    /// Tells whether what was sealed in this epoch may run in epoch `now`.
    pub(super) const fn is_over_by(self, now: Self) -> bool {
        self.age_in(now) == OVER
    }

    /// How many epochs before `now` this one was, at most [`OVER`]; zero when it is later.
    pub(super) const fn age_in(self, now: Self) -> usize {
        match now.0.saturating_sub(self.0) {
            0 => 0,
            1 => 1,
            _ => OVER,
        }
    }

    /// The epoch `epochs` before this one.
    pub(super) const fn before(self, epochs: usize) -> Self {
        Self(self.0.saturating_sub(epochs as u64))
    }
}

/// The domain's epoch, on lines of its own: CPUs with sealed batches read it, and it is written twice in
/// a grace period.
#[repr(align(128))]
pub(super) struct CurrentEpoch(AtomicU64);

impl CurrentEpoch {
    pub(super) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Acquire: who finds a grace period over sees what the sections did that it waited for.
    pub(super) fn load(&self) -> Epoch {
        Epoch(self.0.load(Ordering::Acquire))
    }

    /// The stamp for callbacks whose objects the caller has unlinked.
    pub(super) fn seal(&self) -> Epoch {
        unlinked_before_stamp();
        self.load()
    }

    /// Moves on from `from`, unless a CPU is in a section that began in an earlier epoch. `announcements` are those of all
    /// CPUs, and the caller has kept others from advancing and from registering.
    pub(super) fn advance<'a>(
        &self,
        from: Epoch,
        mut announcements: impl Iterator<Item = &'a Announcement>,
    ) {
        epoch_seen_before_announcements();
        if announcements.all(|announcement| announcement.allows(from)) {
            // Release: passes on what the sections did, which `allows` acquired.
            self.0.store(from.0 + 1, Ordering::Release);
        }
    }
}

/// What a CPU announces to those who want to advance the epoch. On lines of its own.
#[repr(align(128))]
pub(super) struct Announcement(AtomicU64);

const OUTSIDE: u64 = 0;

impl Announcement {
    pub(super) fn new() -> Self {
        Self(AtomicU64::new(OUTSIDE))
    }

    /// Announces a section; what the CPU reads from here on, callbacks wait for.
    pub(super) fn enter(&self, epoch: &CurrentEpoch) {
        // Relaxed: an epoch that is behind holds callbacks up and does no other harm.
        let epoch = epoch.0.load(Ordering::Relaxed);
        // Release: an advance that reads this and not the zero before it has to see the earlier section too.
        self.0.store(epoch << 1 | 1, Ordering::Release);
        announced_before_reads();
    }

    pub(super) fn leave(&self) {
        // Release: what was done in the section happens before the callbacks that waited for it.
        self.0.store(OUTSIDE, Ordering::Release);
    }

    fn allows(&self, advance_from: Epoch) -> bool {
        // Acquire pairs with both stores above.
        let announced = self.0.load(Ordering::Acquire);
        announced == OUTSIDE || announced >> 1 == advance_from.0
    }
}

/// (E): orders the announcement of a section before everything that is read in it.
///
/// Partners: `unlinked_before_stamp`, so that a section that is not waited for does not find what was unlinked;
/// and `epoch_seen_before_announcements`, so that one that is waited for is seen.
#[inline(always)]
fn announced_before_reads() {
    #[cfg(loom)]
    if super::weakened::is(super::Barrier::Enter) {
        return fence(Ordering::AcqRel);
    }
    smp_mb();
}

/// (S): orders the unlinking of objects before the read of the epoch that is their callbacks' stamp.
///
/// Partner: `announced_before_reads`. It does not order the callbacks: they run on this CPU, or are handed over under a lock.
#[inline(always)]
fn unlinked_before_stamp() {
    #[cfg(loom)]
    if super::weakened::is(super::Barrier::Seal) {
        return fence(Ordering::AcqRel);
    }
    smp_mb();
}

/// (D): orders the read of the epoch before the reads of the announcements.
///
/// Partner: `announced_before_reads`.
#[inline(always)]
fn epoch_seen_before_announcements() {
    #[cfg(loom)]
    if super::weakened::is(super::Barrier::Advance) {
        return fence(Ordering::AcqRel);
    }
    smp_mb();
}
