//! Allocations that fail on purpose, to reach every error path.

use std::cell::Cell;

use kernel_sync::atomic::{AtomicBool, AtomicU64, Ordering};

thread_local! {
    /// Allocations of this thread that still succeed, while one of this thread's is to fail.
    static LEFT_HERE: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Which allocation fails.
///
/// While nothing is to fail, an allocation reads one word that nobody writes.
#[derive(Default)]
pub(super) struct Injection {
    armed: AtomicBool,
    once: AtomicBool,
    /// Allocations that still succeed.
    left: AtomicU64,
}

impl Injection {
    pub(super) fn fail_from(&self, n: u64) {
        self.arm(n, false);
    }

    pub(super) fn fail_at(&self, n: u64) {
        self.arm(n, true);
    }

    pub(super) fn stop(&self) {
        self.armed.store(false, Ordering::Release);
    }

    /// As [`Injection::fail_at`], where only this thread's allocations count and fail.
    pub(super) fn fail_here_at(&self, n: u64) {
        LEFT_HERE.set(Some(n));
        self.arm(u64::MAX, false);
    }

    /// Ends what [`Injection::fail_here_at`] began; tells whether that allocation came.
    pub(super) fn stop_here(&self) -> bool {
        // Others may have theirs armed. What they find of it is that theirs counts down.
        LEFT_HERE.take().is_none()
    }

    /// Counts one allocation and tells whether it fails.
    pub(super) fn strikes(&self) -> bool {
        if !self.armed.load(Ordering::Acquire) {
            return false;
        }
        if let Some(left) = LEFT_HERE.get() {
            LEFT_HERE.set(left.checked_sub(1));
            return left == 0;
        }
        let left =
            self.left.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| left.checked_sub(1));
        match left {
            Ok(_) => false,
            // Of several threads that get here, one ends a single failure.
            Err(_) if self.once.load(Ordering::Acquire) => self.armed.swap(false, Ordering::AcqRel),
            Err(_) => true,
        }
    }

    fn arm(&self, n: u64, once: bool) {
        self.left.store(n, Ordering::Relaxed);
        self.once.store(once, Ordering::Relaxed);
        self.armed.store(true, Ordering::Release);
    }
}
