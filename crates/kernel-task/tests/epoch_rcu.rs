//! Grace periods, callbacks and barriers of the epoch domain.
#![cfg(not(loom))]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use kernel_sync::Callback;
use kernel_task::epoch::{EpochCpu, EpochDomain, EpochError};

/// Callbacks in more batches than one, and more pins than the collector takes between collections.
const MANY: usize = 1000;

fn count(cpu: &EpochCpu, ran: &Arc<AtomicUsize>) {
    let ran = Arc::clone(ran);
    call_rcu(cpu, move || {
        ran.fetch_add(1, Ordering::Relaxed);
    });
}

fn call_rcu(cpu: &EpochCpu, callback: impl FnOnce() + Send + 'static) {
    cpu.call_rcu(Callback::try_new(callback).expect("heap"));
}

#[test]
fn callback_waits_for_the_section_of_another_cpu() {
    let domain = EpochDomain::new();
    let (cpu, reader) = (domain.register(), domain.register());
    let ran = Arc::new(AtomicUsize::new(0));
    let guard = reader.read_lock();
    for _ in 0..MANY {
        count(&cpu, &ran);
        cpu.flush();
    }
    assert_eq!(ran.load(Ordering::Relaxed), 0);
    assert_eq!(domain.pending(), MANY as u64);
    drop(guard);
    domain.barrier(&cpu).expect("outside sections");
    assert_eq!(ran.load(Ordering::Relaxed), MANY);
    assert_eq!(domain.pending(), 0);
}

#[test]
fn section_that_began_later_does_not_hold_a_callback_up() {
    let domain = EpochDomain::new();
    let (cpu, reader) = (domain.register(), domain.register());
    let ran = Arc::new(AtomicUsize::new(0));
    count(&cpu, &ran);
    let mut guard = reader.read_lock();
    for _ in 0..8 {
        cpu.flush();
        // Overlapping sections: there is no moment without one.
        let next = domain.register().read_lock();
        drop(std::mem::replace(&mut guard, next));
    }
    assert_eq!(ran.load(Ordering::Relaxed), 1);
}

#[test]
fn sections_nest() {
    let domain = EpochDomain::new();
    let (cpu, reader) = (domain.register(), domain.register());
    let ran = Arc::new(AtomicUsize::new(0));
    let outer = reader.read_lock();
    drop(reader.read_lock());
    count(&cpu, &ran);
    (0..100).for_each(|_| cpu.flush());
    assert_eq!(ran.load(Ordering::Relaxed), 0);
    drop(outer);
    domain.barrier(&cpu).expect("outside sections");
    assert_eq!(ran.load(Ordering::Relaxed), 1);
}

/// The collector finds batches ready while a CPU enters a section or queues, maybe under a spin
/// lock that a callback wants. Callbacks run when the CPU says so, and not before.
#[test]
fn callbacks_run_only_where_the_cpu_quiesces() {
    let domain = EpochDomain::new();
    let cpu = domain.register();
    let lock = Arc::new(Mutex::new(()));
    let ran = Arc::new(AtomicUsize::new(0));
    let held = lock.try_lock().expect("free");
    for _ in 0..MANY {
        let (lock, ran) = (Arc::clone(&lock), Arc::clone(&ran));
        call_rcu(&cpu, move || {
            assert!(lock.try_lock().is_ok(), "a spin lock would deadlock here");
            ran.fetch_add(1, Ordering::Relaxed);
        });
        drop(cpu.read_lock());
    }
    cpu.synchronize().expect("outside sections");
    assert_eq!(ran.load(Ordering::Relaxed), 0);
    drop(held);
    for _ in 0..MANY {
        cpu.quiesce();
    }
    assert!(ran.load(Ordering::Relaxed) > MANY / 2, "full batches need no flush");
}

#[test]
fn quiescing_inside_a_section_runs_nothing() {
    let domain = EpochDomain::new();
    let cpu = domain.register();
    let ran = Arc::new(AtomicUsize::new(0));
    count(&cpu, &ran);
    let guard = cpu.read_lock();
    (0..10).for_each(|_| cpu.flush());
    drop(guard);
    let helper = domain.register();
    // Ready, but not run.
    for _ in 0..10 {
        let _section = helper.read_lock();
        helper.flush();
    }
    let guard = cpu.read_lock();
    cpu.quiesce();
    assert_eq!(ran.load(Ordering::Relaxed), 0);
    drop(guard);
    (0..4).for_each(|_| cpu.flush());
    assert_eq!(ran.load(Ordering::Relaxed), 1);
}

#[test]
fn waiting_inside_a_section_is_refused() {
    let domain = EpochDomain::new();
    let (cpu, other) = (domain.register(), domain.register());
    let guard = cpu.read_lock();
    assert_eq!(cpu.synchronize(), Err(EpochError::InsideReadSection));
    assert_eq!(domain.barrier(&cpu), Err(EpochError::InsideReadSection));
    drop(guard);
    assert_eq!(cpu.synchronize(), Ok(()));
    assert_eq!(EpochDomain::new().barrier(&other), Err(EpochError::OtherDomain));
}

#[test]
fn callback_may_queue_another() {
    let domain = Arc::new(EpochDomain::new());
    let cpu = domain.register();
    let ran = Arc::new(AtomicUsize::new(0));
    let (inner_domain, inner_ran) = (Arc::clone(&domain), Arc::clone(&ran));
    call_rcu(&cpu, move || count(&inner_domain.register(), &inner_ran));
    domain.barrier(&cpu).expect("outside sections");
    domain.barrier(&cpu).expect("outside sections");
    assert_eq!(ran.load(Ordering::Relaxed), 1);
    assert_eq!(domain.pending(), 0);
}

