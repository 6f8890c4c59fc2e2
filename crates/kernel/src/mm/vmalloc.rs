//! Kernel memory mapped page by page, with a hole below it: the vmalloc area.
//!
//! The area lies in top-level slots that boot leaves empty, and enters them one after the other
//! through [`InitMm::grow`](mm_generic::init_mm::InitMm::grow), which is the path the PGD crates are about: when `grow` returns, the
//! slot is in every PGD. Within a slot, everything is in tables that all PGDs share.

use super::frames as allocator;
use super::page_frames::{own, theirs};
use crate::cpu::smp;
use crate::cpu::tlb::{self, Flush};
use crate::layout::PAGE_SIZE;
use crate::os::init_mm;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use arch_x86::geometry::Geometry;
use core::ops::Range;
use kernel_sync::Mutex;
use mm_generic::growth::{GrowError, SyncedRange};
use mm_generic::page_tables::MapError;
use mm_generic::prot::Prot;
use thiserror::Error;

/// Where the area begins with four levels, and how many slots of 512 GiB it may use.
const FOUR_LEVEL: (u64, u64) = (0xffff_c900_0000_0000, 32);

/// Where it begins with five levels, and how many slots of 256 TiB it may use. The rest of the kernel
/// lies in the last slot, so all of these are fresh.
const FIVE_LEVEL: (u64, u64) = (0xffa0_0000_0000_0000, 48);

/// Memory could not be mapped. Nothing was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum VmallocError {
    /// The area is used up.
    #[error("the vmalloc area has no room for {pages} pages")]
    NoSpace {
        /// Pages asked for.
        pages: u64,
    },
    /// The kernel half could not grow.
    #[error(transparent)]
    Grow(#[from] GrowError),
    /// No frame for a page.
    #[error(transparent)]
    OutOfFrames(#[from] allocator::OutOfFrames),
    /// No frame for a table.
    #[error(transparent)]
    Map(#[from] MapError),
}

/// The part of the area that is in use, and holes in it by their size.
struct Area {
    /// One entry for each slot that has been grown into, ascending.
    slots: Vec<SyncedRange>,
    /// First address that was never used.
    next: u64,
    /// Starts of ranges that were given back, by pages.
    free: BTreeMap<u64, Vec<u64>>,
}

static AREA: Mutex<Area> = Mutex::new(Area { slots: Vec::new(), next: 0, free: BTreeMap::new() });

impl Area {
    /// Takes addresses for `pages` pages within one slot.
    fn take(&mut self, pages: u64) -> Result<u64, VmallocError> {
        if let Some(start) = self.free.get_mut(&pages).and_then(Vec::pop) {
            return Ok(start);
        }
        let end = self.slots.last().map_or(0, |slot| slot.start() + (slot.len() - 1));
        let bytes = pages * PAGE_SIZE;
        if self.slots.is_empty() || end - self.next < bytes - 1 {
            let slot = grow(self.slots.len() as u64, pages)?;
            self.next = slot.start();
            self.slots.push(slot);
        }
        let start = self.next;
        self.next += bytes;
        Ok(start)
    }

    fn slot_of(&self, address: u64) -> &SyncedRange {
        self.slots
            .iter()
            .rfind(|slot| slot.start() <= address)
            .expect("addresses are taken from grown slots")
    }
}

/// Returns where the area begins, and how many slots it may use.
fn bounds() -> (u64, u64) {
    let levels = init_mm().tables().geometry().levels().len();
    if levels == 5 { FIVE_LEVEL } else { FOUR_LEVEL }
}

/// Grows the kernel into slot number `number` of the area.
fn grow(number: u64, pages: u64) -> Result<SyncedRange, VmallocError> {
    let (base, slots) = bounds();
    let span = init_mm().tables().geometry().slot_span();
    if number >= slots || pages * PAGE_SIZE > span {
        return Err(VmallocError::NoSpace { pages });
    }
    Ok(init_mm().grow(base + number * span, span)?)
}

/// Writable pages of the kernel, with a page below them that faults.
#[derive(Debug)]
pub struct Mapping {
    /// First mapped address; the page below it is the guard.
    start: u64,
    pages: u64,
}

impl Mapping {
    /// Maps `pages` new pages, with whatever the frames contain.
    ///
    /// # Errors
    ///
    /// [`VmallocError`].
    pub fn new(pages: u64) -> Result<Self, VmallocError> {
        let guard = AREA.lock().take(pages + 1)?;
        // Dropped on the way out, it takes back as much as was mapped.
        let mut mapping = Self { start: guard + PAGE_SIZE, pages: 0 };
        let result = (0..pages).try_for_each(|_| mapping.add_page());
        match result {
            Ok(()) => Ok(mapping),
            Err(error) => {
                mapping.unmap();
                AREA.lock().free.entry(pages + 1).or_default().push(guard);
                core::mem::forget(mapping);
                Err(error)
            }
        }
    }

    fn add_page(&mut self) -> Result<(), VmallocError> {
        let frame = allocator::alloc()?;
        let address = self.start + self.pages * PAGE_SIZE;
        let rights = Prot::READ | Prot::WRITE;
        let area = AREA.lock();
        let mapped = init_mm().map_kernel(area.slot_of(address), address, theirs(frame), rights);
        if let Err(error) = mapped {
            allocator::put(frame);
            return Err(error.into());
        }
        self.pages += 1;
        Ok(())
    }

    /// Returns the mapped addresses.
    #[must_use]
    pub fn range(&self) -> Range<u64> {
        self.start..self.start + self.pages * PAGE_SIZE
    }

    /// Takes the pages away, everywhere, and frees their frames.
    fn unmap(&mut self) {
        let mut frames = [None; 16];
        while self.pages > 0 {
            let batch = self.pages.min(frames.len() as u64);
            let end = self.start + self.pages * PAGE_SIZE;
            let start = end - batch * PAGE_SIZE;
            let area = AREA.lock();
            for (slot, address) in frames.iter_mut().zip((start..end).step_by(PAGE_SIZE as usize)) {
                // SAFETY: flushed everywhere below, before the frame or the address is used again.
                *slot = unsafe { init_mm().unmap_kernel(area.slot_of(address), address) };
            }
            drop(area);
            tlb::shoot_down(smp::online(), Flush::Range { start, end });
            for frame in frames.iter_mut().filter_map(Option::take) {
                allocator::put(own(frame));
            }
            self.pages -= batch;
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        let pages = self.pages + 1;
        self.unmap();
        AREA.lock().free.entry(pages).or_default().push(self.start - PAGE_SIZE);
    }
}

/// Returns the number of top-level slots the area has grown into.
#[must_use]
pub fn slots() -> usize {
    AREA.lock().slots.len()
}

/// Returns the address where the area begins.
#[must_use]
pub fn base() -> u64 {
    bounds().0
}
