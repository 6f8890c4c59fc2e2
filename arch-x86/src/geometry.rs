//! The page-table geometries of x86, and where in each the kernel half of an mm begins.
//!
//! | geometry | top level | boundary | what each mm has of its own |
//! |---|---|---|---|
//! | 2-level | 1024 x 32 bit | 768 | top-level entries 768..1024 |
//! | PAE, shared kernel PMD | 4 x 64 bit | 3 | top-level entry 3 |
//! | PAE, private kernel PMD | 4 x 64 bit | 3 | a PMD under entry 3: 512 entries |
//! | 4-level | 512 x 64 bit | 256 | top-level entries 256..512 |
//! | 5-level | 512 x 64 bit | 256 | top-level entries 256..512 |
//!
//! The last column is the *slots*: what late init fills and growth syncs. Everything below a slot is
//! shared by all PGDs. Whether a slot is none is asked of the real top-level entry: with Linux's
//! folded levels `pgd_none` is constant on 4-level tables, and a literal port of the 2015 patch would copy zeros.
//!
//! Sources: Intel SDM volume 3, chapter 4.3 (32-bit), 4.4 (PAE), 4.5 (4- and 5-level).

use mm_generic::kernel_range::KernelHalf;
use mm_generic::word::Word;
use static_assertions::const_assert_eq;
use thiserror::Error;

/// One level of tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    /// Lowest address bit that indexes this level.
    pub shift: u32,
    /// Number of address bits that index this level.
    pub bits: u32,
}

impl Level {
    /// Entries in a table of this level.
    #[must_use]
    pub const fn entries(self) -> usize {
        1 << self.bits
    }

    /// Bytes that one entry of this level maps.
    #[must_use]
    pub const fn span(self) -> u64 {
        1 << self.shift
    }

    /// Index of `addr` in its table of this level.
    #[must_use]
    pub const fn index(self, addr: u64) -> usize {
        (addr >> self.shift) as usize & (self.entries() - 1)
    }
}

/// Where the slots of an mm are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotTable {
    /// In the top-level table, from the boundary on.
    TopLevel,
    /// In a second-level table of the mm's own, under the last top-level entry.
    PrivatePmd,
}

/// The shape of one kind of x86 page tables.
///
/// The five kinds of the table above implement it; a test may add a smaller one.
pub trait Geometry: core::fmt::Debug + Copy + Send + Sync + 'static {
    /// An entry: `u32` or `u64`.
    type Word: Word;

    /// First top-level entry of the kernel half (`KERNEL_PGD_BOUNDARY`).
    const BOUNDARY: usize;

    /// Where the slots are.
    const SLOTS: SlotTable;

    /// Level of the table that the slots are in (0 is the top).
    const SLOT_DEPTH: usize = match Self::SLOTS {
        SlotTable::TopLevel => 0,
        SlotTable::PrivatePmd => 1,
    };

    /// Entry bits that have a no-execute bit at bit 63.
    const HAS_NX: bool;

    /// Bits of physical address that CR3 holds: the root lies below `1 << CR3_BITS`.
    const CR3_BITS: u32 = 52;

    /// The levels, top level first, 4 KiB pages last.
    fn levels(&self) -> &'static [Level];

    /// Address bits of this geometry; addresses are sign-extended from the topmost where they are
    /// narrower than 64 bits and the tables are long-mode ones.
    fn is_canonical_sign_extended(&self) -> bool;

    /// Number of slots each mm has.
    fn slots(&self) -> usize {
        match Self::SLOTS {
            SlotTable::TopLevel => self.levels()[0].entries() - Self::BOUNDARY,
            SlotTable::PrivatePmd => self.levels()[1].entries(),
        }
    }

    /// Bytes of kernel addresses that one slot maps.
    fn slot_span(&self) -> u64 {
        self.levels()[Self::SLOT_DEPTH].span()
    }

    /// Tells whether a large page can stand in a slot: whether the tables below the slots map pages.
    fn slots_hold_large_pages(&self) -> bool {
        Self::SLOT_DEPTH + 2 == self.levels().len()
    }

    /// First address that is no user address: the boundary, not sign-extended.
    fn user_end(&self) -> u64 {
        self.levels()[0].span() * Self::BOUNDARY as u64
    }

    /// The kernel's addresses.
    fn kernel_half(&self) -> KernelHalf {
        let top = self.levels()[0];
        let last = top.span().wrapping_mul(top.entries() as u64).wrapping_sub(1);
        if self.is_canonical_sign_extended() {
            KernelHalf { first: !last | self.user_end(), last: u64::MAX }
        } else {
            KernelHalf { first: self.user_end(), last }
        }
    }
}

