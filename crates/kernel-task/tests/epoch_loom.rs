//! Grace periods, in every interleaving that loom explores within the bounds below.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p kernel-task --release --test epoch_loom -- --test-threads=1`
//!
//! Two or three CPUs with at most three preemptions, two for three CPUs. The barriers are weakened one by one, and each
//! time a model must fail: a check that cannot see a missing barrier proves nothing about one that is there.
#![cfg(loom)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use kernel_sync::atomic::{AtomicUsize, Ordering};
use kernel_sync::{Callback, explore};
use kernel_task::epoch::{Barrier, EpochDomain, weakened};
use loom::cell::UnsafeCell;
use loom::thread;

/// An object that can be found until it is unlinked, and knows whether it was freed.
///
/// That is no atomic: loom fails the model as well when a section's use and the callback's are not ordered, so that
/// each section that used the object is seen to happen before its end.
struct World {
    domain: EpochDomain,
    published: AtomicUsize,
    freed: UnsafeCell<bool>,
}

// SAFETY: loom tracks the accesses to `freed`, and fails the model when two are not ordered.
unsafe impl Send for World {}
// SAFETY: as above.
unsafe impl Sync for World {}

impl World {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            domain: EpochDomain::new(),
            published: AtomicUsize::new(1),
            freed: UnsafeCell::new(false),
        })
    }

    /// Looks for the object in a section, and uses it if it is there.
    fn read(self: &Arc<Self>) {
        let cpu = self.domain.register();
        let guard = cpu.read_lock();
        // Relaxed: nothing orders this load but the section.
        if self.published.load(Ordering::Relaxed) == 1 {
            thread::yield_now();
            // SAFETY: the grace period waits for this section.
            self.freed.with(|freed| assert!(!unsafe { *freed }, "used after it was freed"));
        }
        drop(guard);
    }

    fn free(&self) {
        // SAFETY: no section that found the object is left.
        self.freed.with_mut(|freed| unsafe { *freed = true });
    }

    /// Unlinks the object, frees it after a grace period, and helps that on.
    fn retire(self: &Arc<Self>) {
        let cpu = self.domain.register();
        self.published.store(0, Ordering::Relaxed);
        let world = Arc::clone(self);
        cpu.call_rcu(Callback::try_new(move || world.free()).expect("heap"));
        (0..3).for_each(|_| cpu.flush());
    }
}

/// One reader; the CPU that frees advances the epoch itself.
fn reader_and_free() {
    let world = World::new();
    let reader = {
        let world = Arc::clone(&world);
        thread::spawn(move || world.read())
    };
    world.retire();
    reader.join().expect("no panic");
}

/// As above, and a third CPU that advances the epoch and runs what it finds.
fn reader_free_and_helper() {
    let world = World::new();
    let reader = {
        let world = Arc::clone(&world);
        thread::spawn(move || world.read())
    };
    let helper = {
        let world = Arc::clone(&world);
        thread::spawn(move || {
            let cpu = world.domain.register();
            cpu.flush();
            cpu.flush();
        })
    };
    let cpu = world.domain.register();
    world.published.store(0, Ordering::Relaxed);
    let free = Arc::clone(&world);
    cpu.call_rcu(Callback::try_new(move || free.free()).expect("heap"));
    cpu.flush();
    drop(cpu);
    reader.join().expect("no panic");
    helper.join().expect("no panic");
}

/// What is weakened is weakened for the whole process: one test at a time.
static WEAKENED: std::sync::Mutex<()> = std::sync::Mutex::new(());

#[test]
fn no_object_is_freed_under_a_reader() {
    let _alone = WEAKENED.lock();
    weakened::set(None);
    explore(Some(3), reader_and_free);
    explore(Some(2), reader_free_and_helper);
}

#[test]
fn each_barrier_is_needed() {
    let _alone = WEAKENED.lock();
    for barrier in [Barrier::Enter, Barrier::Seal, Barrier::Advance] {
        weakened::set(Some(barrier));
        let killers: Vec<_> = [
            ("reader x free", reader_and_free as fn(), 3),
            ("reader x free x helper", reader_free_and_helper, 2),
        ]
        .into_iter()
        .filter(|&(_, model, bound)| {
            catch_unwind(AssertUnwindSafe(|| explore(Some(bound), model))).is_err()
        })
        .map(|(name, ..)| name)
        .collect();
        weakened::set(None);
        println!("barrier {barrier:?} weakened: killed by loom, {}", killers.join(", "));
        assert!(!killers.is_empty(), "{barrier:?} can be weakened and no model notices");
    }
}
