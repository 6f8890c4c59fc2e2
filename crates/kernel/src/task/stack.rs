//! Kernel stacks: four pages above a guard page, in the vmalloc area.
//!
//! Mapping a stack costs page-table edits, and unmapping one costs every processor a TLB flush. So each
//! processor keeps a few stacks of dead tasks for new ones, as Linux does (`cached_stacks`).

use crate::cpu::MAX_CPUS;
use crate::cpu::local::{CpuLocal, Padded};
use crate::layout::PAGE_SIZE;
use crate::mm::vmalloc::{Mapping, VmallocError};
use core::cell::RefCell;

/// Pages of a stack: 16 KiB, as in Linux.
const PAGES: u64 = 4;

/// Stacks that a processor keeps.
const KEPT: usize = 16;

/// Frames in the stacks that a processor keeps at most.
pub const FRAMES_KEPT: usize = KEPT * PAGES as usize;

static CACHES: CpuLocal<RefCell<[Option<Mapping>; KEPT]>> =
    CpuLocal::new([const { Padded(RefCell::new([const { None }; KEPT])) }; MAX_CPUS]);

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
        CACHES.with(|cache| {
            let mut cache = cache.borrow_mut();
            if let Some(place) = cache.iter_mut().find(|place| place.is_none()) {
                *place = self.0.take();
            }
        });
        // What found no place in the cache is unmapped here, with interrupts as they were.
    }
}

const _: () = assert!(PAGE_SIZE * PAGES == 16 * 1024);
