//! Counting callbacks across CPUs that leave and come, in every interleaving within the bound below.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p kernel-task --release --test epoch_members_loom`
#![cfg(loom)]

use std::sync::Arc;

use kernel_sync::Callback;
use kernel_task::epoch::EpochDomain;
use loom::cell::UnsafeCell;
use loom::thread;

/// Set by a callback; no atomic, so that loom fails where nothing orders the callback before the look.
struct Flag(UnsafeCell<bool>);

// SAFETY: loom watches the accesses.
unsafe impl Send for Flag {}
// SAFETY: as above.
unsafe impl Sync for Flag {}

impl Flag {
    fn new() -> Arc<Self> {
        Arc::new(Self(UnsafeCell::new(false)))
    }

    fn callback(self: &Arc<Self>) -> Callback {
        let flag = Arc::clone(self);
        // SAFETY: before anybody looks.
        let set = move || flag.0.with_mut(|it| unsafe { *it = true });
        Callback::try_new(set).expect("heap")
    }

    fn is_set(&self) -> bool {
        // SAFETY: after the callback.
        self.0.with(|it| unsafe { *it })
    }
}

fn explore(body: impl Fn() + Send + Sync + 'static) {
    let executions = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = Arc::clone(&executions);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.max_branches = 100_000;
    builder.check(move || {
        counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        body();
    });
    println!("{} executions", executions.load(std::sync::atomic::Ordering::Relaxed));
}

/// A CPU queues, hands over and leaves; another one comes in its place, goes on with its counters, and waits for what it has queued itself.
#[test]
fn a_cpu_that_comes_goes_on_with_the_counts_of_the_one_that_left() {
    explore(|| {
        let domain = Arc::new(EpochDomain::new());
        let theirs = Flag::new();
        let leaving = {
            let (domain, theirs) = (Arc::clone(&domain), Arc::clone(&theirs));
            thread::spawn(move || domain.register().call_rcu(theirs.callback()))
        };
        let ours = Flag::new();
        let cpu = domain.register();
        cpu.call_rcu(ours.callback());
        domain.barrier(&cpu).expect("outside of sections");
        assert!(ours.is_set(), "the barrier has not waited for this CPU's own callback");
        leaving.join().expect("no panic");
        domain.barrier(&cpu).expect("outside of sections");
        assert!(theirs.is_set(), "the barrier has not waited for what a CPU left behind");
        drop(cpu);
    });
}

/// Who waits for the callbacks sees what they did, whoever has run them.
#[test]
fn a_barrier_sees_what_callbacks_did_on_another_cpu() {
    explore(|| {
        let domain = Arc::new(EpochDomain::new());
        let flag = Flag::new();
        let queueing = domain.register();
        queueing.call_rcu(flag.callback());
        drop(queueing);
        let runner = {
            let domain = Arc::clone(&domain);
            thread::spawn(move || {
                let cpu = domain.register();
                (0..3).for_each(|_| cpu.flush());
            })
        };
        let cpu = domain.register();
        domain.barrier(&cpu).expect("outside of sections");
        assert!(flag.is_set(), "the barrier has not waited");
        runner.join().expect("no panic");
        drop(cpu);
    });
}
