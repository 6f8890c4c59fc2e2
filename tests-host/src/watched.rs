//! Page-table entries that tell when they are read and stored: a look between two steps of the
//! product's inner loops.
//!
//! Late init reads an entry of the reference and then fills a slot; growth stores the entry under a
//! lock. Neither moment has a place to put a hook at, except the entry itself, whose type the
//! geometry chooses.

use arch_x86::geometry::{Geometry, Level, LongMode, SlotTable};
use kernel_sync::atomic::{AtomicU64, Ordering};
use mm_generic::frames::{Frame, Frames};
use mm_generic::word::Word;

use crate::interlude::{Point, pass};

/// A 64-bit entry that passes [`Point::EntryRead`] and [`Point::EntryStored`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watched(u64);

impl Word for Watched {
    type Atomic = AtomicU64;

    const NONE: Self = Self(0);

    const UNSETTLED: Self = Self(u64::UNSETTLED);

    fn is_live(self) -> bool {
        self.0.is_live()
    }

    fn load(cell: &AtomicU64, order: Ordering) -> Self {
        let entry = Self(cell.load(order));
        pass(Point::EntryRead);
        entry
    }

    fn store(cell: &AtomicU64, value: Self, order: Ordering) {
        cell.store(value.0, order);
        pass(Point::EntryStored);
    }

    fn compare_exchange(
        cell: &AtomicU64,
        current: Self,
        new: Self,
        success: Ordering,
        failure: Ordering,
    ) -> Result<Self, Self> {
        cell.compare_exchange(current.0, new.0, success, failure).map(Self).map_err(Self)
    }

    fn swap(cell: &AtomicU64, new: Self, order: Ordering) -> Self {
        Self(cell.swap(new.0, order))
    }

    fn table<F: Frames>(frames: &F, frame: Frame) -> &[AtomicU64] {
        frames.table64(frame)
    }

    fn to_u64(self) -> u64 {
        self.0
    }

    fn from_u64(bits: u64) -> Option<Self> {
        Some(Self(bits))
    }
}

/// 4-level paging with [`Watched`] entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WatchedFourLevel;

impl Geometry for WatchedFourLevel {
    type Word = Watched;

    const BOUNDARY: usize = LongMode::BOUNDARY;
    const SLOTS: SlotTable = LongMode::SLOTS;
    const HAS_NX: bool = LongMode::HAS_NX;

    fn levels(&self) -> &'static [Level] {
        LongMode::FOUR_LEVEL.levels()
    }

    fn is_canonical_sign_extended(&self) -> bool {
        true
    }
}
