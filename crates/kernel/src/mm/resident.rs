//! How much memory an address space has: the pages that are there, and the tables that lead to them.

use super::pte::{ADDRESS_MASK, ENTRIES, PteFlags};
use crate::layout::phys_to_virt;
use crate::os::Os;
use arch_x86::geometry::Geometry;
use mm_generic::mm::Mm;

/// Frames of an address space, in frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resident {
    /// Pages, those that others have too included.
    pub pages: u64,
    /// Tables of the user half.
    pub tables: u64,
}

impl Resident {
    /// Counts what `mm` has now.
    #[must_use]
    pub fn of(mm: &Mm<Os>) -> Self {
        let levels = mm.init_mm().tables().geometry().levels().len() as u32;
        let mut this = Self::default();
        // No table goes while the lock of the user half is held.
        let space = mm.user();
        this.add(mm.root().phys(), levels, ENTRIES / 2);
        drop(space);
        this
    }

    /// Adds what the first `entries` entries of the table at `table`, of `level`, lead to.
    fn add(&mut self, table: u64, level: u32, entries: usize) {
        let table = phys_to_virt(table).cast::<u64>();
        for n in 0..entries {
            // SAFETY: a live table, in the direct map; the processor sets bits in its entries meanwhile, hence volatile.
            let entry = unsafe { table.add(n).read_volatile() };
            if entry & PteFlags::PRESENT.bits() == 0 {
                continue;
            }
            if level == 1 {
                self.pages += 1;
            } else {
                self.tables += 1;
                self.add(entry & ADDRESS_MASK, level - 1, ENTRIES);
            }
        }
    }
}
