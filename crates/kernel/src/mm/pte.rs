//! Page-table entries as the kernel's own mappings use them.
//!
//! Source: Intel SDM volume 3, section 4.5.

use bitflags::bitflags;

bitflags! {
    /// What a page-table entry permits and remembers.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct PteFlags: u64 {
        /// The entry translates.
        const PRESENT = 1 << 0;
        /// Writes are allowed.
        const WRITABLE = 1 << 1;
        /// User mode may use the translation.
        const USER = 1 << 2;
        /// Writes go to memory at once. Together with `NO_CACHE`: uncached, as device registers need.
        const WRITE_THROUGH = 1 << 3;
        /// Not cached.
        const NO_CACHE = 1 << 4;
        /// A processor has translated through the entry, and has set this itself.
        const ACCESSED = 1 << 5;
        /// In a PDPT or a PD: a page of 1 GiB or 2 MiB instead of a table.
        const LARGE = 1 << 7;
        /// Survives a load of CR3 (with CR4.PGE).
        const GLOBAL = 1 << 8;
        /// No instruction fetches.
        const NO_EXECUTE = 1 << 63;
    }
}

impl PteFlags {
    /// Kernel code: readable and executable.
    pub const KERNEL_TEXT: Self = Self::PRESENT.union(Self::GLOBAL);
    /// Kernel constants: readable.
    pub const KERNEL_RODATA: Self = Self::KERNEL_TEXT.union(Self::NO_EXECUTE);
    /// Kernel variables and the direct map: readable and writable.
    pub const KERNEL_DATA: Self = Self::KERNEL_RODATA.union(Self::WRITABLE);
    /// Device registers.
    pub const KERNEL_DEVICE: Self =
        Self::KERNEL_DATA.union(Self::NO_CACHE).union(Self::WRITE_THROUGH);
    /// An entry that points to a table: the leaf decides, except that user access needs it all the way.
    pub const TABLE: Self = Self::PRESENT.union(Self::WRITABLE);
}

/// The bits of an entry that hold a physical address.
pub const ADDRESS_MASK: u64 = 0x000f_ffff_ffff_f000;

/// Entries in a table.
pub const ENTRIES: usize = 512;

/// Returns the index of `address` in a table of `level`, where level 1 maps 4 KiB pages.
#[must_use]
pub const fn index(address: u64, level: u32) -> usize {
    (address >> (12 + 9 * (level - 1))) as usize & (ENTRIES - 1)
}

/// Returns the bytes that one entry of a table of `level` covers.
#[must_use]
pub const fn span(level: u32) -> u64 {
    1 << (12 + 9 * (level - 1))
}