#[test]
fn callbacks_of_a_cpu_that_left_are_run_by_the_others() {
    let domain = EpochDomain::new();
    let ran = Arc::new(AtomicUsize::new(0));
    for _ in 0..3 {
        count(&domain.register(), &ran);
    }
    assert_eq!(domain.pending(), 3);
    domain.barrier(&domain.register()).expect("outside sections");
    assert_eq!(ran.load(Ordering::Relaxed), 3);
    assert_eq!(domain.pending(), 0);
}

#[test]
fn dropped_domain_runs_what_is_left() {
    let ran = Arc::new(AtomicUsize::new(0));
    let domain = EpochDomain::new();
    let (cpu, reader) = (domain.register(), domain.register());
    (0..MANY).for_each(|_| count(&cpu, &ran));
    let guard = reader.read_lock();
    drop((cpu, domain));
    drop(reader);
    assert_eq!(ran.load(Ordering::Relaxed), 0, "a guard outlives its cpu and its domain");
    drop(guard);
    assert_eq!(ran.load(Ordering::Relaxed), MANY);
}

#[test]
fn synchronize_waits_for_the_sections_that_exist() {
    let domain = EpochDomain::new();
    let (inside, left) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            let cpu = domain.register();
            let guard = cpu.read_lock();
            inside.store(true, Ordering::Release);
            thread::sleep(std::time::Duration::from_millis(30));
            left.store(true, Ordering::Relaxed);
            drop(guard);
        });
        let cpu = domain.register();
        while !inside.load(Ordering::Acquire) {
            thread::yield_now();
        }
        cpu.synchronize().expect("outside sections");
        // Relaxed: that the section happens before this is the point.
        assert!(left.load(Ordering::Relaxed));
    });
}

/// Barriers on some CPUs while others queue all the time: each must end, and must have waited for
/// what was queued before it, on its own CPU and on another.
#[test]
fn barrier_waits_for_earlier_callbacks_and_not_for_later_ones() {
    let domain = EpochDomain::new();
    let done = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let cpu = domain.register();
                while done.load(Ordering::Relaxed) < 2 {
                    call_rcu(&cpu, || ());
                    cpu.quiesce();
                    drop(cpu.read_lock());
                }
            });
        }
        for _ in 0..2 {
            scope.spawn(|| {
                let (cpu, other) = (domain.register(), domain.register());
                for _ in 0..100 {
                    let ran = Arc::new(AtomicUsize::new(0));
                    count(&cpu, &ran);
                    count(&other, &ran);
                    other.flush();
                    domain.barrier(&cpu).expect("outside sections");
                    assert_eq!(ran.load(Ordering::Relaxed), 2);
                }
                done.fetch_add(1, Ordering::Relaxed);
            });
        }
    });
    domain.barrier(&domain.register()).expect("outside sections");
    assert_eq!(domain.pending(), 0);
}

/// A CPU with callbacks in its open batch gives them up when it comes by.
#[test]
fn barrier_is_helped_by_a_cpu_that_only_quiesces() {
    let domain = EpochDomain::new();
    let done = AtomicBool::new(false);
    let (ran, queued) = (Arc::new(AtomicUsize::new(0)), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            let cpu = domain.register();
            count(&cpu, &ran);
            queued.store(true, Ordering::Release);
            while !done.load(Ordering::Relaxed) {
                cpu.quiesce();
                thread::yield_now();
            }
        });
        while !queued.load(Ordering::Acquire) {
            thread::yield_now();
        }
        domain.barrier(&domain.register()).expect("outside sections");
        assert_eq!(ran.load(Ordering::Relaxed), 1);
        done.store(true, Ordering::Relaxed);
    });
}

/// Callbacks that ran wherever a CPU happened to find them ready carried frames from CPU to CPU, and two
/// threads forked no faster than one.
#[test]
fn callbacks_run_on_the_cpu_that_queued_them() {
    let domain = EpochDomain::new();
    let elsewhere = AtomicUsize::new(0);
    let ran = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let cpu = domain.register();
                let (counted, home) = (Arc::new(AtomicUsize::new(0)), thread::current().id());
                let away = Arc::new(AtomicUsize::new(0));
                let mut queued = 0;
                while counted.load(Ordering::Relaxed) < MANY {
                    let (counted, away) = (Arc::clone(&counted), Arc::clone(&away));
                    // Not for ever: what is queued last runs when the CPU has left.
                    if queued < 2 * MANY {
                        call_rcu(&cpu, move || {
                            let here = thread::current().id() == home;
                            away.fetch_add(usize::from(!here), Ordering::Relaxed);
                            counted.fetch_add(1, Ordering::Relaxed);
                        });
                        queued += 1;
                    }
                    drop(cpu.read_lock());
                    cpu.quiesce();
                }
                elsewhere.fetch_add(away.load(Ordering::Relaxed), Ordering::Relaxed);
                ran.fetch_add(counted.load(Ordering::Relaxed), Ordering::Relaxed);
            });
        }
    });
    assert!(ran.load(Ordering::Relaxed) >= 4 * MANY);
    // The last of a CPU that has left run elsewhere, but no CPU counts those: it has left.
    assert_eq!(elsewhere.load(Ordering::Relaxed), 0);
}