const PAGE: Level = Level { shift: 12, bits: 9 };

/// 32-bit paging without PAE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TwoLevel;

impl Geometry for TwoLevel {
    type Word = u32;

    const BOUNDARY: usize = 768;
    const SLOTS: SlotTable = SlotTable::TopLevel;
    const HAS_NX: bool = false;
    const CR3_BITS: u32 = 32;

    fn levels(&self) -> &'static [Level] {
        const { &[Level { shift: 22, bits: 10 }, Level { shift: 12, bits: 10 }] }
    }

    fn is_canonical_sign_extended(&self) -> bool {
        false
    }
}

const PAE: [Level; 3] = [Level { shift: 30, bits: 2 }, Level { shift: 21, bits: 9 }, PAGE];

/// PAE paging where the PMD of the kernel's gigabyte is one for all mms.
///
/// A processor in PAE mode reads the four top-level entries only when CR3 is loaded (SDM 4.4.1), so
/// a kernel populates the one kernel slot before it makes its first mm, or reloads CR3 on every CPU
/// after the growth that populates it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PaeShared;

impl Geometry for PaeShared {
    type Word = u64;

    const BOUNDARY: usize = 3;
    const SLOTS: SlotTable = SlotTable::TopLevel;
    const HAS_NX: bool = true;
    const CR3_BITS: u32 = 32;

    fn levels(&self) -> &'static [Level] {
        &PAE
    }

    fn is_canonical_sign_extended(&self) -> bool {
        false
    }
}

/// PAE paging where each mm has a PMD of its own for the kernel's gigabyte (as under Xen).
///
/// The 2015 patch skips this case: its `if` names 3 levels with a shared PMD only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PaePrivate;

impl Geometry for PaePrivate {
    type Word = u64;

    const BOUNDARY: usize = 3;
    const SLOTS: SlotTable = SlotTable::PrivatePmd;
    const HAS_NX: bool = true;
    const CR3_BITS: u32 = 32;

    fn levels(&self) -> &'static [Level] {
        &PAE
    }

    fn is_canonical_sign_extended(&self) -> bool {
        false
    }
}

const FIVE_LEVEL: [Level; 5] = [
    Level { shift: 48, bits: 9 },
    Level { shift: 39, bits: 9 },
    Level { shift: 30, bits: 9 },
    Level { shift: 21, bits: 9 },
    PAGE,
];
const FOUR_LEVEL: &[Level] = FIVE_LEVEL.split_at(1).1;

/// Long-mode paging with 4 or 5 levels, chosen at boot (`CR4.LA57`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LongMode {
    la57: bool,
}

/// A number of levels that long mode does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("long-mode page tables have 4 or 5 levels, not {levels}")]
pub struct UnknownLevels {
    /// Levels asked for.
    pub levels: usize,
}

impl LongMode {
    /// 4-level paging: 47 bits of user addresses.
    pub const FOUR_LEVEL: Self = Self { la57: false };

    /// 5-level paging: 56 bits of user addresses.
    pub const FIVE_LEVEL: Self = Self { la57: true };

