//! Time, as the storm spends it.

use crate::cpu::clock;
use crate::sched::{Patience, sleep_until};

/// In nanoseconds, as everything here.
pub(super) const MILLISECOND: u64 = 1_000_000;
pub(super) const SECOND: u64 = 1_000 * MILLISECOND;

/// Sleeps for `duration` or longer.
pub(super) fn sleep(duration: u64) {
    let deadline = Some(clock::now() + duration);
    // Nothing wakes it early, and if something did, nobody would mind.
    let _ = sleep_until(&[], Patience::Endless, deadline, || None::<()>);
}
