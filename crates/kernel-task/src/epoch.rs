//! Read-copy update from epochs: an implementation of [`Rcu`](kernel_sync::Rcu) for a kernel and for a host.
//!
//! Grace periods are `crossbeam-epoch`'s: a CPU enters a read-side section by publishing the global
//! epoch as its own, and the epoch advances when no CPU is left in an older one. What was unlinked
//! two epochs ago, nobody can hold. This file adds what a kernel needs around that: callbacks that
//! run at a place the kernel chooses, a count of them that no fork pays for, and a barrier.
//!
//! # States of a callback
//!
//! ```text
//! queued ----------> sealed ----------> ready ----------> run
//!        64 of them,        two epochs         quiesce(), flush()
//!        flush(), or a      later              or barrier()
//!        barrier waits                         of any CPU
//! ```
//!
//! - *Queued*: in the CPU's open batch. [`EpochCpu::call_rcu`] touches memory of this CPU only.
//! - *Sealed*: the batch went to the epoch collector as one item; its grace period begins. Shared
//!   lines are written once per batch, 64 callbacks.
//! - *Ready*: the grace period is over. The collector notices that in whatever CPU happens to enter a
//!   section or to seal, maybe with locks held; all it does there is to put the batch on a list.
//! - *Run*: by a CPU that calls [`EpochCpu::quiesce`] or the like, which a kernel does where it holds
//!   no lock: on the way back to user mode, in the idle loop. Running callbacks right where the
//!   collector finds them ready would be simpler and would deadlock: entering a section under a
//!   spin lock could run a callback that takes this lock.
//!
//! So nothing is ever freed on a machine where no CPU quiesces. [`EpochDomain::pending`] shows it.
//!
//! # Generations
//!
//! [`EpochDomain::barrier`] must wait for callbacks queued before it, on all CPUs, while new ones
//! keep coming. Each batch belongs to a generation, read when its first callback is queued, and is
//! counted by whether that is even or odd. The barrier waits until none of the *other* parity is
//! pending, advances the generation, and waits until none of the *old* parity is pending. Both
//! parities were empty once after the barrier began, so all earlier callbacks have run, whatever
//! generation their CPU believed in. New ones go to the parity that is not waited for, so it ends.
//! (Linux's SRCU flips twice for the same reason.)
//!
//! Another CPU's open batch cannot be taken from it. It seals the batch itself when it quiesces or
//! queues and finds that the generation has moved.
//!
//! # A full barrier that must not be relied on
//!
//! Entering a section executes a full barrier (on x86 a locked compare-exchange). A walker's own
//! barrier is therefore redundant on paper if the guard is taken *between* the store that it
//! publishes and the walk, and its absence would go unnoticed in every test. Growth takes the guard
//! **before** it stores the reference entry, and then executes the barrier of the protocol. `call_rcu`
//! promises no barrier at all.
//!
//! # Interrupts, loom
//!
//! An [`EpochCpu`] is not reentrant. A kernel uses it with interrupts off, or not from interrupt
//! handlers. Under `--cfg loom` this module compiles, but the epochs are invisible to the checker;
//! models bring an `Rcu` of their own.
//!
//! # Example
//!
//! [`Rcu`](kernel_sync::Rcu) has no receiver: a kernel finds the current CPU's [`EpochCpu`] in its per-CPU area. On a
//! host, threads stand for CPUs:
//!
//! ```
//! # #[cfg(not(loom))] {
//! use kernel_sync::Rcu;
//! use kernel_task::epoch::{EpochCpu, EpochDomain, EpochGuard};
//! use std::sync::LazyLock;
//!
//! static DOMAIN: LazyLock<EpochDomain> = LazyLock::new(EpochDomain::new);
//! thread_local! { static CPU: EpochCpu = DOMAIN.register(); }
//!
//! struct HostRcu;
//!
//! // SAFETY: one domain serves all sections and all callbacks; `EpochDomain` waits as `Rcu` demands.
//! unsafe impl Rcu for HostRcu {
//!     type Guard = EpochGuard;
//!
//!     fn read_lock() -> EpochGuard {
//!         CPU.with(EpochCpu::read_lock)
//!     }
//!
//!     fn call_rcu(callback: impl FnOnce() + Send + 'static) {
//!         CPU.with(|cpu| cpu.call_rcu(callback));
//!     }
//! }
//!
//! let guard = HostRcu::read_lock();
//! HostRcu::call_rcu(|| println!("the section is over"));
//! assert_eq!(DOMAIN.pending(), 1);
//! drop(guard);
//! CPU.with(|cpu| DOMAIN.barrier(cpu)).expect("not inside a section");
//! assert_eq!(DOMAIN.pending(), 0);
//! # }
//! ```

