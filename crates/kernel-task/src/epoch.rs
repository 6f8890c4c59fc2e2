//! Read-copy update from epochs: an implementation of [`Rcu`](kernel_sync::Rcu) for a kernel and for a host.
//!
//! Grace periods come from epochs (`epoch/section.rs` walks the race): a CPU announces the epoch in which it entered
//! a section, and the epoch advances when no CPU is left in an older one. What was unlinked two
//! epochs ago, nobody can hold.
//!
//! # Callbacks stay on their CPU
//!
//! A callback frees memory that its CPU allocated, as a rule, and will allocate again. Run elsewhere, it would carry the
//! memory, line by line, to the other CPU's free lists, and two CPUs that fork would forever write what the other has
//! in its cache: that is how this module worked once, and two threads forked no faster than one. So callbacks stay where they were
//! queued, and a CPU runs its own. It gives them away when it cannot be counted on:
//!
//! ```text
//!         64 of them,          two epochs
//!         a barrier, flush()   later
//! queued ----------> sealed ------------------> run, by the CPU itself, in quiesce()
//!                      |
//!                      | flush() before the CPU goes idle, the CPU leaves, or a barrier waits
//!                      v        two epochs later
//!                    common -------------------> run, by any CPU, in quiesce(), flush() or barrier()
//! ```
//!
//! - *Queued*: in the CPU's open batch. [`EpochCpu::call_rcu`] touches memory of this CPU only, and allocates none: a callback
//!   is linked through the object that it ends.
//! - *Sealed*: with what else was sealed in this epoch (`epoch/waiting.rs`); the grace period begins. Nothing shared is written; the
//!   epoch is read.
//! - *Run*: by a CPU that calls [`EpochCpu::quiesce`] or the like, which a kernel does where it holds
//!   no lock: on the way back to user mode, in the idle loop. Running callbacks in `call_rcu` or on entry to a
//!   section would be simpler and would deadlock: a callback may take a lock that its caller holds.
//!
//! So nothing is ever freed on a machine where no CPU quiesces. [`EpochDomain::pending`] shows it.
//!
//! # Who advances the epoch
//!
//! A CPU with sealed callbacks looks at the epoch when it quiesces, and advances it only if it has not moved since its last
//! look. One CPU alone thus waits for three of its own quiescent states; where many wait, some other has
//! moved it, and the line is written once for all of them. An advance reads one line of each CPU, which
//! changes only where sections come and go.
//!
//! # Generations
//!
//! [`EpochDomain::barrier`] must wait for callbacks queued before it, on all CPUs, while new ones
//! keep coming. Each batch belongs to a generation, read when its first callback is queued; what is kept of that, and
//! counted by, is whether it is even or odd. The barrier waits until none of the *other* parity is
//! pending, advances the generation, and waits until none of the *old* parity is pending. Both
//! parities were empty once after the barrier began, so all earlier callbacks have run, whatever
//! generation their CPU believed in. New ones go to the parity that is not waited for, so it ends.
//! (Linux's SRCU flips twice for the same reason.)
//!
//! Another CPU's callbacks cannot be taken from it. It seals and hands them over itself when it quiesces or
//! queues and finds that it has some of the parity that the generation has not.
//!
//! # A full barrier that must not be relied on
//!
//! Entering a section executes a full barrier. A walker's own
//! barrier is therefore redundant on paper if the guard is taken *between* the store that it
//! publishes and the walk, and its absence would go unnoticed in every test. Growth takes the guard
//! **before** it stores the reference entry, and then executes the barrier of the protocol. `call_rcu`
//! promises no barrier at all.
//!
//! # Interrupts, loom
//!
//! An [`EpochCpu`] is not reentrant. A kernel uses it with interrupts off, or not from interrupt
//! handlers. Under `--cfg loom` the checker explores this module (`tests/epoch_loom.rs`); models of what is built on
//! RCU bring a simpler `Rcu` of their own.
//!
//! # Example
//!
//! [`Rcu`](kernel_sync::Rcu) has no receiver: a kernel finds the current CPU's [`EpochCpu`] in its per-CPU area. On a
//! host, threads stand for CPUs:
//!
//! ```
//! # #[cfg(not(loom))] {
//! use kernel_sync::{Callback, Rcu};
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
//!     fn call_rcu(callback: Callback) {
//!         CPU.with(|cpu| cpu.call_rcu(callback));
//!     }
//! }
//!
//! let guard = HostRcu::read_lock();
//! HostRcu::call_rcu(Callback::try_new(|| println!("the section is over")).expect("heap"));
//! assert_eq!(DOMAIN.pending(), 1);
//! drop(guard);
//! CPU.with(|cpu| DOMAIN.barrier(cpu)).expect("not inside a section");
//! assert_eq!(DOMAIN.pending(), 0);
//! # }
//! ```

