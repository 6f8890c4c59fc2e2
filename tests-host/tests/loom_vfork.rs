//! A `vfork` parent goes on when the child has let the mm go, and finds there what the child has done.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p tests-host --release --test loom_vfork`
#![cfg(all(loom, feature = "pgd-init-late"))]

use std::sync::Arc;

use kernel_fork::args::CloneArgs;
use kernel_sync::atomic::{AtomicUsize, Ordering};
use loom::thread;
use tests_host::model::{Product, ThroughTasks, explore_tasks};

/// Two threads and at most this many preemptions.
const BOUND: usize = 3;

#[test]
fn the_parent_finds_what_the_child_stored() {
    explore_tasks::<ThroughTasks, Product>(BOUND, None, |world| {
        let init = world.first();
        let child = world.fork(&init, &CloneArgs::VFORK);
        // A word of the memory that they share.
        let memory = Arc::new(AtomicUsize::new(0));
        let running = {
            let (world, child, init) = (Arc::clone(world), child.clone(), init.clone());
            let memory = Arc::clone(&memory);
            thread::spawn(move || {
                memory.store(1, Ordering::Relaxed);
                world.exit(&child, &init);
            })
        };
        if child.has_released_mm() {
            assert_eq!(memory.load(Ordering::Relaxed), 1, "the parent has gone on too early");
        }
        running.join().expect("no panic");
        assert!(child.has_released_mm());
        assert!(world.reap(&init));
    });
}
