//! Forks, and signals to many processes at once.
//!
//! `kill(-1, SIGKILL)` visits the processes there are. A child that is published behind the visitor's back, by a parent
//! whom the signal has not reached yet, would get away, and a fork bomb consists of such children. Linux orders the two by
//! `tasklist_lock`, which every fork takes. Here a fork writes a word of its own processor's:
//!
//! ```text
//! fork (CPU A)                             signal (CPU B)
//! f1 FORKING[A] = true                     s1 SENDING = true
//! f2 FULL BARRIER                          s2 FULL BARRIER
//! f3 SENDING? step back, and wait          s3 wait until FORKING is false everywhere
//! f4 a signal waits? make the call again   s4 visit all processes
//! f5 publish the child                     s5 SENDING = false
//! f6 FORKING[A] = false
//! ```
//!
//! By the barriers f3 sees s1 or s3 sees f1. So a publication either comes before s4, which finds the child, or after s5, and then
//! f4 finds the signal that the parent was sent. Kernel code is not preempted and nothing from f1 to f6 sleeps: s3 is short.

use super::Parts;
use crate::cpu::area::cpu_index;
use crate::cpu::local::Padded;
use crate::cpu::{MAX_CPUS, smp};
use kernel_sync::atomic::{AtomicBool, Ordering};
use kernel_sync::{Mutex, cpu_relax, smp_mb};

static FORKING: [Padded<AtomicBool>; MAX_CPUS] =
    [const { Padded(AtomicBool::new(false)) }; MAX_CPUS];

static SENDING: AtomicBool = AtomicBool::new(false);

/// Signals to many take turns.
static SENDERS: Mutex<()> = Mutex::new(());

/// Orders the announcement of a fork before the look for senders.
///
/// Partner: `sending_announced_before_forks_are_looked_for`.
fn fork_announced_before_senders_are_looked_for() {
    smp_mb();
}

/// Orders the announcement of a signal before the look for forks.
///
/// Partner: `fork_announced_before_senders_are_looked_for`.
fn sending_announced_before_forks_are_looked_for() {
    smp_mb();
}

/// As long as this lives, no signal to many is on its way.
pub(super) struct Publication {
    cpu: usize,
}

impl Publication {
    /// Begins a publication by the running task, whose parts are `parts`; `None` if a signal came first, which is to be
    /// taken before a child can be made.
    pub(super) fn begin(parts: &Parts) -> Option<Self> {
        let cpu = cpu_index();
        let forking = &FORKING[cpu].0;
        loop {
            forking.store(true, Ordering::Relaxed);
            fork_announced_before_senders_are_looked_for();
            if !SENDING.load(Ordering::Acquire) {
                break;
            }
            forking.store(false, Ordering::Release);
            while SENDING.load(Ordering::Relaxed) {
                cpu_relax();
            }
        }
        let publication = Self { cpu };
        (!parts.has_signal()).then_some(publication)
    }
}

impl Drop for Publication {
    fn drop(&mut self) {
        FORKING[self.cpu].0.store(false, Ordering::Release);
    }
}

/// Runs `send` while no child is published. Not from an interrupt handler, which may have interrupted a fork.
pub(crate) fn without_publications<R>(send: impl FnOnce() -> R) -> R {
    let _turn = SENDERS.lock();
    SENDING.store(true, Ordering::Relaxed);
    sending_announced_before_forks_are_looked_for();
    for cpu in smp::online() {
        while FORKING[cpu].0.load(Ordering::Acquire) {
            cpu_relax();
        }
    }
    let result = send();
    SENDING.store(false, Ordering::Release);
    result
}
