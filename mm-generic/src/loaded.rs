//! Which mm each CPU has loaded: `switch_mm`, lazy TLB, and what walkers see of it.
//!
//! A CPU goes on translating through a PGD after the task that owned it has let it go: an exiting
//! task runs on it to its end, and kernel threads borrow it until a user task comes (lazy TLB). So
//! the CPU holds a reference of its own, and a growth visits every CPU's [`LoadedMm`] after it has visited the tasks.
//!
//! # Why no barrier stands here
//!
//! CPU A runs task T on mm M, T exits and A stays on M. CPU B grows. B visits tasks first and finds
//! T without mm (or gone). T gave M up, by a release store or an unlock, after A had stored M in
//! its `LoadedMm`; B read that, by an acquire load or a lock, before it reads A's `LoadedMm`. So B finds
//! M there, or finds that A has moved on and needs M no more. And while A moves from one mm to
//! the next, PGD first and `LoadedMm` second, the next one is held by its task, where B finds it.

use kernel_sync::atomic::{AtomicPtr, Ordering};

use crate::arch::ArchPgd;
use crate::init_mm::InitMm;
use crate::kernel::{Kernel, RcuGuard};
use crate::mm::{Mm, MmRef};
use crate::publish::ReadyMm;

/// The mm whose PGD a CPU has loaded. One per CPU.
pub struct LoadedMm<K: Kernel> {
    /// An `MmRef` given up by `into_raw`, or null when the CPU is on the reference PGD.
    mm: AtomicPtr<Mm<K>>,
}

impl<K: Kernel> Default for LoadedMm<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Kernel> LoadedMm<K> {
    /// A CPU on the reference PGD, as it comes out of boot.
    #[must_use]
    pub fn new() -> Self {
        Self { mm: AtomicPtr::new(core::ptr::null_mut()) }
    }

    /// Loads `next` on this CPU, unless it is loaded already.
    ///
    /// A switch to a kernel thread calls nothing: the thread borrows what is loaded.
    ///
    /// # Safety
    ///
    /// Called on the CPU that owns this `LoadedMm`, with preemption off, and a task holds `next` as
    /// its mm until this returns.
    pub unsafe fn switch_mm(&self, next: ReadyMm<K>) {
        let next = next.into_ref();
        if core::ptr::eq(self.mm.load(Ordering::Relaxed), &raw const *next) {
            return;
        }
        // SAFETY: the mm is ready, and preemption is off.
        unsafe { K::load_pgd(next.root()) };
        // After the load: until here the CPU may still translate through the previous PGD, and a
        // walker must find that one here. The next one is found through its task.
        self.announce(next.into_raw());
    }

    /// Loads the reference PGD on this CPU (`leave_mm`): it borrows no mm any more.
    ///
    /// # Safety
    ///
    /// Called on the CPU that owns this `LoadedMm`, with preemption off.
    pub unsafe fn leave_mm(&self, init_mm: &InitMm<K>) {
        // SAFETY: the reference PGD, with preemption off.
        unsafe { K::load_pgd(init_mm.arch().reference_root()) };
        self.announce(core::ptr::null_mut());
    }

    /// The mm this CPU has loaded, for as long as the guard lives; `None` on the reference PGD.
    ///
    /// Read from another CPU, the answer may be old by the time it is used.
    pub fn get<'rcu>(&self, _rcu: &'rcu RcuGuard<K>) -> Option<&'rcu Mm<K>> {
        // SAFETY: null, or an `MmRef` of this CPU's that may be dropped at once; the mm's memory
        // then lives for a grace period, and so as long as the guard.
        unsafe { self.mm.load(Ordering::Acquire).as_ref() }
    }

    /// Makes `next` what walkers find here, and drops what they found before.
    fn announce(&self, next: *mut Mm<K>) {
        // The owning CPU is the only writer.
        let previous = self.mm.load(Ordering::Relaxed);
        self.mm.store(next, Ordering::Release);
        if !previous.is_null() {
            // SAFETY: stored by this method from `into_raw`, and no longer there.
            drop(unsafe { MmRef::from_raw(previous) });
        }
    }
}

impl<K: Kernel> Drop for LoadedMm<K> {
    fn drop(&mut self) {
        self.announce(core::ptr::null_mut());
    }
}
