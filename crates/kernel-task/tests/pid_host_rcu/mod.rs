//! RCU of the host: threads stand for CPUs, and each test binary is one domain.

use std::cell::RefCell;
use std::sync::LazyLock;

use kernel_sync::{Callback, Rcu, RcuArc};
use kernel_task::epoch::{EpochCpu, EpochDomain, EpochGuard};

static DOMAIN: LazyLock<EpochDomain> = LazyLock::new(EpochDomain::new);

thread_local! {
    static CPU: RefCell<Option<EpochCpu>> = RefCell::new(Some(DOMAIN.register()));
}

/// The calling thread's membership in the domain.
pub(crate) struct HostRcu;

impl HostRcu {
    fn with<V>(then: impl FnOnce(&EpochCpu) -> V) -> V {
        CPU.with_borrow(|cpu| then(cpu.as_ref().expect("this thread has not left")))
    }

    /// Runs what is ready, as a CPU does on its way to user mode.
    pub(crate) fn quiesce() {
        Self::with(EpochCpu::quiesce);
    }

    /// Takes this thread offline and leaves its callbacks to the others. Explicit, because a scoped
    /// thread counts as ended before its thread locals are dropped.
    pub(crate) fn leave() {
        drop(CPU.take());
    }

    /// Waits until everything queued by any thread has run.
    pub(crate) fn barrier() {
        Self::with(|cpu| DOMAIN.barrier(cpu)).expect("no guard is held here");
    }
}

/// Makes a task.
pub(crate) fn task<T: Send + Sync>(value: T) -> RcuArc<T, HostRcu> {
    RcuArc::try_new(value).expect("heap")
}

// SAFETY: all sections and callbacks of this process belong to `DOMAIN`, and `EpochDomain` runs a
// callback only after every section that existed when it was queued has ended.
unsafe impl Rcu for HostRcu {
    type Guard = EpochGuard;

    fn read_lock() -> EpochGuard {
        Self::with(EpochCpu::read_lock)
    }

    fn call_rcu(callback: Callback) {
        Self::with(|cpu| cpu.call_rcu(callback));
    }
}
