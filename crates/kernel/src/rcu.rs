//! Read-copy update: `kernel_task::epoch`, with every processor a member.
//!
//! Sections begin and end in process context only; an interrupt handler enters none, queues no
//! callback and drops no last reference to a task or an mm. A section ends before its task sleeps,
//! because it belongs to the processor: [`crate::sched::schedule`] is a place where nobody may hold a
//! guard.
//!
//! Callbacks run where a processor holds no lock: on the way back to user mode ([`quiesce`]) and in
//! the idle loop ([`flush`]).

use crate::cpu::MAX_CPUS;
use crate::cpu::area::cpu_index;
use crate::cpu::local::Padded;
use core::cell::OnceCell;
use core::sync::atomic::{AtomicU32, Ordering};
use kernel_sync::{Callback, Rcu};
use kernel_task::epoch::{EpochCpu, EpochDomain, EpochError, EpochGuard};
use spin::Once;

static DOMAIN: Once<EpochDomain> = Once::new();

struct Members([Padded<OnceCell<EpochCpu>>; MAX_CPUS]);

// SAFETY: each cell is touched by its own processor alone (`member`), in process context, which
// nothing interleaves with but handlers, and those keep away.
unsafe impl Sync for Members {}

static MEMBERS: Members = Members([const { Padded(OnceCell::new()) }; MAX_CPUS]);

fn domain() -> &'static EpochDomain {
    DOMAIN.call_once(EpochDomain::new)
}

/// This processor's membership, made on first use.
fn member() -> &'static EpochCpu {
    MEMBERS.0[cpu_index()].0.get_or_init(|| domain().register())
}

/// The kernel's RCU.
#[derive(Debug)]
pub struct KernelRcu;

// SAFETY: one domain serves all sections and callbacks, and `EpochDomain` waits as `Rcu` demands.
unsafe impl Rcu for KernelRcu {
    type Guard = EpochGuard;

    fn read_lock() -> EpochGuard {
        member().read_lock()
    }

    fn call_rcu(callback: Callback) {
        #[cfg(feature = "mutants")]
        if crate::scheme::frees_early() {
            return callback.run();
        }
        member().call_rcu(callback);
    }
}

/// Enters a read-side section.
pub fn read_lock() -> EpochGuard {
    KernelRcu::read_lock()
}

/// Passes a quiescent state, and runs a batch of callbacks if one is ready. Where no lock is held.
#[inline]
pub fn quiesce() {
    member().quiesce();
}

/// System calls that return to user mode before one of them passes a quiescent state. A fork and the wait for it queue about four
/// callbacks in three calls, and a quiescent state runs up to 64.
const CALLS: u32 = 8;

struct Turns([Padded<AtomicU32>; MAX_CPUS]);

static TURNS: Turns = Turns([const { Padded(AtomicU32::new(0)) }; MAX_CPUS]);

/// Passes a quiescent state at every eighth call on this processor. For the way back from a system call, which is short.
#[inline]
pub fn quiesce_now_and_then() {
    // Plain loads and stores: a count that another processor's task takes part in, by being moved in between, is off by one.
    let turn = &TURNS.0[cpu_index()].0;
    let next = turn.load(Ordering::Relaxed).wrapping_add(1);
    turn.store(next, Ordering::Relaxed);
    if next.is_multiple_of(CALLS) {
        quiesce();
    }
}

/// Returns how many system calls have come to their end on this processor, about.
#[must_use]
pub fn calls_here() -> u64 {
    TURNS.0[cpu_index()].0.load(Ordering::Relaxed).into()
}

/// Helps grace periods on, runs all callbacks that are ready, and leaves none that only this processor
/// could see to. Where no lock is held; before a processor halts.
pub fn flush() {
    let member = member();
    loop {
        member.flush();
        // What has run may have queued more: a task's last reference may hold its process's last.
        if member.queued() == 0 {
            return;
        }
    }
}

/// Returns how many callbacks wait, on all processors.
#[must_use]
pub fn pending() -> u64 {
    domain().pending()
}

/// Waits until all callbacks queued before, on any processor, have run. Where no lock is held.
///
/// The other processors must come by [`quiesce`] or [`flush`] now and then.
///
/// # Errors
///
/// [`EpochError::InsideReadSection`].
pub fn barrier() -> Result<(), EpochError> {
    domain().barrier(member())
}
