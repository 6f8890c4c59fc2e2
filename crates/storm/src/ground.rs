//! What the CPUs of one round share: the kernel, what happens to its kernel half, and tasks on their way from one to another.

use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};

use hosted::cpu::HostRcu;
use hosted::kernel::{Host, Scheme};
use hosted::meeting::Meeting;
use hosted::mmu::{Access, translate};
use hosted::tlb::KernelTlb;
use hosted::world::World;
use kernel_sync::Rcu;
use kernel_task::task::TaskRef;
use mm_generic::arch::ArchPgd;

use crate::half::Half;
use crate::ledger::Eyes;
use crate::options::Growth;
use crate::updates::Updates;

/// The ground of one round.
pub(crate) struct Ground<S: Scheme> {
    pub(crate) world: World<S>,
    pub(crate) half: Half,
    pub(crate) updates: Updates,
    /// Tasks that one CPU gives another to run.
    inboxes: Vec<Mutex<Vec<TaskRef<Host<S>>>>>,
    pub(crate) stop: AtomicBool,
    pub(crate) meeting: Meeting,
}

impl<S: Scheme> Ground<S> {
    pub(crate) fn new(world: World<S>, half: Half, growth: Growth, cpus: usize) -> Self {
        Self {
            world,
            half,
            updates: Updates::new(half, growth),
            inboxes: (0..cpus).map(|_| Mutex::default()).collect(),
            stop: AtomicBool::new(false),
            meeting: Meeting::default(),
        }
    }

    pub(crate) fn give(&self, cpu: usize, task: TaskRef<Host<S>>) {
        self.inboxes[cpu].lock().unwrap_or_else(PoisonError::into_inner).push(task);
    }

    pub(crate) fn given(&self, cpu: usize) -> Vec<TaskRef<Host<S>>> {
        std::mem::take(&mut *self.inboxes[cpu].lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What a CPU sees that has the PGD at `cr3` loaded.
    pub(crate) fn eyes<'a>(&self, cr3: u64, tlb: Option<&'a mut KernelTlb>) -> Eyes<'a> {
        let reference = self.world.init_mm().arch().reference_root();
        Eyes {
            frames: self.world.frames(),
            half: self.half,
            cr3,
            reference,
            tlb,
            _section: HostRcu::read_lock(),
        }
    }

    /// Tells whether the PGD at `cr3` has the slot of growth number `number` of a duel at this moment.
    pub(crate) fn has_slot_of(&self, number: u64, cr3: u64) -> bool {
        let (_, addr) = self.half.place_of(number);
        let frames = self.world.frames();
        match translate(frames, self.half.place.kind, cr3, addr, Access::KERNEL_READ) {
            Ok(_) => true,
            Err(fault) => fault.level < self.half.slot_level,
        }
    }
}
