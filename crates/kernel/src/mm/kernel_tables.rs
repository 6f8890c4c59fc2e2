//! The kernel's own page tables: what every address space shows in its upper half.
//!
//! Built once from the boot tables' side, then loaded on every processor. Three kinds of mapping:
//!
//! - the image at `KERNEL_BASE`: text executable, constants read-only, variables not executable;
//! - the direct map of all RAM, never executable, and read-only where it shows text and constants,
//!   so that there is no second, writable way to the code;
//! - device registers in the fixed mappings, uncached.
//!
//! The lower half stays empty: the identity map ends with the boot tables.

use super::pte::{ADDRESS_MASK, ENTRIES, PteFlags, index, span};
use crate::layout::{self, DIRECT_MAP, FIXMAP, KERNEL_BASE, PAGE_SIZE, image, phys_to_virt};
use handover::ranges::Range;
use kernel_sync::atomic::{AtomicU64, Ordering};
use thiserror::Error;

/// Where the physical pages of new tables come from.
pub trait TableSource {
    /// Returns the physical address of a zeroed page, or `None` when memory is exhausted.
    fn table(&mut self) -> Option<u64>;
}

impl<F: FnMut() -> Option<u64>> TableSource for F {
    fn table(&mut self) -> Option<u64> {
        self()
    }
}

/// Why a mapping could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum MapError {
    /// No page for a table.
    #[error("out of memory for the page table that maps {address:#x}")]
    NoTable {
        /// The virtual address that was to be mapped.
        address: u64,
    },
    /// Something is mapped there already.
    #[error("{address:#x} is mapped already, by entry {entry:#x} of level {level}")]
    Mapped {
        /// The virtual address that was to be mapped.
        address: u64,
        /// Level of the table, 1 for 4 KiB pages.
        level: u32,
        /// The entry found.
        entry: u64,
    },
}

/// A run of pages to be mapped. All fields are multiples of the page size.
#[derive(Clone, Copy, Debug)]
pub struct Mapping {
    /// First virtual address.
    pub virt: u64,
    /// First physical address.
    pub phys: u64,
    /// Bytes.
    pub len: u64,
    /// What is permitted.
    pub flags: PteFlags,
    /// Level of the largest pages to use: 1 for 4 KiB, 2 for 2 MiB, 3 for 1 GiB.
    pub largest: u32,
}

/// Page tables under construction, or in use by processors.
#[derive(Clone, Copy, Debug)]
pub struct KernelTables {
    root: u64,
    levels: u32,
}

/// Returns the entries of the table at physical `table`.
///
/// Entries are atomics because processors read and write them at any time.
///
/// # Safety
///
/// `table` must be a page-table page within what is mapped by the direct map, and stay one.
unsafe fn entries(table: u64) -> &'static [AtomicU64; ENTRIES] {
    // SAFETY: the direct map shows the page, which the caller says is and stays a table of 512
    // entries; atomics may be shared.
    unsafe { &*phys_to_virt(table).cast() }
}

impl KernelTables {
    /// Starts with an empty root of `levels` levels.
    ///
    /// # Errors
    ///
    /// [`MapError::NoTable`] when there is no page for the root.
    pub fn new(levels: u32, source: &mut impl TableSource) -> Result<Self, MapError> {
        let root = source.table().ok_or(MapError::NoTable { address: 0 })?;
        Ok(Self { root, levels })
    }

    /// Takes tables that exist, such as the ones CR3 points to.
    ///
    /// # Safety
    ///
    /// `root` must be the physical address of a top-level table of `levels` levels in which every
    /// present entry leads to tables within the direct map, all of which stay tables.
    #[must_use]
    pub const unsafe fn from_root(root: u64, levels: u32) -> Self {
        Self { root, levels }
    }

    /// Returns the physical address of the top-level table, for CR3.
    #[must_use]
    pub const fn root(self) -> u64 {
        self.root
    }

    /// Returns the number of levels, 4 or 5.
    #[must_use]
    pub const fn levels(self) -> u32 {
        self.levels
    }