mod error;
mod local;
mod member;
mod section;
mod shared;
mod waiting;
#[cfg(loom)]
pub mod weakened;

use alloc::rc::Rc;
use alloc::sync::Arc;
use core::cell::{Cell, RefCell};
use core::fmt;

use kernel_sync::atomic::Ordering;
use kernel_sync::{Callback, CallbackQueue, cpu_relax};

use local::Local;
use member::Parity;
use section::Epoch;
use shared::Shared;
use waiting::{BATCH, Waiting};

pub use error::EpochError;
#[cfg(loom)]
pub use weakened::Barrier;

/// RCU domain: read-side sections and the callbacks that wait for them. One per kernel instance.
///
/// When the domain, its CPUs and all guards are gone, the last to go runs the callbacks that are left.
pub struct EpochDomain {
    shared: Arc<Shared>,
}

impl EpochDomain {
    /// Makes a domain without CPUs.
    #[must_use]
    pub fn new() -> Self {
        Self { shared: Arc::new(Shared::new()) }
    }

    /// Registers the calling CPU (or thread). To be called once for each, when it comes online; the
    /// CPU leaves when the value is dropped.
    #[must_use]
    pub fn register(&self) -> EpochCpu {
        EpochCpu {
            local: Rc::new(Local::new(Arc::clone(&self.shared))),
            open: RefCell::default(),
            open_parity: Cell::new(None),
            sealed: RefCell::default(),
            last_look: Cell::new(None),
        }
    }

