//! Frames whose entries are loom atomics, and a geometry small enough for them.

use std::ptr::NonNull;
use std::sync::Mutex;

use arch_x86::geometry::{Geometry, Level, SlotTable};
use kernel_sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use mm_generic::frames::{Frame, Frames, OutOfFrames, PAGE_SIZE};
use mm_generic::kernel_range::KernelHalf;

/// Two user and two kernel slots of 16 KiB, each a table of four pages or a large page.
#[derive(Debug, Clone, Copy)]
pub struct Tiny;

/// Bytes that one slot of [`Tiny`] maps.
pub const TINY_SLOT: u64 = 1 << 14;

impl Geometry for Tiny {
    type Word = u64;

    const BOUNDARY: usize = 2;
    const SLOTS: SlotTable = SlotTable::TopLevel;
    const HAS_NX: bool = true;

    fn levels(&self) -> &'static [Level] {
        const { &[Level { shift: 14, bits: 3 }, Level { shift: 12, bits: 2 }] }
    }

    fn is_canonical_sign_extended(&self) -> bool {
        false
    }

    fn slots(&self) -> usize {
        2
    }

    /// Once around the table more than it has entries, for the sake of the addresses that no program may have.
    fn user_end(&self) -> u64 {
        (8 + 2) * TINY_SLOT
    }

    fn kernel_half(&self) -> KernelHalf {
        KernelHalf { first: self.user_end(), last: self.user_end() + 2 * TINY_SLOT - 1 }
    }
}

/// Two user and two kernel slots with three levels of tables below them, of four entries each.
#[derive(Debug, Clone, Copy)]
pub struct Deep;

impl Geometry for Deep {
    type Word = u64;

    const BOUNDARY: usize = 2;
    const SLOTS: SlotTable = SlotTable::TopLevel;
    const HAS_NX: bool = true;

    fn levels(&self) -> &'static [Level] {
        const {
            &[
                Level { shift: 18, bits: 2 },
                Level { shift: 16, bits: 2 },
                Level { shift: 14, bits: 2 },
                Level { shift: 12, bits: 2 },
            ]
        }
    }

    fn is_canonical_sign_extended(&self) -> bool {
        false
    }

    fn slots(&self) -> usize {
        2
    }

    fn user_end(&self) -> u64 {
        2 << 18
    }

    fn kernel_half(&self) -> KernelHalf {
        KernelHalf { first: self.user_end(), last: (4 << 18) - 1 }
    }
}

/// A fixed number of frames of few entries. The one that was freed last is taken first, so that entries come back as soon as they
/// may; a use after the free is a failure.
pub struct ModelFrames {
    /// Before they have been used.
    are_zero: bool,
    /// From who gives a frame back to who takes one: what an allocator's lock orders.
    given_back: AtomicUsize,
    tables: Vec<Vec<AtomicU64>>,
    state: Mutex<State>,
}

/// What a frame of rubbish holds: entries that are live and lead nowhere.
const RUBBISH: u64 = 0xdead_bee0_0001;

struct State {
    counts: Vec<usize>,
    /// How often each frame has been taken.
    lives: Vec<usize>,
    /// Those that nobody has, the next to be taken last.
    free: Vec<usize>,
}

/// Entries of a modelled table: enough for the user entry 0 and the kernel slots.
const ENTRIES: usize = 4;

impl ModelFrames {
    /// Makes `frames` frames.
    #[must_use]
    pub fn new(frames: usize) -> Self {
        Self::holding(0, frames)
    }

    /// Makes `frames` frames whose entries are live and wrong until they are handed out.
    #[must_use]
    pub fn of_rubbish(frames: usize) -> Self {
        Self::holding(RUBBISH, frames)
    }

    fn holding(entry: u64, frames: usize) -> Self {
        Self {
            are_zero: entry == 0,
            given_back: AtomicUsize::new(0),
            tables: (0..frames)
                .map(|_| (0..ENTRIES).map(|_| AtomicU64::new(entry)).collect())
                .collect(),
            state: Mutex::new(State {
                counts: vec![0; frames],
                lives: vec![0; frames],
                free: (0..frames).rev().collect(),
            }),
        }
    }

    fn index(frame: Frame) -> usize {
        usize::try_from(frame.phys() / PAGE_SIZE).expect("a modelled frame") - 1
    }

    fn assert_live(&self, frame: Frame) {
        let count = self.state().counts[Self::index(frame)];
        assert!(count > 0, "frame {frame:?} is used after it was freed");
    }

    /// Frames that are out at the moment.
    #[must_use]
    pub fn live(&self) -> usize {
        self.state().counts.iter().filter(|&&count| count > 0).count()
    }

    /// How often `frame`, which is out, has been taken; `None` for a frame that is none of these.
    pub(super) fn life(&self, frame: Frame) -> Option<usize> {
        let index = usize::try_from(frame.phys() / PAGE_SIZE).ok()?.checked_sub(1)?;
        if index >= self.tables.len() {
            return None;
        }
        self.assert_live(frame);
        Some(self.state().lives[index])
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

// SAFETY: a frame is handed out to one at a time, zeroed, and its entries are where they are.
unsafe impl Frames for ModelFrames {
    fn alloc(&self) -> Result<Frame, OutOfFrames> {
        let (free, is_used) = {
            let mut state = self.state();
            let total = state.counts.len();
            let free = state.free.pop().ok_or(OutOfFrames { total })?;
            state.counts[free] = 1;
            state.lives[free] += 1;
            (free, state.lives[free] > 1)
        };
        if !self.are_zero {
            self.given_back.fetch_add(0, Ordering::Acquire);
        }
        if is_used || !self.are_zero {
            for entry in &self.tables[free] {
                entry.store(0, Ordering::Relaxed);
            }
        }
        Ok(Frame::at((free as u64 + 1) * PAGE_SIZE).expect("a multiple of the page size"))
    }

    fn get(&self, frame: Frame) {
        self.state().counts[Self::index(frame)] += 1;
    }

    unsafe fn put(&self, frame: Frame) {
        self.assert_live(frame);
        if !self.are_zero {
            self.given_back.fetch_add(0, Ordering::Release);
        }
        let (index, mut state) = (Self::index(frame), self.state());
        state.counts[index] -= 1;
        if state.counts[index] == 0 {
            state.free.push(index);
        }
    }

    fn is_shared(&self, frame: Frame) -> bool {
        self.state().counts[Self::index(frame)] > 1
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