    /// Returns the top-level entry of `slot`.
    ///
    /// # Panics
    ///
    /// When `slot` is 512 or more.
    #[must_use]
    pub fn top_level(self, slot: usize) -> &'static AtomicU64 {
        // SAFETY: the root is a table as long as `self` exists, by construction.
        let entries = unsafe { entries(self.root) };
        &entries[slot]
    }

    /// Maps `mapping` with the largest pages that alignment and `mapping.largest` allow.
    ///
    /// # Errors
    ///
    /// [`MapError::NoTable`] when `source` runs dry and [`MapError::Mapped`] where something is
    /// mapped already. What was mapped before that stays mapped.
    pub fn map(self, mapping: Mapping, source: &mut impl TableSource) -> Result<(), MapError> {
        let mut done = 0;
        while done < mapping.len {
            let (virt, phys) = (mapping.virt + done, mapping.phys + done);
            let left = mapping.len - done;
            let fits =
                |level: &u32| (virt | phys).is_multiple_of(span(*level)) && span(*level) <= left;
            let level = (2..=mapping.largest).rev().find(fits).unwrap_or(1);
            let large = if level > 1 { PteFlags::LARGE } else { PteFlags::empty() };
            let user = mapping.flags & PteFlags::USER;
            let entry = self.leaf(virt, level, PteFlags::TABLE | user, source)?;
            let new = phys | (mapping.flags | large).bits();
            entry
                .compare_exchange(0, new, Ordering::Release, Ordering::Relaxed)
                .map_err(|entry| MapError::Mapped { address: virt, level, entry })?;
            done += span(level);
        }
        Ok(())
    }

    /// Finds the entry of `level` for `virt`, making the tables above it as needed.
    ///
    /// One processor at a time: two that made the same table would lose one of them. Growth while
    /// others run goes through the PGD crates.
    fn leaf(
        self,
        virt: u64,
        level: u32,
        table_flags: PteFlags,
        source: &mut impl TableSource,
    ) -> Result<&'static AtomicU64, MapError> {
        let mut table = self.root;
        for at in (level + 1..=self.levels).rev() {
            // SAFETY: the root is a table, and every entry followed below points to one.
            let entry = &unsafe { entries(table) }[index(virt, at)];
            let found = entry.load(Ordering::Acquire);
            let found = if found == 0 {
                let page = source.table().ok_or(MapError::NoTable { address: virt })?;
                let new = page | table_flags.bits();
                entry.store(new, Ordering::Release);
                new
            } else if found & PteFlags::LARGE.bits() != 0 {
                return Err(MapError::Mapped { address: virt, level: at, entry: found });
            } else {
                found
            };
            table = found & ADDRESS_MASK;
        }
        // SAFETY: as above.
        Ok(&unsafe { entries(table) }[index(virt, level)])
    }

    /// Finds what `virt` is mapped to: the leaf entry and its level.
    #[must_use]
    pub fn lookup(self, virt: u64) -> Option<(&'static AtomicU64, u32)> {
        let mut table = self.root;
        for level in (1..=self.levels).rev() {
            // SAFETY: the root is a table, and entries that are present and not large lead to tables.
            let entry = &unsafe { entries(table) }[index(virt, level)];
            let value = entry.load(Ordering::Acquire);
            if value & PteFlags::PRESENT.bits() == 0 {
                return None;
            }
            if level == 1 || value & PteFlags::LARGE.bits() != 0 {
                return Some((entry, level));
            }
            table = value & ADDRESS_MASK;
        }
        None
    }

    /// Calls `f` with the virtual address, the value and the level of every present leaf.
    pub fn for_each_leaf(self, f: &mut impl FnMut(u64, u64, u32)) {
        visit(self.root, self.levels, 0, f);
    }
}

/// Visits the table of `level` at physical `table`, whose first entry maps `virt`.
fn visit(table: u64, level: u32, virt: u64, f: &mut impl FnMut(u64, u64, u32)) {
    for slot in 0..ENTRIES {
        // SAFETY: the caller starts at a root; entries that are present and not large lead to tables.
        let value = unsafe { entries(table) }[slot].load(Ordering::Acquire);
        let virt = virt + slot as u64 * span(level);
        if value & PteFlags::PRESENT.bits() == 0 {
            continue;
        }
        if level == 1 || value & PteFlags::LARGE.bits() != 0 {
            // Addresses are sign-extended from bit 47; with five levels it is bit 56, and the
            // kernel's own lie where both agree.
            let canonical = if virt >> 47 & 1 != 0 { virt | !0 << 48 } else { virt };
            f(canonical, value, level);
        } else {
            visit(value & ADDRESS_MASK, level - 1, virt, f);
        }
    }
}

/// What the kernel's tables shall show.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    /// All RAM.
    pub ram: &'a [Range],
    /// Physical pages of device registers, in the order of their fixed mappings.
    pub devices: &'a [u64],
    /// 4 or 5.
    pub levels: u32,
    /// Whether the processor has 1 GiB pages.
    pub huge_pages: bool,
}

/// Returns the virtual address of the `slot`-th page of device registers.
#[must_use]
pub const fn device_page(slot: usize) -> u64 {
    FIXMAP + slot as u64 * PAGE_SIZE
}

/// Builds the kernel's tables.
///
/// # Errors
///
/// As [`KernelTables::map`].
pub fn build(plan: Plan<'_>, source: &mut impl TableSource) -> Result<KernelTables, MapError> {
    let tables = KernelTables::new(plan.levels, source)?;
    let mut map = |base: u64, range: Range, flags, largest| {
        let mapping = Mapping {
            virt: base + range.start,
            phys: range.start,
            len: range.len(),
            flags,
            largest,
        };
        tables.map(mapping, source)
    };
    map(KERNEL_BASE, image::text(), PteFlags::KERNEL_TEXT, 2)?;
    map(KERNEL_BASE, image::rodata(), PteFlags::KERNEL_RODATA, 2)?;
    map(KERNEL_BASE, image::data(), PteFlags::KERNEL_DATA, 2)?;

    let protected = Range { start: image::text().start, end: image::rodata().end };
    let largest = if plan.huge_pages { 3 } else { 2 };
    for ram in plan.ram {
        let ram = ram.shrink_to(PAGE_SIZE);
        let below = Range { start: ram.start, end: ram.end.min(protected.start) };
        let inside =
            Range { start: ram.start.max(protected.start), end: ram.end.min(protected.end) };
        let above = Range { start: ram.start.max(protected.end), end: ram.end };
        for (range, flags) in [
            (below, PteFlags::KERNEL_DATA),
            (inside, PteFlags::KERNEL_RODATA),
            (above, PteFlags::KERNEL_DATA),
        ] {
            if !range.is_empty() {
                map(DIRECT_MAP, range, flags, largest)?;
            }
        }
    }

    for (slot, &device) in plan.devices.iter().enumerate() {
        let page = Range { start: device, end: device + PAGE_SIZE };
        let base = device_page(slot).wrapping_sub(device);
        map(base, page, PteFlags::KERNEL_DEVICE, 1)?;
    }
    Ok(tables)
}

const _: () = assert!(layout::DIRECT_MAP.is_multiple_of(span(4)));