    /// Returns how many callbacks are queued on all CPUs and have not run.
    ///
    /// May be too high while CPUs queue and run, because it sums counters of all of them. Zero is
    /// exact: at some moment of the call nothing was pending.
    #[must_use]
    pub fn pending(&self) -> u64 {
        self.shared.members.pending(&[Parity::Even, Parity::Odd])
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
        if !Arc::ptr_eq(&self.shared, &cpu.local.shared) {
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
/// Dropping it takes the CPU offline: its callbacks will be run by the others, or when the domain is
/// dropped. Guards may outlive it.
pub struct EpochCpu {
    local: Rc<Local>,
    /// Callbacks of the open batch.
    open: RefCell<CallbackQueue>,
    /// Parity of the open batch's generation; `None` while it is empty.
    open_parity: Cell<Option<Parity>>,
    /// Callbacks that wait for their grace period here.
    sealed: RefCell<Waiting>,
    /// The epoch at the last look, while something waits for it.
    last_look: Cell<Option<Epoch>>,
}

impl EpochCpu {
    /// Enters a read-side section; it ends when the guard is dropped. Sections nest.
    ///
    /// Executes a full barrier, which no protocol should rely on: see the head of this file.
    #[must_use = "the section ends when the guard is dropped"]
    pub fn read_lock(&self) -> EpochGuard {
        self.local.enter();
        EpochGuard { local: Rc::clone(&self.local) }
    }

    /// Queues `callback`, to run after a grace period, on this CPU as a rule.
    ///
    /// The callback runs outside of every section and of every lock of this caller. It may queue
    /// callbacks. It must not panic, which would lose the rest of its batch. Nothing is allocated.
    pub fn call_rcu(&self, callback: Callback) {
        let parity = match self.open_parity.get() {
            Some(parity) => parity,
            None => {
                let parity = Parity::of(self.generation());
                self.open_parity.set(Some(parity));
                parity
            }
        };
        self.local.member.queued(parity);
        let queued = {
            let mut open = self.open.borrow_mut();
            open.push(callback);
            open.len()
        };
        if queued >= BATCH {
            self.seal();
        }
        if self.barrier_waits() {
            self.hand_over();
        }
    }

    /// Passes a quiescent state: runs at most one batch of callbacks whose grace period is over, and hands
    /// this CPU's callbacks over if a barrier waits for them.
    ///
    /// For the places a CPU comes by all the time without holding a lock, such as the return to user
    /// mode. Where there is nothing to do, it is two loads of lines that are seldom written. Inside a
    /// read-side section it runs nothing: whoever holds a guard is in the middle of something.
    pub fn quiesce(&self) {
        if self.barrier_waits() {
            self.hand_over();
        }
        let own = self.sealed.borrow().oldest();
        let common = self.local.shared.common.oldest();
        if own.is_none() && common.is_none() {
            return;
        }
        let mut now = self.local.shared.epoch.load();
        let over = |sealed_in: Option<Epoch>| sealed_in.is_some_and(|it| it.is_over_by(now));
        if !over(own) && !over(common) && self.last_look.replace(Some(now)) == Some(now) {
            now = self.local.shared.members.advance(&self.local.shared.epoch);
            self.last_look.set(Some(now));
        }
        self.run_one(now);
    }

    /// Hands this CPU's callbacks over, helps the epoch on, and runs all callbacks whose grace period is over.
    ///
    /// For a CPU that goes idle, and for whoever is short of memory. Holding no lock, as for
    /// [`EpochCpu::quiesce`]. One call advances by at most one of the two epochs that make a grace
    /// period; to wait for the end of it, there is [`EpochDomain::barrier`].
    pub fn flush(&self) {
        self.hand_over();
        let now = self.local.shared.members.advance(&self.local.shared.epoch);
        while self.run_one(now) {}
        // What has run may have filled a batch.
        self.hand_over_sealed();
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
        let shared = &self.local.shared;
        let since = shared.epoch.seal();
        while !since.is_over_by(shared.members.advance(&shared.epoch)) {
            cpu_relax();
        }
        Ok(())
    }

    fn generation(&self) -> u64 {
        // Relaxed: an old value is as good, see the head of this file.
        self.local.shared.generation.0.load(Ordering::Relaxed)
    }

    /// Says whether this CPU has callbacks of an older generation, which only a barrier makes them.
    fn barrier_waits(&self) -> bool {
        let older = Parity::of(self.generation()).other();
        self.open_parity.get() == Some(older) || self.sealed.borrow().has(older)
    }

    /// Closes the open batch: its grace period begins.
    fn seal(&self) {
        let Some(parity) = self.open_parity.take() else { return };
        let callbacks = self.open.take();
        let sealed_in = self.local.shared.epoch.seal();
        self.sealed.borrow_mut().add(sealed_in, parity, callbacks);
    }

    /// Seals the open batch and lets any CPU run it, and the ones before it.
    fn hand_over(&self) {
        self.seal();
        self.hand_over_sealed();
    }

    fn hand_over_sealed(&self) {
        let sealed = self.sealed.take();
        if sealed.oldest().is_some() {
            self.local.shared.common.add_all(sealed);
        }
    }

    /// Runs a batch of callbacks whose grace period is over, of this CPU or else of the common ones; false if
    /// there was none, or inside a section.
    fn run_one(&self, now: Epoch) -> bool {
        if self.local.is_inside() {
            return false;
        }
        let own = self.sealed.borrow_mut().take_over(now);
        let batch = own.or_else(|| self.local.shared.common.take_over(now));
        let Some((parity, mut callbacks)) = batch else { return false };
        while let Some(callback) = callbacks.pop() {
            callback.run();
            self.local.member.ran(parity);
        }
        true
    }

    /// Flushes until no callback of this parity is left on any CPU.
    fn run_until_none_pending(&self, parity: Parity) {
        loop {
            self.flush();
            if self.local.shared.members.pending(&[parity]) == 0 {
                return;
            }
            cpu_relax();
        }
    }

    fn outside_sections(&self) -> Result<(), EpochError> {
        if self.local.is_inside() { Err(EpochError::InsideReadSection) } else { Ok(()) }
    }
}

impl Drop for EpochCpu {
    fn drop(&mut self) {
        self.hand_over();
    }
}

impl fmt::Debug for EpochCpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EpochCpu")
            .field("queued", &self.open.borrow().len())
            .field("inside_section", &self.local.is_inside())
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
    local: Rc<Local>,
}

impl Drop for EpochGuard {
    fn drop(&mut self) {
        self.local.leave();
    }
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

    use kernel_sync::Callback;

    use super::EpochDomain;
    use super::member::Parity;

    /// A CPU read the generation, a whole barrier passed, and then the CPU queued. The next barrier
    /// finds the callback under the parity that it takes for done with.
    #[test]
    fn barrier_waits_for_a_callback_of_a_stale_generation() {
        let domain = EpochDomain::new();
        let cpu = domain.register();
        domain.shared.generation.0.store(1, Ordering::Relaxed);
        cpu.open_parity.set(Some(Parity::Even));
        let ran = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&ran);
        let raise = move || flag.store(true, Ordering::Relaxed);
        cpu.call_rcu(Callback::try_new(raise).expect("heap"));
        domain.barrier(&cpu).expect("outside sections");
        assert!(ran.load(Ordering::Relaxed));
    }
}
