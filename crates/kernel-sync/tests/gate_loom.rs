//! The gate under loom, as the reference kernel uses it: a fork publishes a child inside, and a signal to all visits who is there.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p kernel-sync --release --test gate_loom`
#![cfg(loom)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use kernel_sync::atomic::{AtomicBool, Ordering};
use kernel_sync::gate::weakened::{self, Barrier};
use kernel_sync::{Gate, explore};
use loom::cell::UnsafeCell;
use loom::thread;

struct World {
    gate: Gate<2>,
    /// The parent has been sent the signal.
    is_signalled: AtomicBool,
    /// Walkers find the child.
    is_published: AtomicBool,
}

/// Explores a fork and a signal with at most three preemptions; fails if a child gets away.
fn fork_and_signal() {
    explore(Some(3), || {
        let world = Arc::new(World {
            gate: Gate::new(),
            is_signalled: AtomicBool::new(false),
            is_published: AtomicBool::new(false),
        });
        let parent = Arc::clone(&world);
        let forks = thread::spawn(move || {
            let _passage = parent.gate.pass(0);
            // Relaxed, all three: the gate orders them.
            if parent.is_signalled.load(Ordering::Relaxed) {
                return false;
            }
            parent.is_published.store(true, Ordering::Relaxed);
            true
        });
        let is_visited = world.gate.closed(|| {
            world.is_signalled.store(true, Ordering::Relaxed);
            world.is_published.load(Ordering::Relaxed)
        });
        let is_born = forks.join().expect("no panic");
        assert_eq!(is_born, is_visited, "a child got away from the signal");
    });
}

/// Who closes the gate, alone with what the gate keeps apart.
fn two_closers() {
    explore(None, || {
        let world = Arc::new((Gate::<1>::new(), Alone(UnsafeCell::new(0_u32))));
        // SAFETY: nobody else is inside; loom watches.
        let close = |world: &(Gate<1>, Alone)| {
            world.0.closed(|| world.1.0.with_mut(|alone| unsafe { *alone += 1 }));
        };
        let other = Arc::clone(&world);
        let closer = thread::spawn(move || close(&other));
        close(&world);
        closer.join().expect("no panic");
    });
}

/// What only who has closed the gate may touch.
struct Alone(UnsafeCell<u32>);

// SAFETY: loom watches the accesses.
unsafe impl Sync for Alone {}
// SAFETY: as above.
unsafe impl Send for Alone {}

/// What is weakened is weakened for the whole process, so one test runs at a time.
static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());

#[test]
fn closers_take_turns() {
    let _turn = ONE_AT_A_TIME.lock();
    two_closers();
}

#[test]
fn no_child_gets_away_and_each_barrier_is_needed() {
    let _turn = ONE_AT_A_TIME.lock();
    fork_and_signal();
    for barrier in [Barrier::Pass, Barrier::Close] {
        weakened::set(Some(barrier));
        let outcome = catch_unwind(AssertUnwindSafe(fork_and_signal));
        weakened::set(None);
        assert!(outcome.is_err(), "{barrier:?} can be weakened and no model notices");
        println!("barrier {barrier:?} of the gate weakened: killed by loom, fork x signal to all");
    }
}
