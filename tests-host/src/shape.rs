//! The kernel halves of x86's geometries in the manual's numbers, and what a PGD holds in them,
//! word by word.
//!
//! Written without arch-x86, so that a mistake in its geometries cannot hide in the question.
//! Source: Intel SDM volume 3, chapter 4.

use std::ops::Range;

use hosted::frames::HostFrames;
use hosted::mmu::MmuKind;
use kernel_sync::atomic::Ordering;
use mm_generic::frames::{Frame, Frames};

/// Where one geometry has its kernel half.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// The MMU's paging mode.
    pub kind: MmuKind,
    /// First kernel address.
    pub first: u64,
    /// Last kernel address.
    pub last: u64,
    /// Bytes that one slot maps.
    pub span: u64,
    /// Slots that each mm has.
    pub slots: usize,
    /// Index of the first entry of the kernel half in the top-level table.
    pub boundary: usize,
    /// The slots are in a PMD of the mm's own, under the entry at the boundary.
    pub private_pmd: bool,
}

impl Shape {
    /// 32-bit paging.
    pub const TWO_LEVEL: Self = Self {
        kind: MmuKind::TwoLevel,
        first: 0xc000_0000,
        last: 0xffff_ffff,
        span: 4 << 20,
        slots: 256,
        boundary: 768,
        private_pmd: false,
    };

    /// PAE with one kernel PMD for all mms.
    pub const PAE_SHARED: Self =
        Self { kind: MmuKind::Pae, span: 1 << 30, slots: 1, boundary: 3, ..Self::TWO_LEVEL };

    /// PAE with a kernel PMD for each mm.
    pub const PAE_PRIVATE: Self =
        Self { span: 2 << 20, slots: 512, private_pmd: true, ..Self::PAE_SHARED };

    /// 4-level paging.
    pub const FOUR_LEVEL: Self = Self {
        kind: MmuKind::FourLevel,
        first: 0xffff_8000_0000_0000,
        last: u64::MAX,
        span: 512 << 30,
        slots: 256,
        boundary: 256,
        private_pmd: false,
    };

    /// 5-level paging.
    pub const FIVE_LEVEL: Self = Self {
        kind: MmuKind::FiveLevel,
        first: 0xff00_0000_0000_0000,
        span: 256 << 40,
        ..Self::FOUR_LEVEL
    };

    /// First address of a slot.
    #[must_use]
    pub fn addr(&self, slot: usize) -> u64 {
        self.first + slot as u64 * self.span
    }

    /// The words of the slots of the PGD at `root`.
    #[must_use]
    pub fn slots_of(&self, frames: &HostFrames, root: Frame) -> Vec<u64> {
        let (table, first) = self.slot_table(frames, root);
        self.words(frames, table, first..first + self.slots)
    }

    /// Sets the word of a slot of the PGD at `root`, as an MMU that sets an accessed bit does, or a
    /// kernel that has an entry of its own there.
    pub fn set_slot(&self, frames: &HostFrames, root: Frame, slot: usize, word: u64) {
        let (table, first) = self.slot_table(frames, root);
        self.set(frames, table, first + slot, word);
    }

    /// The words of the user half of the top-level table at `root`.
    #[must_use]
    pub fn user_of(&self, frames: &HostFrames, root: Frame) -> Vec<u64> {
        self.words(frames, root, 0..self.boundary)
    }

    /// Sets the word of entry `index` of the top-level table at `root`.
    pub fn set_top(&self, frames: &HostFrames, root: Frame, index: usize, word: u64) {
        self.set(frames, root, index, word);
    }

    /// The table that a slot's word leads to; `None` for none.
    #[must_use]
    pub fn table_of(word: u64) -> Option<Frame> {
        Frame::at(word & 0x000f_ffff_ffff_f000).filter(|_| word & 1 != 0)
    }

    fn slot_table(&self, frames: &HostFrames, root: Frame) -> (Frame, usize) {
        if !self.private_pmd {
            return (root, self.boundary);
        }
        let entry = self.words(frames, root, self.boundary..self.boundary + 1)[0];
        (Self::table_of(entry).expect("each mm has a kernel PMD from its birth on"), 0)
    }

    fn words(&self, frames: &HostFrames, table: Frame, range: Range<usize>) -> Vec<u64> {
        if self.kind == MmuKind::TwoLevel {
            let words = &frames.table32(table)[range];
            words.iter().map(|word| u64::from(word.load(Ordering::Acquire))).collect()
        } else {
            let words = &frames.table64(table)[range];
            words.iter().map(|word| word.load(Ordering::Acquire)).collect()
        }
    }

    fn set(&self, frames: &HostFrames, table: Frame, index: usize, word: u64) {
        if self.kind == MmuKind::TwoLevel {
            let word = u32::try_from(word).expect("a 32-bit entry");
            frames.table32(table)[index].store(word, Ordering::Release);
        } else {
            frames.table64(table)[index].store(word, Ordering::Release);
        }
    }
}
