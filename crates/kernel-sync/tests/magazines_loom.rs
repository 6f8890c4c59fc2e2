//! Magazines under loom: no order of locks in which CPUs wait for each other, and nothing lost or doubled.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p kernel-sync --release --test magazines_loom`
#![cfg(loom)]

use std::sync::Arc;

use kernel_sync::Magazines;
use loom::thread;

/// Explores all interleavings of two CPUs.
fn explore(body: impl Fn(Arc<Magazines<u32>>) + Send + Sync + 'static) {
    kernel_sync::explore(None, move || body(Arc::new(Magazines::try_new(2, 2).expect("heap"))));
}

#[test]
fn who_steals_does_not_wait_for_who_takes_and_waits_for_him() {
    explore(|magazines| {
        let other = Arc::clone(&magazines);
        let taker = thread::spawn(move || assert_eq!(other.take(0), None));
        assert_eq!(magazines.steal(), None);
        taker.join().expect("no panic");
    });
}

#[test]
fn who_steals_does_not_wait_for_who_gives_up_half() {
    explore(|magazines| {
        magazines.put(0, 1).expect("room");
        magazines.put(0, 2).expect("room");
        let other = Arc::clone(&magazines);
        let giver = thread::spawn(move || other.put(0, 3).expect("room"));
        // None where it looks in the depot before the half has come there, and on the stacks when it has gone.
        let mut found: Vec<u32> = magazines.steal().into_iter().collect();
        giver.join().expect("no panic");
        found.extend(std::iter::from_fn(|| magazines.steal()));
        found.sort_unstable();
        assert_eq!(found, [1, 2, 3]);
    });
}
