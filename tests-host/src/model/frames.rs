//! Frames whose entries are loom atomics, and a geometry small enough for them.

use std::ptr::NonNull;
use std::sync::Mutex;

use arch_x86::geometry::{Geometry, Level, SlotTable};
use kernel_sync::atomic::{AtomicU32, AtomicU64};
use mm_generic::frames::{Frame, Frames, OutOfFrames, PAGE_SIZE};

/// Two user and two kernel slots of 1 MiB.
#[derive(Debug, Clone, Copy)]
pub struct Tiny;

/// Bytes that one slot of [`Tiny`] maps.
pub const TINY_SLOT: u64 = 1 << 20;

impl Geometry for Tiny {
    type Word = u64;

    const BOUNDARY: usize = 2;
    const SLOTS: SlotTable = SlotTable::TopLevel;
    const HAS_NX: bool = true;

    fn levels(&self) -> &'static [Level] {
        const { &[Level { shift: 20, bits: 3 }, Level { shift: 12, bits: 8 }] }
    }

    fn is_canonical_sign_extended(&self) -> bool {
        false
    }

    fn slots(&self) -> usize {
        2
    }
}

/// A fixed number of frames of few entries. Frames are never reused, and a use after the free is a failure.
pub struct ModelFrames {
    tables: Vec<Vec<AtomicU64>>,
    /// Counts; a frame that was freed has `Some(0)`, one that was never taken `None`.
    counts: Mutex<Vec<Option<usize>>>,
}

/// Entries of a modelled table: enough for the user entry 0 and the kernel slots.
const ENTRIES: usize = 4;

impl ModelFrames {
    /// Makes `frames` frames.
    #[must_use]
    pub fn new(frames: usize) -> Self {
        Self {
            tables: (0..frames)
                .map(|_| (0..ENTRIES).map(|_| AtomicU64::new(0)).collect())
                .collect(),
            counts: Mutex::new(vec![None; frames]),
        }
    }

    fn index(frame: Frame) -> usize {
        usize::try_from(frame.phys() / PAGE_SIZE).expect("a modelled frame") - 1
    }

    fn assert_live(&self, frame: Frame) {
        let count = self.counts.lock().expect("no panic under this lock")[Self::index(frame)];
        assert!(count.is_some_and(|count| count > 0), "frame {frame:?} is used after it was freed");
    }

    /// Frames that are out at the moment.
    #[must_use]
    pub fn live(&self) -> usize {
        let counts = self.counts.lock().expect("no panic under this lock");
        counts.iter().filter(|count| count.is_some_and(|count| count > 0)).count()
    }
}

// SAFETY: a frame is handed out once in its life, and its entries are where they are.
unsafe impl Frames for ModelFrames {
    fn alloc(&self) -> Result<Frame, OutOfFrames> {
        let mut counts = self.counts.lock().expect("no panic under this lock");
        let total = counts.len();
        let free = counts.iter().position(Option::is_none).ok_or(OutOfFrames { total })?;
        counts[free] = Some(1);
        Ok(Frame::at((free as u64 + 1) * PAGE_SIZE).expect("a multiple of the page size"))
    }

    fn get(&self, frame: Frame) {
        let mut counts = self.counts.lock().expect("no panic under this lock");
        *counts[Self::index(frame)].as_mut().expect("a frame that was taken") += 1;
    }

    unsafe fn put(&self, frame: Frame) {
        self.assert_live(frame);
        let mut counts = self.counts.lock().expect("no panic under this lock");
        *counts[Self::index(frame)].as_mut().expect("a frame that was taken") -= 1;
    }

    fn is_shared(&self, frame: Frame) -> bool {
        self.counts.lock().expect("no panic under this lock")[Self::index(frame)] > Some(1)
    }

    fn table32(&self, _frame: Frame) -> &[AtomicU32] {
        unreachable!("the tiny geometry has 64-bit entries")
    }

    fn table64(&self, frame: Frame) -> &[AtomicU64] {
        self.assert_live(frame);
        &self.tables[Self::index(frame)]
    }

    fn bytes(&self, _frame: Frame) -> NonNull<[u8; PAGE_SIZE as usize]> {
        unreachable!("the model maps no user pages")
    }
}
