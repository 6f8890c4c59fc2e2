//! Kernel stacks: four pages above a guard page, in the vmalloc area.
//!
//! Mapping a stack costs page-table edits, and unmapping one costs every processor a TLB flush. So each
//! processor keeps a few stacks of dead tasks for new ones, as Linux does (`cached_stacks`). What is more than those goes to a
//! store that all processors share, and is unmapped together when that is full.

use crate::cpu::local::{CpuLocal, Padded};
use crate::cpu::{MAX_CPUS, smp};
use crate::layout::PAGE_SIZE;
use crate::mm::vmalloc::{Mapping, VmallocError, unmap_all};
use crate::sync::IrqMutex;
use core::cell::RefCell;

/// Pages of a stack: 16 KiB, as in Linux.
pub const PAGES: u64 = 4;

/// Stacks that a processor keeps.
const KEPT: usize = 8;

/// Stacks in the store that all processors share.
const STORED: usize = 16;

static CACHES: CpuLocal<RefCell<[Option<Mapping>; KEPT]>> =
    CpuLocal::new([const { Padded(RefCell::new([const { None }; KEPT])) }; MAX_CPUS]);

static STORE: IrqMutex<[Option<Mapping>; STORED]> = IrqMutex::new([const { None }; STORED]);

/// Returns how many frames may be in stacks that are kept, at most.
#[must_use]
pub fn most_frames_kept() -> usize {
    (KEPT * smp::online().count() + STORED) * PAGES as usize
}

/// Gives back the stacks that this processor keeps and those in the store; returns how many there were. Where interrupts are on.
pub fn shrink() -> usize {
    let mut all = [const { None }; KEPT + STORED];
    CACHES.with(|cache| all[..KEPT].swap_with_slice(&mut *cache.borrow_mut()));
    all[KEPT..].swap_with_slice(&mut *STORE.lock());
    let count = all.iter().flatten().count();
    unmap_all(&mut all);
    count
}

/// A kernel stack.
#[derive(Debug)]
pub struct KernelStack(Option<Mapping>);

impl KernelStack {
    /// Makes a stack, or takes one that a dead task has left.
    ///
    /// # Errors
    ///
    /// [`VmallocError`].
    pub fn new() -> Result<Self, VmallocError> {
        let kept = CACHES.with(|cache| cache.borrow_mut().iter_mut().find_map(Option::take));
        let kept = kept.or_else(|| STORE.lock().iter_mut().find_map(Option::take));
        match kept {
            Some(mapping) => Ok(Self(Some(mapping))),
            None => Ok(Self(Some(Mapping::new(PAGES)?))),
        }
    }

    /// Returns the address after the stack's last byte; a multiple of the page size.
    #[must_use]
    pub fn top(&self) -> u64 {
        self.0.as_ref().map_or(0, |mapping| mapping.range().end)
    }
}

impl Drop for KernelStack {
    fn drop(&mut self) {
        let mut mapping = self.0.take();
        let mut keep = |places: &mut [Option<Mapping>]| {
            if let Some(place) = places.iter_mut().find(|place| place.is_none()) {
                *place = mapping.take();
            }
            mapping.is_none()
        };
        if CACHES.with(|cache| keep(&mut *cache.borrow_mut())) || keep(&mut *STORE.lock()) {
            return;
        }
        // Not with the lock held: others spin on it with interrupts off or on, and a flush waits for them.
        let mut all = [const { None }; STORED];
        all.swap_with_slice(&mut *STORE.lock());
        unmap_all(&mut all);
        drop(mapping);
    }
}

const _: () = assert!(PAGE_SIZE * PAGES == 16 * 1024);