mod callback;
mod error;
mod ready;
mod tally;

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::fmt;
use core::mem;

use crossbeam_epoch::{Collector, Guard, LocalHandle};
use kernel_sync::atomic::{AtomicBool, AtomicU64, Ordering};
use kernel_sync::{Mutex, cpu_relax};

use callback::Callback;
use ready::{BATCH, Batch, Ready};
use tally::{Parity, Tallies, Tally};

pub use error::EpochError;

/// RCU domain: read-side sections and the callbacks that wait for them. One per kernel instance.
///
/// When the domain, its CPUs and all guards are gone, the last to go runs the callbacks that are left.
pub struct EpochDomain {
    collector: Collector,
    shared: Arc<Shared>,
}

/// What the CPUs of a domain share. Does not own the collector: sealed batches in the collector own
/// this, and it runs the last callbacks when the last of them is gone.
struct Shared {
    generation: Generation,
    ready: Ready,
    tallies: Tallies,
    /// Held by a barrier; the generation changes only under it.
    barrier: Mutex<()>,
}

/// The generation, on lines of its own: CPUs read it often, and only barriers write it.
#[repr(align(128))]
struct Generation(AtomicU64);

impl EpochDomain {
    /// Makes a domain without CPUs.
    #[must_use]
    pub fn new() -> Self {
        Self {
            collector: Collector::new(),
            shared: Arc::new(Shared {
                generation: Generation(AtomicU64::new(0)),
                ready: Ready::new(),
                tallies: Tallies::new(),
                barrier: Mutex::new(()),
            }),
        }
    }

    /// Registers the calling CPU (or thread). To be called once for each, when it comes online; the
    /// CPU leaves when the value is dropped.
    #[must_use]
    pub fn register(&self) -> EpochCpu {
        EpochCpu {
            sections: self.collector.register(),
            tally: self.shared.tallies.register(),
            shared: Arc::clone(&self.shared),
            open: RefCell::new(Vec::new()),
            open_since: Cell::new(None),
        }
    }

    /// Returns how many callbacks are queued on all CPUs and have not run.
    ///
    /// May be too high while CPUs queue and run, because it sums counters of all of them. Zero is
    /// exact: at some moment of the call nothing was pending.
    #[must_use]
    pub fn pending(&self) -> u64 {
        self.shared.tallies.pending(&[Parity::Even, Parity::Odd])
    }

    /// Waits until every callback that was queued before this call, on any CPU, has run. Linux's
    /// `rcu_barrier()`.
    ///
    /// Runs callbacks on `cpu`, the calling CPU's registration; so the caller holds no lock that a
    /// callback may take. It ends when each other CPU has left the sections it is in, has once
    /// quiesced, queued, flushed or left the domain if it had callbacks queued, and has finished the
    /// callbacks it is running. A callback must not call it.
    ///
    /// What those callbacks queue in turn is not waited for (a task's last reference may hold the last
    /// one of an mm). A shutdown repeats the call until [`EpochDomain::pending`] is zero.
    ///
    /// # Errors
    ///
    /// - [`EpochError::InsideReadSection`] if this CPU holds a guard.
    /// - [`EpochError::OtherDomain`] if `cpu` is not registered here.
    pub fn barrier(&self, cpu: &EpochCpu) -> Result<(), EpochError> {
        if !Arc::ptr_eq(&self.shared, &cpu.shared) {
            return Err(EpochError::OtherDomain);
        }
        cpu.outside_sections()?;
        let shared = &*self.shared;
        // Not a waiting lock: the barrier that holds it may be waiting for our batch.
        let _one_at_a_time = loop {
            match shared.barrier.try_lock() {
                Some(held) => break held,
                None => cpu.flush(),
            }
        };
        let generation = shared.generation.0.load(Ordering::Relaxed);
        let current = Parity::of(generation);
        cpu.run_until_none_pending(current.other());
        // Relaxed: nothing hangs on when a CPU sees it, except how long the wait below takes.
        shared.generation.0.store(generation + 1, Ordering::Relaxed);
        cpu.run_until_none_pending(current);
        Ok(())
    }
}

