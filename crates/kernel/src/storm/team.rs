//! Kernel threads that do the same until they are told to stop.

use crate::cpu::area::cpu_index;
use crate::os::init_mm;
use crate::sched::{Patience, WaitQueue, current, leave_for_good, schedule, sleep_until};
use crate::task::{TaskRef, spawn_kernel_thread};
use alloc::boxed::Box;
use alloc::vec::Vec;

use kernel_fork::exit::exit;
use kernel_sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use kernel_task::process::ExitStatus;

/// What a team is told, and how many have done it.
pub(super) struct Orders {
    state: AtomicU64,
    next_number: AtomicUsize,
    parked: AtomicUsize,
    ended: AtomicUsize,
    /// Processors that have been claimed ([`Orders::claim_processor`]).
    claimed: AtomicU64,
    threads: u32,
    work: fn(usize, &Orders),
    changed: WaitQueue,
    heard: WaitQueue,
}

const WORK: u64 = 0;
const STOP: u64 = 1;
/// From here on, pauses, each with a number of its own: a thread that sleeps through the work between two of them must see that the second is
/// another one, and say that it has heard of it.
const FIRST_PAUSE: u64 = 2;

/// A team, from outside.
pub(super) struct Team {
    orders: &'static Orders,
    threads: Vec<TaskRef>,
    next_pause: u64,
}

impl Team {
    /// Starts `threads` threads, each of which calls `work` with a number of its own.
    pub(super) fn start(name: &str, work: fn(usize, &Orders), threads: usize) -> Self {
        // Never freed: the threads refer to it to their end, of which nobody hears.
        let orders: &'static Orders = Box::leak(Box::new(Orders {
            state: AtomicU64::new(WORK),
            next_number: AtomicUsize::new(0),
            parked: AtomicUsize::new(0),
            ended: AtomicUsize::new(0),
            claimed: AtomicU64::new(0),
            threads: threads as u32,
            work,
            changed: WaitQueue::new(),
            heard: WaitQueue::new(),
        }));
        let argument = core::ptr::from_ref(orders).addr();
        let spawn = |_| spawn_kernel_thread(name, begin, argument).expect("memory for a thread");
        Self { orders, threads: (0..threads).map(spawn).collect(), next_pause: FIRST_PAUSE }
    }

    /// Returns when every thread has paused.
    pub(super) fn pause(&mut self) {
        self.order(self.next_pause);
        self.next_pause += 1;
        self.wait(&self.orders.parked);
    }

    /// Lets the threads go on.
    pub(super) fn resume(&mut self) {
        self.orders.parked.store(0, Ordering::SeqCst);
        self.order(WORK);
    }

    /// Returns when every thread has ended.
    pub(super) fn stop(self) {
        self.order(STOP);
        self.join();
    }

    /// Returns when every thread has ended, by itself, and its stack is free.
    pub(super) fn join(self) {
        self.wait(&self.orders.ended);
        while !self.threads.iter().all(|thread| thread.parts().sched.has_left()) {
            schedule();
        }
    }

    fn order(&self, state: u64) {
        self.orders.state.store(state, Ordering::SeqCst);
        self.orders.changed.wake_all();
    }

    fn wait(&self, count: &AtomicUsize) {
        let all = || (count.load(Ordering::SeqCst) == self.threads.len()).then_some(());
        sleep_until(&[&self.orders.heard], Patience::Endless, None, all).expect("without deadline");
    }
}

extern "C" fn begin(orders: usize) -> ! {
    // SAFETY: `Team::start` passes a reference that is valid for ever.
    let orders: &'static Orders = unsafe { &*(orders as *const Orders) };
    let number = orders.next_number.fetch_add(1, Ordering::Relaxed);
    (orders.work)(number, orders);
    let me = current();
    exit(init_mm(), &me, ExitStatus::Exited(0), me.process());
    orders.ended.fetch_add(1, Ordering::SeqCst);
    orders.heard.wake_all();
    leave_for_good()
}

impl Orders {
    /// Waits while the team is to pause; tells whether to go on.
    pub(super) fn go_on(&self) -> bool {
        loop {
            match self.state.load(Ordering::SeqCst) {
                WORK => return true,
                STOP => return false,
                pause => {
                    self.parked.fetch_add(1, Ordering::SeqCst);
                    self.heard.wake_all();
                    let ordered = || (self.state.load(Ordering::SeqCst) != pause).then_some(());
                    sleep_until(&[&self.changed], Patience::Endless, None, ordered)
                        .expect("no deadline");
                }
            }
        }
    }

    /// Returns when each thread of the team is on a processor of its own, where it stays until it gives way. For a team with
    /// no more threads than there are processors.
    pub(super) fn claim_processor(&self) -> usize {
        let cpu = loop {
            let cpu = cpu_index();
            if self.claimed.fetch_or(1 << cpu, Ordering::Relaxed) & (1 << cpu) == 0 {
                break cpu;
            }
            schedule();
        };
        // Who has a processor keeps it busy: only from a busy one do others take over what waits there.
        while self.claimed.load(Ordering::Relaxed).count_ones() < self.threads {
            kernel_sync::cpu_relax();
        }
        cpu
    }
}
