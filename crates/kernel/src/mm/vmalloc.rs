//! Kernel memory mapped page by page, with a hole below it: the vmalloc area.
//!
//! The area lies in top-level slots that boot leaves empty, and enters them one after the other
//! through [`InitMm::grow`](mm_generic::init_mm::InitMm::grow), which is the path the PGD crates are about: when `grow` returns, the
//! slot is in every PGD. Within a slot, everything is in tables that all PGDs share.

use super::frames as allocator;
use super::page_frames::{own, theirs};
use crate::cpu::smp;
use crate::cpu::tlb;
use crate::layout::PAGE_SIZE;
use crate::os::init_mm;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use arch_x86::geometry::Geometry;
use core::ops::Range;
use kernel_sync::atomic::{AtomicUsize, Ordering};
use kernel_sync::{Mutex, OutOfHeap};
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
    /// No heap for the list of holes.
    #[error(transparent)]
    OutOfHeap(#[from] OutOfHeap),
}

/// Ranges of one length.
#[derive(Default)]
struct Holes {
    /// Starts of those that were given back. Has room for all there are: giving one back needs no memory.
    starts: Vec<u64>,
    /// How many there are, in use or not.
    ranges: usize,
}

impl Holes {
    /// Makes room for one range more.
    fn reserve(&mut self) -> Result<(), OutOfHeap> {
        let more = self.ranges + 1 - self.starts.len();
        let bytes = (self.ranges + 1) * size_of::<u64>();
        self.starts.try_reserve(more).map_err(|_| OutOfHeap { bytes })
    }
}

/// The part of the area that is in use, and holes in it by their size.
struct Area {
    /// One entry for each slot that has been grown into, ascending.
    slots: Vec<SyncedRange>,
    /// First address that was never used.
    next: u64,
    /// Ranges by pages, of which there are few kinds.
    free: BTreeMap<u64, Holes>,
}

static AREA: Mutex<Area> = Mutex::new(Area { slots: Vec::new(), next: 0, free: BTreeMap::new() });

impl Area {
    /// Takes addresses for `pages` pages within one slot.
    fn take(&mut self, pages: u64) -> Result<u64, VmallocError> {
        let holes = self.free.entry(pages).or_default();
        if let Some(start) = holes.starts.pop() {
            return Ok(start);
        }
        holes.reserve()?;
        let end = self.slots.last().map_or(0, |slot| slot.start() + (slot.len() - 1));
        let bytes = pages * PAGE_SIZE;
        if self.slots.is_empty() || end - self.next < bytes - 1 {
            let slot = grow(self.slots.len() as u64, pages)?;
            self.next = slot.start();
            self.slots.push(slot);
        }
        let start = self.next;
        self.next += bytes;
        self.free.entry(pages).or_default().ranges += 1;
        Ok(start)
    }

    /// Takes addresses back.
    fn give_back(&mut self, pages: u64, start: u64) {
        self.free.entry(pages).or_default().starts.push(start);
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
    /// The page that faults; the mapped ones are above.
    guard: u64,
    /// Pages there are addresses for.
    pages: u64,
    /// Pages that are mapped.
    mapped: u64,
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
        let mut mapping = Self { guard, pages, mapped: 0 };
        (0..pages).try_for_each(|_| mapping.add_page())?;
        Ok(mapping)
    }

    fn add_page(&mut self) -> Result<(), VmallocError> {
        let frame = allocator::alloc()?;
        let address = self.range().end;
        let rights = Prot::READ | Prot::WRITE;
        let area = AREA.lock();
        let mapped = init_mm().map_kernel(area.slot_of(address), address, theirs(frame), rights);
        if let Err(error) = mapped {
            allocator::put(frame);
            return Err(error.into());
        }
        self.mapped += 1;
        PAGES.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Returns the mapped addresses.
    #[must_use]
    pub fn range(&self) -> Range<u64> {
        let start = self.guard + PAGE_SIZE;
        start..start + self.mapped * PAGE_SIZE
    }

    /// Takes pages away from the mapping's end, into `batch`, until that is full; returns whether none is left.
    fn unmap(&mut self, batch: &mut Batch) -> bool {
        let area = AREA.lock();
        while self.mapped > 0 && batch.len < BATCH {
            let address = self.range().end - PAGE_SIZE;
            // SAFETY: flushed everywhere by `Batch::finish`, before the frame or the address is used again.
            let frame = unsafe { init_mm().unmap_kernel(area.slot_of(address), address) };
            self.mapped -= 1;
            if let Some(frame) = frame {
                batch.pages[batch.len] = address;
                batch.frames[batch.len] = Some(own(frame));
                batch.len += 1;
            }
        }
        self.mapped == 0
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        let mut batch = Batch::new();
        while !self.unmap(&mut batch) {
            batch.finish();
        }
        batch.finish();
        AREA.lock().give_back(self.pages + 1, self.guard);
    }
}

/// Unmaps all of `mappings`: as dropping them one by one does, with a flush for many at once.
///
/// A flush interrupts every processor and waits for each. Where processors are put aside now and then, as a host does, that takes
/// milliseconds, and a process with a thousand threads that is killed has a thousand stacks.
pub fn unmap_all(mappings: &mut [Option<Mapping>]) {
    let mut batch = Batch::new();
    for mapping in mappings.iter_mut().flatten() {
        while !mapping.unmap(&mut batch) {
            batch.finish();
        }
    }
    batch.finish();
    // Nothing is mapped there any more; what is left is to give back the addresses.
    mappings.fill_with(|| None);
}

/// Pages that are unmapped at once.
const BATCH: usize = 64;

/// Pages that are mapped no longer, and may still be cached.
struct Batch {
    pages: [u64; BATCH],
    frames: [Option<allocator::Frame>; BATCH],
    len: usize,
}

impl Batch {
    fn new() -> Self {
        Self { pages: [0; BATCH], frames: [None; BATCH], len: 0 }
    }

    /// Makes every processor forget the pages, and frees the frames.
    fn finish(&mut self) {
        if self.len > 0 {
            tlb::shoot_down_pages(smp::online(), &self.pages[..self.len]);
            self.frames[..self.len].iter_mut().filter_map(Option::take).for_each(|frame| {
                allocator::put(frame);
            });
            PAGES.fetch_sub(self.len, Ordering::Relaxed);
            self.len = 0;
        }
    }
}

/// Pages that are mapped.
static PAGES: AtomicUsize = AtomicUsize::new(0);

/// Returns the number of pages that are mapped, which each have a frame.
#[must_use]
pub fn pages() -> usize {
    PAGES.load(Ordering::Relaxed)
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