impl Default for EpochDomain {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for EpochDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EpochDomain").field("pending", &self.pending()).finish_non_exhaustive()
    }
}

/// Membership of one CPU in a domain; lives in the CPU's per-CPU area and stays on that CPU.
///
/// ```compile_fail,E0277
/// fn to_another_cpu<T: Send>() {}
/// to_another_cpu::<kernel_task::epoch::EpochCpu>();
/// ```
///
/// Dropping it takes the CPU offline: its open batch is sealed and will be run by the others, or when
/// the domain is dropped. Guards may outlive it.
pub struct EpochCpu {
    sections: LocalHandle,
    tally: Arc<Tally>,
    /// Callbacks of the open batch.
    open: RefCell<Vec<Callback>>,
    /// Generation of the open batch; `None` while it is empty.
    open_since: Cell<Option<u64>>,
    shared: Arc<Shared>,
}

impl EpochCpu {
    /// Enters a read-side section; it ends when the guard is dropped. Sections nest.
    ///
    /// Executes a full barrier, which no protocol should rely on: see the head of this file.
    #[must_use = "the section ends when the guard is dropped"]
    pub fn read_lock(&self) -> EpochGuard {
        EpochGuard { _section: self.sections.pin() }
    }

    /// Queues `callback`, to run after a grace period on whichever CPU quiesces then.
    ///
    /// The callback runs outside of every section and of every lock of this caller. It may queue
    /// callbacks. It must not panic, which would lose the rest of its batch.
    ///
    /// Allocates a box if the closure captures more than three words, 2 KiB once in 64 calls if this CPU
    /// ran no batch meanwhile, and a node in the collector when the batch is sealed. An exhausted heap
    /// aborts there, as everywhere in `alloc`: a kernel keeps a reserve for it, since freeing memory is
    /// what this is for.
    pub fn call_rcu(&self, callback: impl FnOnce() + Send + 'static) {
        let generation = match self.open_since.get() {
            Some(generation) => generation,
            None => {
                // Relaxed: an old value is as good, see the head of this file.
                let generation = self.shared.generation.0.load(Ordering::Relaxed);
                self.open.borrow_mut().reserve_exact(BATCH);
                self.open_since.set(Some(generation));
                generation
            }
        };
        self.tally.queued(Parity::of(generation));
        let queued = {
            let mut open = self.open.borrow_mut();
            open.push(Callback::new(callback));
            open.len()
        };
        if queued >= BATCH || self.barrier_waits() {
            self.seal();
        }
    }

    /// Passes a quiescent state: runs at most one batch of callbacks that are ready, and seals the
    /// open batch if a barrier waits for it.
    ///
    /// For the places a CPU comes by all the time without holding a lock, such as the return to user
    /// mode. Where there is nothing to do, it is two loads of lines that are seldom written. Inside a
    /// read-side section it runs nothing: whoever holds a guard is in the middle of something.
    pub fn quiesce(&self) {
        if self.barrier_waits() {
            self.seal();
        }
        self.run_one();
    }

    /// Seals the open batch, helps the epoch on, and runs all callbacks that are ready.
    ///
    /// For a CPU that goes idle, and for whoever is short of memory. Holding no lock, as for
    /// [`EpochCpu::quiesce`]. One call advances by at most one of the two epochs that make a grace
    /// period; to wait for the end of it, there is [`EpochDomain::barrier`].
    pub fn flush(&self) {
        self.seal();
        self.sections.pin().flush();
        while self.run_one() {}
    }

