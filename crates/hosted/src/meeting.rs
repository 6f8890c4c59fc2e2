//! Where two CPUs meet, to do at the same moment what shall race.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicU64, Ordering};

/// A meeting place: each of two CPUs writes one counter and reads the other.
#[derive(Default)]
pub struct Meeting {
    counters: [Counter; 2],
}

#[derive(Default)]
#[repr(align(128))]
struct Counter(AtomicU64);

impl Meeting {
    /// Waits until both sides, 0 and 1, have come here `times` times. Returns false when `stopped` says that the other will not come.
    ///
    /// # Panics
    ///
    /// When there is no such side.
    pub fn wait(&self, side: usize, times: u64, stopped: impl Fn() -> bool) -> bool {
        self.counters[side].0.store(times, Ordering::Release);
        let mut spins = 0_u32;
        while self.counters[1 - side].0.load(Ordering::Acquire) < times {
            spins += 1;
            if spins.is_multiple_of(1 << 10) {
                if stopped() {
                    return false;
                }
                std::thread::yield_now();
            }
            spin_loop();
        }
        true
    }
}
