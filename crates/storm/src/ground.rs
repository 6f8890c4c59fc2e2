//! What the CPUs of one round share: the kernel, its growths so far, and who gets which part of the kernel half next.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use hosted::kernel::{Host, Scheme};
use hosted::mmu::{Access, MmuKind, Reason, translate};
use hosted::world::World;
use kernel_task::task::TaskRef;
use mm_generic::frames::{Frames, PAGE_SIZE};
use mm_generic::prot::Prot;

use crate::meeting::Meeting;
use crate::tally::Tally;

/// The kernel half of a geometry, in the manual's numbers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Half {
    pub(crate) kind: MmuKind,
    /// First kernel address.
    pub(crate) first: u64,
    /// Bytes that one slot maps.
    pub(crate) slot_span: u64,
    pub(crate) slots: u64,
    /// Level of the table that the slots are in, counted from 1 for the tables that map pages.
    pub(crate) slot_level: u8,
    /// Growths into each slot; the first of them populates it.
    pub(crate) growths_per_slot: u64,
}

impl Half {
    pub(crate) fn growths(self) -> u64 {
        self.slots * self.growths_per_slot
    }
}

/// A growth that has returned: a page, and the frame it must show in every address space.
#[derive(Default)]
struct Grown {
    /// 0 until `phys` is written.
    addr: AtomicU64,
    phys: AtomicU64,
}

/// The ground of one round.
pub(crate) struct Ground<S: Scheme> {
    pub(crate) world: World<S>,
    pub(crate) half: Half,
    /// Tasks that one CPU gives another to run.
    inboxes: Vec<Mutex<Vec<TaskRef<Host<S>>>>>,
    next_growth: AtomicU64,
    log: Vec<Grown>,
    logged: AtomicUsize,
    pub(crate) stop: AtomicBool,
    pub(crate) meeting: Meeting,
}

impl<S: Scheme> Ground<S> {
    pub(crate) fn new(world: World<S>, half: Half, cpus: usize) -> Self {
        Self {
            world,
            half,
            inboxes: (0..cpus).map(|_| Mutex::default()).collect(),
            next_growth: AtomicU64::new(0),
            log: (0..half.growths()).map(|_| Grown::default()).collect(),
            logged: AtomicUsize::new(0),
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

    /// Grows the kernel by the next page that nobody has, maps a frame there and tells every CPU.
    ///
    /// Consecutive growths go to one slot, so that two CPUs often grow the same one at once. Returns
    /// false when the kernel half is used up.
    pub(crate) fn grow(&self) -> bool {
        let number = self.next_growth.fetch_add(1, Ordering::Relaxed);
        if number >= self.half.growths() {
            self.stop.store(true, Ordering::Relaxed);
            return false;
        }
        let (slot, addr) = self.place_of(number);
        // Now and then a range over two slots: one walk brings both.
        let both = number % 16 == 5 && slot + 1 < self.half.slots;
        let len = if both { self.half.slot_span } else { PAGE_SIZE };
        let init_mm = self.world.init_mm();
        let range = init_mm.grow(addr, len).expect("a range of the kernel half, and frames enough");
        let frame = self.world.frames().alloc().expect("frames enough");
        init_mm
            .map_kernel(&range, addr, frame, Prot::READ | Prot::WRITE)
            .expect("nobody else has this page");
        let grown = &self.log[self.logged.fetch_add(1, Ordering::Relaxed)];
        grown.phys.store(frame.phys(), Ordering::Relaxed);
        grown.addr.store(addr, Ordering::Release);
        true
    }

    /// The slot and the address of growth number `number`.
    fn place_of(&self, number: u64) -> (u64, u64) {
        let slot = number / self.half.growths_per_slot;
        let page = number % self.half.growths_per_slot;
        (slot, self.half.first + slot * self.half.slot_span + page * PAGE_SIZE)
    }

    /// Tells whether the PGD at `cr3` has the slot of growth number `number` at this moment.
    pub(crate) fn has_slot_of(&self, number: u64, cr3: u64) -> bool {
        let (_, addr) = self.place_of(number);
        let frames = self.world.frames();
        match translate(frames, self.half.kind, cr3, addr, Access::KERNEL_READ) {
            Ok(_) => true,
            Err(fault) => fault.level < self.half.slot_level,
        }
    }

    /// Resolves logged growths from number `from` on through the PGD at `cr3`, as the MMU does, and
    /// returns how far it came: growths are logged a moment before they can be read.
    pub(crate) fn resolve(&self, from: usize, cr3: u64, tally: &mut Tally) -> usize {
        let logged = self.logged.load(Ordering::Relaxed).min(self.log.len());
        for number in from..logged {
            let grown = &self.log[number];
            let addr = grown.addr.load(Ordering::Acquire);
            if addr == 0 {
                return number;
            }
            let phys = grown.phys.load(Ordering::Relaxed);
            tally.resolved += 1;
            match translate(self.world.frames(), self.half.kind, cr3, addr, Access::KERNEL_READ) {
                Ok(found) if found == phys => {}
                Err(fault) if fault.reason == Reason::NotPresent => tally.missed += 1,
                Ok(_) | Err(_) => tally.stale += 1,
            }
        }
        logged.max(from)
    }

    /// Growths that were logged so far.
    pub(crate) fn logged(&self) -> usize {
        self.logged.load(Ordering::Relaxed).min(self.log.len())
    }
}