    /// Chooses by number of levels.
    ///
    /// # Errors
    ///
    /// [`UnknownLevels`] unless `levels` is 4 or 5.
    pub const fn new(levels: usize) -> Result<Self, UnknownLevels> {
        match levels {
            4 => Ok(Self::FOUR_LEVEL),
            5 => Ok(Self::FIVE_LEVEL),
            _ => Err(UnknownLevels { levels }),
        }
    }
}

impl Geometry for LongMode {
    type Word = u64;

    const BOUNDARY: usize = 256;
    const SLOTS: SlotTable = SlotTable::TopLevel;
    const HAS_NX: bool = true;

    fn levels(&self) -> &'static [Level] {
        if self.la57 { &FIVE_LEVEL } else { FOUR_LEVEL }
    }

    fn is_canonical_sign_extended(&self) -> bool {
        true
    }
}

// A table of each geometry is one page, the last level maps pages, and each level begins where the
// one below it ends.
const fn is_well_formed(levels: &[Level], word_bytes: usize) -> bool {
    let mut level = 0;
    while level < levels.len() {
        let here = levels[level];
        if here.entries() * word_bytes > 4096 {
            return false;
        }
        let below = level + 1;
        let expected =
            if below < levels.len() { levels[below].shift + levels[below].bits } else { 12 };
        if here.shift != expected {
            return false;
        }
        level = below;
    }
    true
}

const_assert_eq!(
    is_well_formed(&[Level { shift: 22, bits: 10 }, Level { shift: 12, bits: 10 }], 4),
    true
);
const_assert_eq!(is_well_formed(&PAE, 8), true);
const_assert_eq!(is_well_formed(&FIVE_LEVEL, 8), true);
const_assert_eq!(is_well_formed(FOUR_LEVEL, 8), true);
// 3 GiB of user addresses on 32 bits, half of the address space on 64.
const_assert_eq!((TwoLevel::BOUNDARY as u64) << 22, 0xc000_0000);
const_assert_eq!((PaeShared::BOUNDARY as u64) << 30, 0xc000_0000);
const_assert_eq!((PaePrivate::BOUNDARY as u64) << 30, 0xc000_0000);
const_assert_eq!((LongMode::BOUNDARY as u64) << 39, 1 << 47);
const_assert_eq!((LongMode::BOUNDARY as u64) << 48, 1 << 56);

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn kernel_halves_are_those_of_the_architecture() {
        let half = |first, last| KernelHalf { first, last };
        assert_eq!(TwoLevel.kernel_half(), half(0xc000_0000, 0xffff_ffff));
        assert_eq!(PaeShared.kernel_half(), half(0xc000_0000, 0xffff_ffff));
        assert_eq!(PaePrivate.kernel_half(), half(0xc000_0000, 0xffff_ffff));
        assert_eq!(LongMode::FOUR_LEVEL.kernel_half(), half(0xffff_8000_0000_0000, u64::MAX));
        assert_eq!(LongMode::FIVE_LEVEL.kernel_half(), half(0xff00_0000_0000_0000, u64::MAX));
    }

    #[test]
    fn slots_cover_the_kernel_half() {
        fn check<G: Geometry>(geometry: G, slots: usize) {
            assert_eq!(geometry.slots(), slots, "{geometry:?}");
            let half = geometry.kernel_half();
            assert_eq!(
                half.last - half.first,
                geometry.slot_span() * slots as u64 - 1,
                "{geometry:?}"
            );
        }
        check(TwoLevel, 256);
        check(PaeShared, 1);
        check(PaePrivate, 512);
        check(LongMode::FOUR_LEVEL, 256);
        check(LongMode::FIVE_LEVEL, 256);
    }

    #[test]
    fn levels_that_long_mode_does_not_have_are_refused() {
        assert_eq!(LongMode::new(3), Err(UnknownLevels { levels: 3 }));
        assert_eq!(LongMode::new(5), Ok(LongMode::FIVE_LEVEL));
    }
}
