//! The reference PGD of a 4-level kernel, as far as the schemes of this folder need it.
//!
//! A slot is stored once, under a lock of the growers' own, and never changes. The bitmap of populated slots lets
//! a copy touch those only, as this project's does: a scheme that copied all 256 would be slower for no reason of its own.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use arch_x86::geometry::{Geometry, LongMode};
use arch_x86::tables::Tables;
use kernel_sync::atomic::{AtomicU64, Ordering};
use mm_generic::arch::PopulateError;
use mm_generic::frames::{Frame, Frames, OutOfFrames};
use mm_generic::kernel_range::{KernelHalf, KernelRange};

const GEOMETRY: LongMode = LongMode::FOUR_LEVEL;

/// Slots of the kernel half.
pub(super) const SLOTS: usize = 256;

/// Present and writable.
const TABLE: u64 = 3;

pub(super) struct Half<F: Frames> {
    tables: Tables<LongMode, F>,
    root: Frame,
    populated: [AtomicU64; SLOTS / 64],
    update: Mutex<()>,
}

impl<F: Frames> Half<F> {
    /// Makes an empty reference PGD.
    pub(super) fn new(frames: &'static F) -> Result<Self, OutOfFrames> {
        Ok(Self {
            tables: Tables::new(GEOMETRY, frames),
            root: frames.alloc()?,
            populated: [const { AtomicU64::new(0) }; SLOTS / 64],
            update: Mutex::new(()),
        })
    }

    pub(super) fn tables(&self) -> &Tables<LongMode, F> {
        &self.tables
    }

    pub(super) fn frames(&self) -> &'static F {
        self.tables.frames()
    }

    pub(super) fn root(&self) -> Frame {
        self.root
    }

    pub(super) fn addresses(&self) -> KernelHalf {
        GEOMETRY.kernel_half()
    }

    /// The slots that `range` touches.
    pub(super) fn range(&self, range: KernelRange) -> Range<usize> {
        let slot = |addr: u64| ((addr - self.addresses().first) / GEOMETRY.slot_span()) as usize;
        slot(range.start())..slot(range.last()) + 1
    }

    /// The kernel half of the PGD at `root`.
    pub(super) fn slots(&self, root: Frame) -> &'static [AtomicU64] {
        &self.frames().table64(root)[LongMode::BOUNDARY..]
    }

    /// Gives the reference a table in each of `slots` that has none, and calls `stored` if there was one, before the
    /// next grower comes.
    pub(super) fn populate(
        &self,
        slots: Range<usize>,
        stored: impl FnOnce(),
    ) -> Result<(), PopulateError> {
        let _grower = self.update.lock().unwrap_or_else(PoisonError::into_inner);
        let missing: Vec<usize> = slots.filter(|&slot| !self.is_populated(slot)).collect();
        let mut made: Vec<Frame> = Vec::new();
        for _ in &missing {
            match self.frames().alloc() {
                Ok(frame) => made.push(frame),
                Err(error) => {
                    // SAFETY: allocated above, and stored nowhere.
                    made.into_iter().for_each(|frame| unsafe { self.frames().put(frame) });
                    return Err(error.into());
                }
            }
        }
        let reference = self.slots(self.root);
        for (&slot, frame) in missing.iter().zip(&made) {
            // Release: whoever copies the entry finds the table initialised.
            reference[slot].store(frame.phys() | TABLE, Ordering::Release);
            let word = &self.populated[slot / 64];
            word.store(word.load(Ordering::Relaxed) | 1 << (slot % 64), Ordering::Release);
        }
        if !missing.is_empty() {
            stored();
        }
        Ok(())
    }

    /// Stores every populated slot of the reference in the PGD at `root`.
    pub(super) fn fill_populated(&self, root: Frame) {
        let (reference, slots) = (self.slots(self.root), self.slots(root));
        for (number, word) in self.populated.iter().enumerate() {
            let mut populated = word.load(Ordering::Acquire);
            while populated != 0 {
                let slot = number * 64 + populated.trailing_zeros() as usize;
                // An entry never changes, so whoever stores it stores the same.
                slots[slot].store(reference[slot].load(Ordering::Relaxed), Ordering::Relaxed);
                populated &= populated - 1;
            }
        }
    }

    /// Stores the reference's entries for `range` in the PGD at `root`.
    pub(super) fn fill(&self, root: Frame, range: Range<usize>) {
        let (reference, slots) = (self.slots(self.root), self.slots(root));
        for slot in range {
            slots[slot].store(reference[slot].load(Ordering::Acquire), Ordering::Release);
        }
    }

    fn is_populated(&self, slot: usize) -> bool {
        self.populated[slot / 64].load(Ordering::Acquire) >> (slot % 64) & 1 != 0
    }
}

/// Slots that every PGD is known to hold.
pub(super) struct Synced([AtomicU64; SLOTS / 64]);

impl Synced {
    pub(super) fn new() -> Self {
        Self([const { AtomicU64::new(0) }; SLOTS / 64])
    }

    pub(super) fn contains(&self, mut slots: Range<usize>) -> bool {
        slots.all(|slot| self.0[slot / 64].load(Ordering::Acquire) >> (slot % 64) & 1 != 0)
    }

    pub(super) fn insert(&self, slots: Range<usize>) {
        for slot in slots {
            self.0[slot / 64].fetch_or(1 << (slot % 64), Ordering::AcqRel);
        }
    }
}
