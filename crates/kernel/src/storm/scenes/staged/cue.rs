//! Cues: what one actor waits for and another gives.

use crate::cpu::clock;
use crate::rcu;
use crate::sched;
use kernel_sync::atomic::{AtomicU64, Ordering};

/// The last cue that was given; they ascend.
static GIVEN: AtomicU64 = AtomicU64::new(0);

/// Before a scene.
pub(super) fn forget() {
    GIVEN.store(0, Ordering::SeqCst);
}

/// Gives cue `number`.
pub(super) fn give(number: u64) {
    GIVEN.store(number, Ordering::SeqCst);
}

/// Tells whether cue `number` has been given.
fn is_given(number: u64) -> bool {
    GIVEN.load(Ordering::SeqCst) >= number
}

/// Waits for cue `number`. Not in a read-side section.
pub(super) fn wait(number: u64) {
    // The other may be waiting for a grace period, of which callbacks that are queued here are part. Once only: this processor is not to
    // run the other's, whose frames the other wants back.
    rcu::flush();
    while !is_given(number) {
        pause();
    }
}

/// Waits for cue `number` wherever this is, for at most `patience` nanoseconds: a right scheme may keep the other from giving it.
pub(super) fn wait_here(number: u64, patience: u64) {
    let end = clock::now() + patience;
    while !is_given(number) && clock::now() < end {
        pause();
    }
}

fn pause() {
    // The processor is this actor's, and waits on purpose.
    sched::pass();
    kernel_sync::cpu_relax();
}
