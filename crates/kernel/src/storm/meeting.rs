//! Where two processors meet.

use crate::cpu::local::Padded;
use crate::sched;
use kernel_sync::atomic::{AtomicU64, Ordering};

/// Looks at the other side before a processor lets an emulator put it aside.
const PATIENCE: u32 = 200;

/// A meeting place: each side writes one counter and reads the other.
pub(super) struct Meeting([Padded<AtomicU64>; 2]);

impl Meeting {
    pub(super) const fn new() -> Self {
        Self([const { Padded(AtomicU64::new(0)) }; 2])
    }

    /// Returns when both sides have come here as often as this one.
    pub(super) fn meet(&self, side: usize) {
        // Who meets has its processor to itself, and does not come to the scheduler for long.
        sched::pass();
        let times = self.0[side].0.load(Ordering::Relaxed) + 1;
        self.0[side].0.store(times, Ordering::Release);
        let mut looks = 0;
        while self.0[1 - side].0.load(Ordering::Acquire) < times {
            looks += 1;
            if looks > PATIENCE {
                // Leaves the emulator's inner loop; right before a duel that would cost more than the duel takes.
                kernel_sync::cpu_relax();
            }
        }
    }
}
