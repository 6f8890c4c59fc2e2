//! Kernel threads: they run on every processor, sleep, wake each other, end, and leave no frame behind.

use super::{Verdict, ensure};
use crate::boot::Machine;
use crate::cpu::area::cpu_index;
use crate::cpu::{clock, smp};
use crate::mm::{frames, vmalloc};
use crate::os::{init_mm, tasks};
use crate::rcu;
use crate::sched::{self, Patience, WaitQueue, Woken, current, schedule, sleep_until};
use crate::task::{spawn_kernel_thread, stack};
use alloc::format;
use kernel_fork::exit::exit;
use kernel_sync::atomic::{AtomicU64, Ordering};
use kernel_task::process::ExitStatus;

const MILLISECOND: u64 = 1_000_000;

/// Ends the running kernel thread.
fn end() -> ! {
    let me = current();
    exit(init_mm(), &me, ExitStatus::Exited(0), me.process());
    sched::leave_for_good()
}

static DONE: AtomicU64 = AtomicU64::new(0);
static ENDED: WaitQueue = WaitQueue::new();

fn done() -> ! {
    DONE.fetch_add(1, Ordering::SeqCst);
    ENDED.wake_all();
    end()
}

fn wait_for(count: u64) -> Result<(), Woken> {
    let deadline = Some(clock::now() + 20_000 * MILLISECOND);
    sleep_until(&[&ENDED], Patience::Endless, deadline, || {
        (DONE.load(Ordering::SeqCst) == count).then_some(())
    })
}

/// Waits until all that has been freed after a grace period is free.
fn settle() {
    while rcu::pending() > 0 {
        rcu::flush();
        schedule();
    }
}

pub(super) fn every_processor(_machine: &Machine) -> Verdict {
    static SEEN: AtomicU64 = AtomicU64::new(0);
    extern "C" fn look(_: usize) -> ! {
        // Busy, so that idle processors take over what waits here.
        let end = clock::now() + 20 * MILLISECOND;
        while clock::now() < end {
            SEEN.fetch_or(1 << cpu_index(), Ordering::Relaxed);
            schedule();
        }
        done()
    }
    DONE.store(0, Ordering::SeqCst);
    let count = 4 * smp::online().count() as u64;
    for _ in 0..count {
        spawn_kernel_thread("look", look, 0).map_err(|error| format!("{error}"))?;
    }
    wait_for(count).map_err(|error| format!("{error}"))?;
    let seen = SEEN.load(Ordering::Relaxed);
    ensure!(seen == smp::online().bits(), "threads ran on {seen:#b}");
    Ok(())
}

pub(super) fn ping_pong(_machine: &Machine) -> Verdict {
    const ROUNDS: u64 = 2000;
    static BALL: AtomicU64 = AtomicU64::new(0);
    static QUEUE: WaitQueue = WaitQueue::new();
    extern "C" fn play(side: usize) -> ! {
        for _ in 0..ROUNDS {
            let mine = || (BALL.load(Ordering::SeqCst) % 2 == side as u64).then_some(());
            let deadline = Some(clock::now() + 10_000 * MILLISECOND);
            if sleep_until(&[&QUEUE], Patience::Endless, deadline, mine).is_err() {
                break;
            }
            BALL.fetch_add(1, Ordering::SeqCst);
            QUEUE.wake_all();
        }
        done()
    }
    DONE.store(0, Ordering::SeqCst);
    for side in 0..2 {
        spawn_kernel_thread("play", play, side).map_err(|error| format!("{error}"))?;
    }
    wait_for(2).map_err(|error| format!("{error}"))?;
    let ball = BALL.load(Ordering::SeqCst);
    ensure!(ball == 2 * ROUNDS, "the ball went over the net {ball} times");
    Ok(())
}

pub(super) fn sleep(_machine: &Machine) -> Verdict {
    for milliseconds in [1, 7, 20] {
        let start = clock::now();
        let deadline = start + milliseconds * MILLISECOND;
        let woken = sleep_until(&[], Patience::Endless, Some(deadline), || None::<()>);
        let slept = clock::now() - start;
        ensure!(woken == Err(Woken::Deadline), "a sleep ended with {woken:?}");
        ensure!(slept >= milliseconds * MILLISECOND, "{milliseconds} ms took {slept} ns");
    }
    Ok(())
}

pub(super) fn come_and_go(_machine: &Machine) -> Verdict {
    extern "C" fn nothing(_: usize) -> ! {
        done()
    }
    let round = |count: u64| -> Verdict {
        DONE.store(0, Ordering::SeqCst);
        for _ in 0..count {
            spawn_kernel_thread("nothing", nothing, 0).map_err(|error| format!("{error}"))?;
        }
        wait_for(count).map_err(|error| format!("{error}"))
    };
    // The heap grows to what it needs, and processors keep stacks: both only at first.
    for _ in 0..5 {
        round(100)?;
    }
    settle();
    let before = frames::stats();
    for _ in 0..5 {
        round(100)?;
    }
    settle();
    let after = frames::stats();
    // Each processor may have kept none before and all that it may now.
    let kept = stack::most_frames_kept();
    ensure!(after.free + kept >= before.free, "{before:?} became {after:?}");
    let mut listed = 0;
    tasks().pids().for_each(&rcu::read_lock(), &mut |_| listed += 1);
    ensure!(listed == 1, "{listed} tasks are on the task list, and this is the only one");
    ensure!(vmalloc::slots() == 1, "the stacks are in {} slots", vmalloc::slots());
    Ok(())
}
