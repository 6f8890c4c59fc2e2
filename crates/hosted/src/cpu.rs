//! A CPU, played by a thread: what is ambient in a kernel, in thread-locals.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use kernel_sync::atomic::{AtomicUsize, Ordering};
use kernel_sync::{Callback, Rcu};
use kernel_task::epoch::{EpochCpu, EpochDomain, EpochGuard};
use mm_generic::frames::Frame;

thread_local! {
    static RCU: RefCell<Option<Rc<EpochCpu>>> = const { RefCell::new(None) };
    static CR3: Cell<Option<Frame>> = const { Cell::new(None) };
    static FREES_EARLY: Cell<bool> = const { Cell::new(false) };
    static BEFORE_LOAD: RefCell<Option<BeforeLoad>> = const { RefCell::new(None) };
}

/// What a CPU does before it loads a root.
type BeforeLoad = Box<dyn Fn(Frame)>;

/// Makes this thread a CPU until the value is dropped.
pub struct HostCpu {
    rcu: Rc<EpochCpu>,
    outer: Option<Rc<EpochCpu>>,
}

impl HostCpu {
    /// Brings a CPU online in `domain`. A CPU that the thread played before is offline meanwhile.
    #[must_use]
    pub fn online(domain: &EpochDomain) -> Self {
        let rcu = Rc::new(domain.register());
        let outer = RCU.replace(Some(Rc::clone(&rcu)));
        CR3.set(None);
        Self { rcu, outer }
    }

    /// Makes RCU callbacks of this CPU run at once instead of after a grace period: a deliberate bug.
    pub fn free_early(&self) {
        FREES_EARLY.set(true);
    }

    /// Makes this CPU call `hook` with each root before it loads it, as a kernel's `load_pgd` notes what it is about
    /// to load for the sake of TLB shoot-down.
    pub fn before_load(&self, hook: impl Fn(Frame) + 'static) {
        BEFORE_LOAD.set(Some(Box::new(hook)));
    }

    /// RCU on this CPU.
    #[must_use]
    pub fn rcu(&self) -> &EpochCpu {
        &self.rcu
    }

    /// The root this CPU translates through.
    ///
    /// # Panics
    ///
    /// When nothing has been loaded yet.
    #[must_use]
    pub fn cr3(&self) -> u64 {
        CR3.get().expect("a PGD has been loaded").phys()
    }
}

impl Drop for HostCpu {
    fn drop(&mut self) {
        RCU.set(self.outer.take());
        FREES_EARLY.set(false);
        BEFORE_LOAD.set(None);
    }
}

/// The number of the CPU that this thread plays, for choosing a cache: threads are numbered as they first ask.
#[must_use]
pub fn this_cpu() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static NUMBER: Cell<usize> = const { Cell::new(usize::MAX) });
    if NUMBER.get() == usize::MAX {
        NUMBER.set(NEXT.fetch_add(1, Ordering::Relaxed));
    }
    NUMBER.get()
}

/// Loads `root` on the CPU that this thread plays.
pub(crate) fn write_cr3(root: Frame) {
    BEFORE_LOAD.with_borrow(|hook| {
        if let Some(hook) = hook {
            hook(root);
        }
    });
    CR3.set(Some(root));
}

/// The RCU of the CPU that this thread plays.
pub struct HostRcu;

fn rcu_of_this_cpu() -> Rc<EpochCpu> {
    RCU.with_borrow(|rcu| Rc::clone(rcu.as_ref().expect("this thread plays a CPU")))
}

// SAFETY: `EpochCpu` keeps the promises of `Rcu`; a CPU that was told to free early breaks them on purpose.
unsafe impl Rcu for HostRcu {
    type Guard = EpochGuard;

    fn read_lock() -> EpochGuard {
        RCU.with_borrow(|rcu| rcu.as_ref().expect("this thread plays a CPU").read_lock())
    }

    fn call_rcu(callback: Callback) {
        if FREES_EARLY.get() {
            callback.run();
        } else {
            rcu_of_this_cpu().call_rcu(callback);
        }
    }
}
