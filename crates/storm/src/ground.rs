//! What the CPUs of one round share: the kernel, what happens to its kernel half, and tasks on their way from one to another.

use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};

use hosted::cpu::HostRcu;
use hosted::kernel::{Host, Scheme};
use hosted::mmu::{Access, translate};
use hosted::tlb::{KernelTlb, SlotPlace};
use hosted::world::World;
use kernel_sync::Rcu;
use kernel_task::task::TaskRef;
use mm_generic::arch::ArchPgd;
use mm_generic::frames::PAGE_SIZE;

use crate::ledger::Eyes;
use crate::meeting::Meeting;
use crate::options::Growth;
use crate::updates::Updates;

/// The kernel half of a geometry, in the manual's numbers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Half {
    pub(crate) place: SlotPlace,
    /// First kernel address.
    pub(crate) first: u64,
    /// Bytes that one slot maps.
    pub(crate) slot_span: u64,
    pub(crate) slots: u64,
    /// A large page can stand in a slot.
    pub(crate) large_slots: bool,
    /// Level of the table that the slots are in, counted from 1 for the tables that map pages.
    pub(crate) slot_level: u8,
    /// Growths into each slot, where nothing is given back; the first of them populates it.
    pub(crate) growths_per_slot: u64,
}

impl Half {
    pub(crate) fn growths(self) -> u64 {
        self.slots * self.growths_per_slot
    }

    /// The slot and the address of growth number `number`, where nothing is given back. One beyond the last, which a duel asks for
    /// when the kernel half is used up, may lie beyond the address space.
    pub(crate) fn place_of(self, number: u64) -> (u64, u64) {
        let slot = number / self.growths_per_slot;
        let page = number % self.growths_per_slot;
        (slot, self.first.wrapping_add(slot * self.slot_span + page * PAGE_SIZE))
    }
}

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
