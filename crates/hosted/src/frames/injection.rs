//! Allocations that fail on purpose, to reach every error path.

use kernel_sync::atomic::{AtomicBool, AtomicU64, Ordering};

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

    /// Counts one allocation and tells whether it fails.
    pub(super) fn strikes(&self) -> bool {
        if !self.armed.load(Ordering::Acquire) {
            return false;
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
