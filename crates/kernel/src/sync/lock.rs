//! A spin lock that interrupt handlers may take too.
//!
//! An ordinary spin lock deadlocks when a handler wants it on the processor that holds it. This one
//! turns interrupts off while it is held. While it is waited for they stay as they were, so that a
//! waiter still answers inter-processor interrupts, for which the holder may be waiting in turn.

use core::cell::Cell;
use kernel_sync::atomic::{AtomicBool, Ordering};
use x86_64::instructions::interrupts;

/// The lock without the data, for `lock_api`.
#[derive(Debug)]
pub struct RawIrqSpinlock {
    locked: AtomicBool,
    /// Whether interrupts were on when the holder came. Only the holder touches it.
    restore: Cell<bool>,
}

// SAFETY: `restore` is written after the lock is taken and read before it is released, so accesses
// to it are ordered by `locked` (Acquire, Release) and never concurrent.
unsafe impl Sync for RawIrqSpinlock {}

// SAFETY: `try_lock` succeeds for one caller at a time, as the compare-exchange on `locked` does,
// until `unlock` stores false.
unsafe impl lock_api::RawMutex for RawIrqSpinlock {
    const INIT: Self = Self { locked: AtomicBool::new(false), restore: Cell::new(false) };

    type GuardMarker = lock_api::GuardNoSend;

    fn lock(&self) {
        while !self.try_lock() {
            // Read until it looks free: a compare-exchange would take the line from the holder.
            while self.locked.load(Ordering::Relaxed) {
                kernel_sync::cpu_relax();
            }
        }
    }

    fn try_lock(&self) -> bool {
        let restore = interrupts::are_enabled();
        interrupts::disable();
        let taken =
            self.locked.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok();
        if taken {
            self.restore.set(restore);
        } else if restore {
            interrupts::enable();
        }
        taken
    }

    unsafe fn unlock(&self) {
        let restore = self.restore.get();
        self.locked.store(false, Ordering::Release);
        if restore {
            interrupts::enable();
        }
    }
}

/// A value behind a [`RawIrqSpinlock`]. Hold two only nested: the first taken is the last released.
pub type IrqMutex<T> = lock_api::Mutex<RawIrqSpinlock, T>;
