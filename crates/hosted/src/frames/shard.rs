//! One thread's list of free frames.

use crate::cpu::this_cpu;

/// Lists of free frames. Threads beyond this number share.
pub(super) const SHARDS: usize = 64;

/// Frames that move between a thread's list and the common one at a time.
pub(super) const BATCH: usize = 64;

/// Frames a list may hold before it gives a batch back.
const FULL: usize = 4 * BATCH;

/// A list of free frames, and how many frames its threads took less those they freed.
#[repr(align(64))]
pub(super) struct Shard {
    free: Vec<u32>,
    balance: i64,
}

impl Default for Shard {
    /// With room for all that it may hold: who gives a frame back cannot be refused, and allocates nothing.
    fn default() -> Self {
        Self { free: Vec::with_capacity(FULL), balance: 0 }
    }
}

impl Shard {
    pub(super) fn is_empty(&self) -> bool {
        self.free.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.free.len() >= FULL
    }

    pub(super) fn balance(&self) -> i64 {
        self.balance
    }

    pub(super) fn take(&mut self) -> Option<u32> {
        let index = self.free.pop()?;
        self.balance += 1;
        Some(index)
    }

    pub(super) fn give(&mut self, index: u32) {
        self.free.push(index);
        self.balance -= 1;
    }

    /// Gives a frame to another thread, which books it.
    pub(super) fn steal(&mut self) -> Option<u32> {
        self.free.pop()
    }

    /// Books a frame that was stolen from another list.
    pub(super) fn book_stolen(&mut self) {
        self.balance += 1;
    }

    pub(super) fn refill(&mut self, common: &mut Vec<u32>) {
        let from = common.len().saturating_sub(BATCH);
        self.free.extend(common.drain(from..));
    }

    pub(super) fn drain(&mut self, common: &mut Vec<u32>) {
        let from = self.free.len().saturating_sub(BATCH);
        common.extend(self.free.drain(from..));
    }
}

/// The list that the calling thread works on: threads take turns as they first come.
pub(super) fn shard_of_this_thread() -> usize {
    this_cpu() % SHARDS
}
