//! A thread's own share of signal handling.

use super::numbers::SignalSet;
use super::pending::Pending;
use kernel_sync::Mutex;
use kernel_sync::atomic::{AtomicU64, Ordering};

/// `stack_t`: where handlers run that ask for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AlternateStack {
    /// Lowest address.
    pub start: u64,
    /// Bytes; 0 when there is none.
    pub size: u64,
}

impl AlternateStack {
    /// Tells whether `rsp` lies in the stack.
    #[must_use]
    pub const fn contains(&self, rsp: u64) -> bool {
        rsp > self.start && rsp - self.start <= self.size
    }
}

/// What a thread has of its own.
#[derive(Debug, Default)]
pub struct ThreadSignals {
    /// Signals for this thread alone.
    pub pending: Pending,
    blocked: AtomicU64,
    /// The mask to go back to once a handler has been called, while `sigsuspend` and the like have
    /// put another in its place.
    saved: Mutex<Option<SignalSet>>,
    /// Where handlers run that ask for it.
    pub alternate_stack: Mutex<AlternateStack>,
    /// When the system call would have ended that a signal without a handler interrupted, and that is made
    /// again next; 0 for none.
    deadline: AtomicU64,
}

impl ThreadSignals {
    /// A thread that blocks `blocked` and has no alternate stack.
    #[must_use]
    pub fn new(blocked: SignalSet) -> Self {
        let this = Self::default();
        this.set_blocked(blocked);
        this
    }

    /// Returns what the thread does not want to be told at the moment.
    #[inline]
    #[must_use]
    pub fn blocked(&self) -> SignalSet {
        SignalSet(self.blocked.load(Ordering::Relaxed))
    }

    /// Sets what the thread does not want to be told. Some signals cannot be blocked.
    pub fn set_blocked(&self, blocked: SignalSet) {
        let blocked = blocked.without(SignalSet::UNBLOCKABLE);
        self.blocked.store(blocked.0, Ordering::Relaxed);
    }

    /// Blocks `blocked` until a handler has been called, or until [`ThreadSignals::restore_blocked`].
    pub fn block_for_now(&self, blocked: SignalSet) {
        self.saved.lock().get_or_insert(self.blocked());
        self.set_blocked(blocked);
    }

    /// Takes [`ThreadSignals::block_for_now`] back.
    pub fn restore_blocked(&self) {
        let saved = self.saved.lock().take();
        if let Some(saved) = saved {
            self.set_blocked(saved);
        }
    }

    /// Notes when an interrupted call, which is made again, has to end.
    pub fn keep_deadline(&self, deadline: u64) {
        self.deadline.store(deadline, Ordering::Relaxed);
    }

    /// Takes what [`ThreadSignals::keep_deadline`] noted.
    #[must_use]
    pub fn take_deadline(&self) -> Option<u64> {
        match self.deadline.swap(0, Ordering::Relaxed) {
            0 => None,
            deadline => Some(deadline),
        }
    }

    /// Drops what [`ThreadSignals::keep_deadline`] noted.
    pub fn forget_deadline(&self) {
        self.deadline.store(0, Ordering::Relaxed);
    }

    /// Returns the mask that a handler's return shall restore.
    #[must_use]
    pub fn take_mask_for_handler(&self) -> SignalSet {
        self.saved.lock().take().unwrap_or(self.blocked())
    }
}
