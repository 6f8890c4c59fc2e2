//! Batches of callbacks, and the list of those that any CPU may run.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use kernel_sync::Mutex;
use kernel_sync::atomic::{AtomicU64, Ordering};

use super::callback::Callback;
use super::section::Epoch;

/// Callbacks per batch: what a CPU queues before it looks at the epoch.
pub(super) const BATCH: usize = 64;

/// Callbacks that wait for one grace period together.
pub(super) struct Batch {
    /// The epoch when the batch was sealed.
    pub(super) sealed_in: Epoch,
    /// The generation when its first callback was queued.
    pub(super) generation: u64,
    pub(super) callbacks: Vec<Callback>,
}

/// Batches whose CPU will not run them itself: it went idle, left, or a barrier waits.
///
/// On lines of its own: every CPU reads `oldest` now and then, and in the steady state nobody writes.
#[repr(align(128))]
pub(super) struct Common {
    /// Raw epoch of the batch at the front, [`EMPTY`] without one; a hint that spares quiescing CPUs the lock.
    oldest: AtomicU64,
    batches: Mutex<VecDeque<Batch>>,
}

const EMPTY: u64 = u64::MAX;

impl Common {
    pub(super) fn new() -> Self {
        Self { oldest: AtomicU64::new(EMPTY), batches: Mutex::new(VecDeque::new()) }
    }

    /// Adds `handed_over`, oldest first. Takes a lock that nobody holds while running callbacks.
    pub(super) fn push(&self, handed_over: impl IntoIterator<Item = Batch>) {
        let mut batches = self.batches.lock();
        batches.extend(handed_over);
        self.note_oldest(&batches);
    }

    /// The epoch in which the batch at the front was sealed. May overlook one that is being added.
    pub(super) fn oldest(&self) -> Option<Epoch> {
        // Relaxed: the lock orders the batches themselves.
        match self.oldest.load(Ordering::Relaxed) {
            EMPTY => None,
            raw => Some(Epoch::from_raw(raw)),
        }
    }

    /// Takes the batch at the front if its grace period is over by epoch `now`.
    pub(super) fn pop_over(&self, now: Epoch) -> Option<Batch> {
        if !self.oldest().is_some_and(|sealed_in| sealed_in.is_over_by(now)) {
            return None;
        }
        let mut batches = self.batches.lock();
        let over = batches.front().is_some_and(|batch| batch.sealed_in.is_over_by(now));
        let batch = if over { batches.pop_front() } else { None };
        self.note_oldest(&batches);
        batch
    }

    fn note_oldest(&self, batches: &VecDeque<Batch>) {
        let oldest = batches.front().map_or(EMPTY, |batch| batch.sealed_in.to_raw());
        self.oldest.store(oldest, Ordering::Relaxed);
    }
}

impl Drop for Common {
    /// Runs what is left. The domain is gone, and with it every guard.
    fn drop(&mut self) {
        loop {
            // Taken out under the lock and run outside of it: a callback may hold the last
            // reference to something that queues another.
            let Some(batch) = self.batches.lock().pop_front() else { return };
            batch.callbacks.into_iter().for_each(Callback::run);
        }
    }
}