    /// Returns how many callbacks are in this CPU's open batch.
    ///
    /// Nobody else can seal them, and what [`EpochCpu::flush`] runs may queue more. A CPU that is about to
    /// halt flushes until this is zero; otherwise the callbacks wait, and a barrier with them, until it wakes.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.open.borrow().len()
    }

    /// Waits until every read-side section that existed at the call, on any CPU, has ended. Linux's
    /// `synchronize_rcu()`. Runs no callbacks, so locks may be held, unless a section waits for them.
    ///
    /// # Errors
    ///
    /// [`EpochError::InsideReadSection`] if this CPU holds a guard.
    pub fn synchronize(&self) -> Result<(), EpochError> {
        self.outside_sections()?;
        let over = Arc::new(AtomicBool::new(false));
        let signal = Arc::clone(&over);
        // Release: what the sections did happens before what our caller does next.
        self.sections.pin().defer(move || signal.store(true, Ordering::Release));
        while !over.load(Ordering::Acquire) {
            self.sections.pin().flush();
            cpu_relax();
        }
        Ok(())
    }

    /// Says whether the open batch is of an older generation, which only a barrier makes it.
    fn barrier_waits(&self) -> bool {
        self.open_since
            .get()
            .is_some_and(|since| since != self.shared.generation.0.load(Ordering::Relaxed))
    }

    /// Hands the open batch to the collector: its grace period begins.
    fn seal(&self) {
        let Some(generation) = self.open_since.take() else { return };
        let callbacks = mem::take(&mut *self.open.borrow_mut());
        let batch = Batch { parity: Parity::of(generation), callbacks };
        let shared = Arc::clone(&self.shared);
        let section = self.sections.pin();
        // Runs wherever the collector finds the grace period over, maybe under a lock: no callback
        // is called here.
        section.defer(move || shared.ready.push(batch));
        // The collector batches as well, but 64 of our batches are far too many to wait for.
        section.flush();
    }

    /// Runs the oldest batch that is ready; false if there was none, or inside a section.
    fn run_one(&self) -> bool {
        if self.sections.is_pinned() {
            return false;
        }
        let Some(Batch { parity, mut callbacks }) = self.shared.ready.pop() else { return false };
        for callback in callbacks.drain(..) {
            callback.run();
            self.tally.ran(parity);
        }
        // The memory of the batch serves for the next one, so that in the steady state none is
        // allocated.
        let mut open = self.open.borrow_mut();
        if open.capacity() == 0 {
            *open = callbacks;
        }
        true
    }

    /// Flushes until no callback of this parity is left on any CPU.
    fn run_until_none_pending(&self, parity: Parity) {
        loop {
            self.flush();
            if self.shared.tallies.pending(&[parity]) == 0 {
                return;
            }
            cpu_relax();
        }
    }

    fn outside_sections(&self) -> Result<(), EpochError> {
        if self.sections.is_pinned() { Err(EpochError::InsideReadSection) } else { Ok(()) }
    }
}

impl Drop for EpochCpu {
    fn drop(&mut self) {
        self.seal();
        self.tally.release();
    }
}

impl fmt::Debug for EpochCpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EpochCpu")
            .field("queued", &self.open.borrow().len())
            .field("inside_section", &self.sections.is_pinned())
            .finish_non_exhaustive()
    }
}

/// Evidence of being inside a read-side section. Stays on the CPU that entered it.
///
/// ```compile_fail,E0277
/// fn to_another_cpu<T: Send>() {}
/// to_another_cpu::<kernel_task::epoch::EpochGuard>();
/// ```
#[must_use = "the section ends when the guard is dropped"]
pub struct EpochGuard {
    _section: Guard,
}

impl fmt::Debug for EpochGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EpochGuard").finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use alloc::sync::Arc;

    use kernel_sync::atomic::{AtomicBool, Ordering};

    use super::EpochDomain;

    /// A CPU read the generation, a whole barrier passed, and then the CPU queued. The next barrier
    /// finds the callback under the parity that it takes for done with.
    #[test]
    fn barrier_waits_for_a_callback_of_a_stale_generation() {
        let domain = EpochDomain::new();
        let cpu = domain.register();
        domain.shared.generation.0.store(1, Ordering::Relaxed);
        cpu.open_since.set(Some(0));
        let ran = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&ran);
        cpu.call_rcu(move || flag.store(true, Ordering::Relaxed));
        domain.barrier(&cpu).expect("outside sections");
        assert!(ran.load(Ordering::Relaxed));
    }
}
