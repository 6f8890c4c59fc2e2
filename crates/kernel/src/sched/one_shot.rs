//! The processor's timer: one shot at a time, set for whatever comes first, so that an idle processor sleeps until somebody
//! needs it.

use crate::cpu::local::{CpuLocal, Padded};
use crate::cpu::{MAX_CPUS, apic, clock};
use core::cell::Cell;

/// How long a task runs before another one gets its turn, in nanoseconds.
const SLICE: u64 = 4_000_000;

/// What each processor's timer is set for; the maximum when it is stopped.
static ARMED: CpuLocal<Cell<u64>> =
    CpuLocal::new([const { Padded(Cell::new(u64::MAX)) }; MAX_CPUS]);

/// Sets this processor's timer for `deadline`, unless it is set for an earlier moment.
pub(super) fn arm(deadline: u64) {
    ARMED.with(|armed| {
        if deadline < armed.get() {
            armed.set(deadline);
            let left = deadline.saturating_sub(clock::now());
            apic::start_one_shot_timer(clock::apic_ticks(left));
        }
    });
}

/// Makes sure that the task which now gets the processor does not keep it.
pub(super) fn arm_for_slice() {
    arm(clock::now() + SLICE);
}

/// Notes that this processor's timer has gone off and is set for nothing.
pub(super) fn has_fired() {
    ARMED.with(|armed| armed.set(u64::MAX));
}
