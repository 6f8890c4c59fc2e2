//! Memory before the frame allocator: cut off the memory map, never given back.

use crate::layout::{BOOT_MAP_SIZE, PAGE_SIZE, image, phys_to_virt};
use handover::ranges::{Range, RangeSet, TooManyRanges};

/// Ranges a memory map may fall into. QEMU's have three to five, before holes are cut.
pub const MAX_RANGES: usize = 64;

/// RAM that nothing uses yet.
#[derive(Clone, Copy, Debug)]
pub struct EarlyMemory {
    free: RangeSet<MAX_RANGES>,
}

impl EarlyMemory {
    /// Takes all of `ram` but the first MiB (firmware data and the trampoline), the image, and `used`.
    ///
    /// # Errors
    ///
    /// [`TooManyRanges`] when the memory map is too fragmented.
    ///
    /// # Safety
    ///
    /// `ram` must be RAM, mapped by the boot page tables up to [`BOOT_MAP_SIZE`], and in use for
    /// nothing but what this function knows of. Only one value may be made.
    pub unsafe fn new(ram: &RangeSet<MAX_RANGES>, used: &[Range]) -> Result<Self, TooManyRanges> {
        let mut free = RangeSet::default();
        for range in ram.as_slice() {
            free.add(range.shrink_to(PAGE_SIZE))?;
        }
        let image = Range { start: image::boot().start, end: image::data().end };
        free.remove(Range { start: 0, end: 1 << 20 })?;
        free.remove(image.grow_to(PAGE_SIZE))?;
        for range in used {
            free.remove(range.grow_to(PAGE_SIZE))?;
        }
        Ok(Self { free })
    }

    /// Returns the physical address of `size` zeroed bytes, rounded up to whole pages; `None` when
    /// there is no such run below 4 GiB.
    pub fn take(&mut self, size: u64) -> Option<u64> {
        let size = size.next_multiple_of(PAGE_SIZE);
        let start = self.free.take(size, PAGE_SIZE, BOOT_MAP_SIZE)?;
        // SAFETY: `new` was promised free RAM that the boot tables map, and `take` cut this run off.
        unsafe { phys_to_virt(start).write_bytes(0, size as usize) };
        Some(start)
    }

    /// Returns the physical address of a zeroed page.
    pub fn page(&mut self) -> Option<u64> {
        self.take(PAGE_SIZE)
    }

    /// Ends early memory and returns what is left of it, in whole pages.
    #[must_use]
    pub fn finish(self) -> RangeSet<MAX_RANGES> {
        self.free
    }
}
