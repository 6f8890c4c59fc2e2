//! The account of frames: how many there are, by who has them.

use super::attacher;
use super::team::{Orders, Team};
use crate::cpu::smp;
use crate::layout::phys_to_virt;
use crate::mm::pte::{ADDRESS_MASK, ENTRIES, PteFlags, index};
use crate::mm::{frames, heap, page_cache, poison, vmalloc};
use crate::os::init_mm;
use crate::rcu;
use crate::sched::schedule;
use arch_x86::geometry::Geometry;
use mm_generic::arch::ArchPgd;

/// Frames while no program runs and nobody grows. Their sum does not change: what is neither free nor
/// with somebody who keeps frames for later has been the kernel's since boot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Account {
    free: usize,
    /// Taken by the heap.
    heap: usize,
    /// Pages and tables of the vmalloc area, where stacks of dead tasks are kept.
    vmalloc: usize,
    /// Given back and not free yet.
    quarantine: usize,
    /// Pages of programs that the kernel keeps.
    page_cache: usize,
}

impl Account {
    /// Frames that are free or kept for later.
    pub(super) fn total(&self) -> usize {
        self.free + self.heap + self.vmalloc + self.quarantine + self.page_cache
    }
}

/// Draws up the account: every processor lets go what it has borrowed, and every grace period ends.
pub(super) fn take() -> Account {
    // Every processor comes by, and so leaves the stacks of all tasks that are dead by now.
    Team::start("leaver", leave, smp::online().count()).join();
    while rcu::pending() > 0 {
        rcu::flush();
        schedule();
    }
    let geometry = init_mm().tables().geometry();
    let levels = geometry.levels().len() as u32;
    let root = init_mm().arch().reference_root().phys();
    let first = index(vmalloc::base(), levels);
    let vmalloc = (first..first + vmalloc::slots()).map(|slot| below(root, slot, levels)).sum();
    let (free, quarantine) = (frames::stats().free, poison::frames());
    Account { free, heap: heap::frames(), vmalloc, quarantine, page_cache: page_cache::len() }
}

fn leave(_number: usize, orders: &Orders) {
    orders.claim_processor();
    attacher::leave();
    rcu::flush();
}

/// Counts the frames that entry `entry` of the table at `table`, of `level`, leads to.
fn below(table: u64, entry: usize, level: u32) -> usize {
    // SAFETY: a live table of the kernel's, in the direct map, of which nobody changes this part now.
    let entry = unsafe { phys_to_virt(table).cast::<u64>().add(entry).read_volatile() };
    if entry & PteFlags::PRESENT.bits() == 0 {
        return 0;
    }
    let next = entry & ADDRESS_MASK;
    let deeper = if level == 1 { 0 } else { (0..ENTRIES).map(|i| below(next, i, level - 1)).sum() };
    1 + deeper
}
