//! Frames above 4 GiB: beyond the reach of 32-bit entries, and of CR3 outside long mode.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use arch_x86::geometry::{Geometry, LongMode, PaePrivate, PaeShared, TwoLevel};
use arch_x86::slots::{SetupError, Slots};
use hosted::frames::HostFrames;
use mm_generic::arch::{PgdAllocError, PopulateError};
use mm_generic::frames::{Frame, Frames, OutOfFrames, PAGE_SIZE};
use mm_generic::page_tables::MapError;
use mm_generic::prot::Prot;
use tests_host::machine::{Boot, LockedPgds};
use tests_host::shape::Shape;

use super::State;

/// Frames of which those from number `high_from` on lie above 4 GiB, where 32-bit entries do not
/// reach.
struct HighFrames {
    frames: &'static HostFrames,
    high_from: AtomicUsize,
}

const HIGH: u64 = 1 << 32;

fn low(frame: Frame) -> Frame {
    Frame::at(frame.phys() % HIGH).unwrap()
}

// SAFETY: the frames are `HostFrames`', by other names.
unsafe impl Frames for HighFrames {
    fn alloc(&self) -> Result<Frame, OutOfFrames> {
        let frame = self.frames.alloc()?;
        let left = self
            .high_from
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        Ok(if left.is_ok() { frame } else { Frame::at(frame.phys() + HIGH).unwrap() })
    }

    fn get(&self, frame: Frame) {
        self.frames.get(low(frame));
    }

    unsafe fn put(&self, frame: Frame) {
        // SAFETY: the caller's promise.
        unsafe { self.frames.put(low(frame)) };
    }

    fn is_shared(&self, frame: Frame) -> bool {
        self.frames.is_shared(low(frame))
    }

    fn table32(&self, frame: Frame) -> &[AtomicU32] {
        self.frames.table32(low(frame))
    }

    fn table64(&self, frame: Frame) -> &[AtomicU64] {
        self.frames.table64(low(frame))
    }

    fn bytes(&self, frame: Frame) -> NonNull<[u8; PAGE_SIZE as usize]> {
        self.frames.bytes(low(frame))
    }
}

/// A reference PGD in frames of which those from number `high_from` on are high.
fn slots_in_high_frames<G: Geometry>(
    geometry: G,
    high_from: usize,
) -> (&'static HostFrames, Result<Slots<G, HighFrames>, SetupError>) {
    let frames = HostFrames::new(64).leak();
    let high = Box::leak(Box::new(HighFrames { frames, high_from: high_from.into() }));
    (frames, Slots::with_empty_reference(geometry, high))
}

#[test]
fn roots_beyond_the_reach_of_cr3() {
    fn check<G: Geometry>(geometry: G) {
        let (frames, slots) = slots_in_high_frames(geometry, 0);
        let Some(SetupError::Root(PgdAllocError::RootTooHigh { frame, bits: 32 })) = slots.err()
        else {
            panic!("{geometry:?}: CR3 has 32 bits");
        };
        assert!(frame.phys() > HIGH);
        assert_eq!(frames.allocated(), 0, "given back");
        assert_eq!(frames.count(low(frame)), 0);
    }
    check(TwoLevel);
    check(PaeShared);
    check(PaePrivate);
    for long_mode in [LongMode::FOUR_LEVEL, LongMode::FIVE_LEVEL] {
        let (frames, slots) = slots_in_high_frames(long_mode, 0);
        assert!(slots.is_ok(), "{long_mode:?}");
        assert_eq!(frames.allocated(), 1);
    }
}

#[test]
fn tables_beyond_the_reach_of_32_bit_entries() {
    let two_level = TwoLevel.kernel_half().range(0xc000_0000, 4 * (4 << 20)).unwrap();
    for tables in 0..4 {
        // The root and `tables` of the four tables are in reach.
        let (frames, slots) = slots_in_high_frames(TwoLevel, 1 + tables);
        let slots = slots.unwrap();
        match slots.populate(two_level) {
            Err(PopulateError::FrameTooHigh { frame }) => {
                assert!(frame.phys() > HIGH);
                assert_eq!(frames.count(low(frame)), 0, "given back");
                assert_eq!(frames.allocated(), 1, "and so are the {tables} before it");
                assert_eq!(slots.reference().populated(), 0);
            }
            result => panic!("{tables} tables: {result:?}"),
        }
    }
    let (_, slots) = slots_in_high_frames(TwoLevel, 1 + 4);
    assert_eq!(slots.unwrap().populate(two_level), Ok(()));
    let (_, slots) = slots_in_high_frames(PaeShared, 1);
    let pae = PaeShared.kernel_half().range(0xc000_0000, PAGE_SIZE).unwrap();
    assert_eq!(slots.unwrap().populate(pae), Ok(()), "64-bit entries hold any frame");
}

#[test]
fn a_page_beyond_the_reach_of_32_bit_entries() {
    Boot::<_, LockedPgds<_>>::new(TwoLevel, Shape::TWO_LEVEL).run(|machine| {
        let addr = machine.shape().addr(0);
        let range = machine.init_mm().grow(addr, PAGE_SIZE).unwrap();
        let frame = Frame::at(HIGH).unwrap();
        let before = State::of(machine);
        assert_eq!(
            machine.init_mm().map_kernel(&range, addr, frame, Prot::READ),
            Err(MapError::FrameTooHigh { addr, frame })
        );
        assert_eq!(State::of(machine), before);
    });
}
