//! Batches of callbacks, and the list of those whose grace period is over.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use kernel_sync::Mutex;
use kernel_sync::atomic::{AtomicUsize, Ordering};

use super::callback::Callback;
use super::tally::Parity;

/// Callbacks per batch: what a CPU queues on its own before it touches anything shared.
pub(super) const BATCH: usize = 64;

/// Callbacks that wait for one grace period together.
pub(super) struct Batch {
    pub(super) parity: Parity,
    pub(super) callbacks: Vec<Callback>,
}

/// Batches that may run, oldest first.
pub(super) struct Ready {
    /// Number of batches; a hint that spares quiescing CPUs the lock.
    len: AtomicUsize,
    batches: Mutex<VecDeque<Batch>>,
}

impl Ready {
    pub(super) fn new() -> Self {
        Self { len: AtomicUsize::new(0), batches: Mutex::new(VecDeque::new()) }
    }

    /// Adds a batch whose grace period is over. Takes a lock that nobody holds while running
    /// callbacks or entering a read-side section, so it may be called from either.
    pub(super) fn push(&self, batch: Batch) {
        let mut batches = self.batches.lock();
        batches.push_back(batch);
        self.len.store(batches.len(), Ordering::Relaxed);
    }

    /// Takes the oldest batch. May overlook one that is being added.
    pub(super) fn pop(&self) -> Option<Batch> {
        // Relaxed: the lock orders the batches themselves.
        if self.len.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let mut batches = self.batches.lock();
        let batch = batches.pop_front();
        self.len.store(batches.len(), Ordering::Relaxed);
        batch
    }
}

impl Drop for Ready {
    /// Runs what is left. The domain is gone, and with it every guard.
    fn drop(&mut self) {
        while let Some(batch) = self.pop() {
            for callback in batch.callbacks {
                callback.run();
            }
        }
    }
}
