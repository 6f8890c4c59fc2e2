//! Getting back what the kernel keeps for later, when it is needed now.

use crate::mm::{frames, page_cache};
use crate::os;
use crate::rcu;
use crate::task::stack;

/// Gives back pages of programs that nobody has mapped, stacks of dead tasks, what waits for a grace period that is over, and what
/// processors keep: memory of mms, tasks and processes, and frames. Where no lock is held.
pub fn reclaim() {
    page_cache::shrink();
    stack::shrink();
    rcu::flush();
    os::shrink();
    frames::drain();
}
