//! The end of a grace period, without giving the processor away.

use crate::rcu;
use crate::sched;

/// Returns when everything that was to be freed after a grace period has been.
pub(super) fn end() {
    while rcu::pending() > 0 {
        rcu::flush();
        sched::pass();
        kernel_sync::cpu_relax();
    }
}
