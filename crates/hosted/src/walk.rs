//! Either way to find mms, chosen when the kernel boots.
//!
//! One type for both: kernels of different types are different copies of all code, which the compiler does not treat alike, and a
//! storm would have to be compiled twice for each geometry.

use kernel_sync::OutOfHeap;
use kernel_task::kernel::TaskKernel;
use kernel_task::mm_list::{MmList, MmPlace};
use kernel_task::tasks::Tasks;
use mm_generic::kernel::RcuGuard;
use mm_generic::mm::Mm;
use mm_generic::walk::{Place, Walkers};

use crate::cpu::this_cpu;

/// How walks find mms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Walk {
    /// Through tasks and CPUs.
    ThroughTasks,
    /// Over a list of mms.
    OverMms,
}

/// Tasks, and a list of mms if that is chosen.
pub struct ChosenWalk<K: TaskKernel> {
    tasks: Tasks<K>,
    mms: Option<MmList<Mm<K>>>,
}

impl<K: TaskKernel> ChosenWalk<K> {
    /// Makes the walkers of a kernel.
    ///
    /// # Panics
    ///
    /// Without memory for an empty list.
    #[must_use]
    pub fn new(walk: Walk, tasks: Tasks<K>) -> Self {
        let list = || MmList::try_new(tasks.cpus(), this_cpu).expect("memory for an empty list");
        let mms = (walk == Walk::OverMms).then(list);
        Self { tasks, mms }
    }

    /// The tasks.
    #[must_use]
    pub fn tasks(&self) -> &Tasks<K> {
        &self.tasks
    }
}

/// A place on the list, if there is one.
pub struct ChosenPlace<K: TaskKernel>(Option<MmPlace<Mm<K>>>);

// SAFETY: what either way promises.
unsafe impl<K: TaskKernel> Walkers<K> for ChosenWalk<K> {
    type Place = ChosenPlace<K>;

    fn place(&'static self) -> Result<ChosenPlace<K>, OutOfHeap> {
        self.mms.as_ref().map(MmList::place).transpose().map(ChosenPlace)
    }

    fn for_each_published(&self, rcu: &RcuGuard<K>, visit: &mut dyn FnMut(&Mm<K>)) {
        match &self.mms {
            // SAFETY: the guard; an mm that leaves is dropped by RCU.
            Some(mms) => unsafe { mms.for_each(visit) },
            None => self.tasks.for_each_published(rcu, visit),
        }
    }

    fn for_each_loaded(&self, rcu: &RcuGuard<K>, visit: &mut dyn FnMut(&Mm<K>)) {
        // What a CPU has loaded is on the list.
        if self.mms.is_none() {
            self.tasks.for_each_loaded(rcu, visit);
        }
    }
}

// SAFETY: it does what the place inside does.
unsafe impl<K: TaskKernel> Place<K> for ChosenPlace<K> {
    unsafe fn join(&self, mm: &Mm<K>) {
        if let Some(place) = &self.0 {
            // SAFETY: the caller's promise.
            unsafe { place.join(mm) };
        }
    }

    fn leave(&self) {
        if let Some(place) = &self.0 {
            place.leave();
        }
    }
}
