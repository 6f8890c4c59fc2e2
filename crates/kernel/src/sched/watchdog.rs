//! The watchdog: a processor that does not get on is reported, with the place where it hangs.
//!
//! Nothing preempts kernel code, so a processor hangs where a lock is never released, a list has become a ring, or an
//! answer never comes. Every processor's timer looks, every half second, at two of them:
//!
//! - its own. When it has interrupted the kernel each time, and the processor has come neither to the scheduler nor to a
//!   program in between, the processor goes round in the kernel.
//! - the next one. When that one has not looked meanwhile, it has its interrupts off for good. Where it is, a
//!   non-maskable interrupt tells: the panic sends one to every other processor.
//!
//! The second one is given half the time, as in Linux: others wait for a processor with interrupts off, and it is the one to be
//! named.
//!
//! Looks are counted, and not time: a processor that an emulator's host has put aside does not look, and hangs no more
//! than the others of a busy host.
//!
//! What it does not see is a kernel in which everybody sleeps and nobody wakes anybody: each processor is well then.

use crate::cpu::area::cpu_index;
use crate::cpu::local::{CpuLocal, Padded};
use crate::cpu::trap::TrapFrame;
use crate::cpu::{MAX_CPUS, smp};
use crate::rcu;
use core::cell::Cell;
use kernel_sync::atomic::{AtomicU64, Ordering};

/// Time between two looks, in nanoseconds.
const LOOK_EVERY: u64 = 500_000_000;

const LOOKS_PER_SECOND: u64 = 1_000_000_000 / LOOK_EVERY;

/// Looks without one of the neighbour's after which that is stuck; 0 while nobody is watched.
static PATIENCE: AtomicU64 = AtomicU64::new(0);

/// How often each processor has got on. Plain counts: each is written by its own processor only.
static PASSES: [Padded<AtomicU64>; MAX_CPUS] = [const { Padded(AtomicU64::new(0)) }; MAX_CPUS];

/// How often each processor has looked.
static LOOKS: [Padded<AtomicU64>; MAX_CPUS] = [const { Padded(AtomicU64::new(0)) }; MAX_CPUS];

/// A sign of life, and for how many looks it has been the same.
#[derive(Clone, Copy)]
struct Seen {
    sign: u64,
    looks: u64,
}

impl Seen {
    const NOTHING: Self = Self { sign: 0, looks: 0 };

    /// Looks; returns how many looks have found the same sign.
    fn look(&mut self, sign: u64) -> u64 {
        *self = Self { sign, looks: if sign == self.sign { self.looks + 1 } else { 0 } };
        self.looks
    }
}

#[derive(Clone, Copy)]
struct Watch {
    next_look: u64,
    own: Seen,
    neighbour: Seen,
}

static WATCHES: CpuLocal<Cell<Watch>> = CpuLocal::new(
    [const { Padded(Cell::new(Watch { next_look: 0, own: Seen::NOTHING, neighbour: Seen::NOTHING })) };
        MAX_CPUS],
);

/// Says that this processor gets on. Called where one that hangs never comes.
#[inline]
pub fn pass() {
    let passes = &PASSES[cpu_index()].0;
    passes.store(passes.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
}

/// Lets processors be reported, from now on, that have taken no interrupt for `seconds`, or have not got on for twice as long.
pub(super) fn start(seconds: u64) {
    PATIENCE.store(seconds * LOOKS_PER_SECOND, Ordering::Relaxed);
}

/// Looks, if it is time to, from the timer's interrupt. Returns when the timer has to come next; `None` when nobody is
/// watched.
pub(super) fn look(frame: &TrapFrame, now: u64) -> Option<u64> {
    let patience = PATIENCE.load(Ordering::Relaxed);
    if patience == 0 {
        return None;
    }
    let cpu = cpu_index();
    let mut watch = WATCHES.with(Cell::get);
    if now < watch.next_look {
        return Some(watch.next_look);
    }
    watch.next_look = now + LOOK_EVERY;
    if frame.from_user() {
        pass();
    }
    LOOKS[cpu].0.fetch_add(1, Ordering::Relaxed);
    // A system call comes to its end without a pass of its own: it is counted anyway.
    let sign = PASSES[cpu].0.load(Ordering::Relaxed).wrapping_add(rcu::calls_here());
    if watch.own.look(sign) >= 2 * patience {
        panic!(
            "cpu{cpu} is stuck: for {} s it has been in the kernel, and has come neither to the scheduler nor to a program",
            2 * patience / LOOKS_PER_SECOND
        );
    }
    let neighbour = neighbour_of(cpu);
    let unseen = watch.neighbour.look(LOOKS[neighbour].0.load(Ordering::Relaxed));
    if neighbour != cpu && unseen >= patience {
        panic!(
            "cpu{neighbour} is stuck: for {} s it has taken no interrupt of its timer",
            patience / LOOKS_PER_SECOND
        );
    }
    WATCHES.with(|watches| watches.set(watch));
    Some(watch.next_look)
}

/// Returns the processor that `cpu` looks after: the next one, and after the last one the first.
fn neighbour_of(cpu: usize) -> usize {
    let online = smp::online();
    online.into_iter().find(|&other| other > cpu).or(online.into_iter().next()).unwrap_or(cpu)
}
