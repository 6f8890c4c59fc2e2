//! Either way to find mms, chosen when the kernel boots, for the reason that [`crate::chosen`] gives.

use hosted::cpu::this_cpu;
use hosted::kernel::{Host, Scheme};
use kernel_sync::OutOfHeap;
use kernel_task::mm_list::{MmList, MmPlace};
use kernel_task::tasks::Tasks;
use mm_generic::kernel::RcuGuard;
use mm_generic::mm::Mm;
use mm_generic::walk::{Place, Walkers};

use crate::chosen::Chosen;

/// How growths find mms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Walk {
    /// Through tasks and CPUs.
    ThroughTasks,
    /// Over a list of mms.
    OverMms,
}

impl Walk {
    /// What this project's figures are of.
    pub const DEFAULT: Self = Self::OverMms;
}

/// The hosted kernel's scheme: everything is chosen at boot.
pub struct Bench;

impl Scheme for Bench {
    type Arch = Chosen;
    type Walkers = ChosenWalk;

    fn tasks(walkers: &ChosenWalk) -> &Tasks<Host<Self>> {
        &walkers.tasks
    }
}

/// Tasks, and a list of mms if that is chosen.
pub struct ChosenWalk {
    tasks: Tasks<Host<Bench>>,
    mms: Option<MmList<Mm<Host<Bench>>>>,
}

impl ChosenWalk {
    /// Makes the walkers of a kernel for `cpus` CPUs.
    ///
    /// # Panics
    ///
    /// Without memory for an empty list.
    #[must_use]
    pub fn new(walk: Walk, tasks: Tasks<Host<Bench>>, cpus: usize) -> Self {
        let list = || MmList::try_new(cpus, this_cpu).expect("memory for an empty list");
        Self { tasks, mms: (walk == Walk::OverMms).then(list) }
    }
}

/// A place on the list, if there is one.
pub struct ChosenPlace(Option<MmPlace<Mm<Host<Bench>>>>);

// SAFETY: what either way promises.
unsafe impl Walkers<Host<Bench>> for ChosenWalk {
    type Place = ChosenPlace;

    fn place(&'static self) -> Result<ChosenPlace, OutOfHeap> {
        self.mms.as_ref().map(MmList::place).transpose().map(ChosenPlace)
    }

    fn for_each_published(
        &self,
        rcu: &RcuGuard<Host<Bench>>,
        visit: &mut dyn FnMut(&Mm<Host<Bench>>),
    ) {
        match &self.mms {
            // SAFETY: the guard; an mm that leaves is dropped by RCU.
            Some(mms) => unsafe { mms.for_each(visit) },
            None => self.tasks.for_each_published(rcu, visit),
        }
    }

    fn for_each_loaded(
        &self,
        rcu: &RcuGuard<Host<Bench>>,
        visit: &mut dyn FnMut(&Mm<Host<Bench>>),
    ) {
        // What a CPU has loaded is on the list.
        if self.mms.is_none() {
            self.tasks.for_each_loaded(rcu, visit);
        }
    }
}

// SAFETY: it does what the place inside does.
unsafe impl Place<Host<Bench>> for ChosenPlace {
    unsafe fn join(&self, mm: &Mm<Host<Bench>>) {
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
