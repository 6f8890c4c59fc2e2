//! How many tasks there are, without a line that every fork and every exit writes.
//!
//! Each processor counts for itself, and adds what it has to the sum of all when it is much (Linux's `percpu_counter`). Who asks
//! whether there are many looks at that sum first, and asks the processors only when it is close.

use crate::cpu::MAX_CPUS;
use crate::cpu::area::cpu_index;
use crate::cpu::local::Padded;
use core::sync::atomic::{AtomicI64, Ordering};

/// Tasks that a processor counts for itself, at most.
const BATCH: i64 = 16;

static SUM: AtomicI64 = AtomicI64::new(0);

static OWN: [Padded<AtomicI64>; MAX_CPUS] = [const { Padded(AtomicI64::new(0)) }; MAX_CPUS];

/// A task that counts, until this is dropped.
#[derive(Debug)]
pub(super) struct Counted(());

impl Counted {
    pub(super) fn new() -> Self {
        add(1);
        Self(())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        add(-1);
    }
}

fn add(change: i64) {
    let own = &OWN[cpu_index()].0;
    let count = own.fetch_add(change, Ordering::Relaxed) + change;
    if count.abs() >= BATCH {
        own.fetch_sub(count, Ordering::Relaxed);
        SUM.fetch_add(count, Ordering::Relaxed);
    }
}

/// Tells whether there are `limit` tasks or more, of whatever kind; those count too that have been waited for and whose memory waits for
/// a grace period.
pub(super) fn reaches(limit: u64) -> bool {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let sum = SUM.load(Ordering::Relaxed);
    if sum.saturating_add(BATCH * MAX_CPUS as i64) < limit {
        return false;
    }
    sum + OWN.iter().map(|own| own.0.load(Ordering::Relaxed)).sum::<i64>() >= limit
}
