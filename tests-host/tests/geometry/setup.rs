//! Geometries and boot tables that cannot carry a reference PGD.

use arch_x86::geometry::{Geometry, Level, LongMode, SlotTable, TwoLevel, UnknownLevels};
use arch_x86::slots::{SetupError, Slots};
use hosted::frames::HostFrames;
use mm_generic::arch::PgdAllocError;
use mm_generic::frames::{Frames, OutOfFrames};
use mm_generic::reference::ReferenceError;
use tests_host::machine::{Boot, PgdScheme};

use super::WAYS;

tests_host::on_every_machine!(boots: bad_boot_tables, bad_private_slots);

#[test]
fn levels_that_long_mode_does_not_have() {
    for levels in [0, 1, 2, 3, 6, usize::MAX] {
        assert_eq!(LongMode::new(levels), Err(UnknownLevels { levels }));
    }
    assert_eq!(
        LongMode::new(6).unwrap_err().to_string(),
        "long-mode page tables have 4 or 5 levels, not 6"
    );
    assert_eq!(LongMode::new(4), Ok(LongMode::FOUR_LEVEL));
    assert_eq!(LongMode::new(5), Ok(LongMode::FIVE_LEVEL));
}

/// All of a PGD in the kernel half: twice the slots that a kernel half has at most.
#[derive(Debug, Clone, Copy)]
struct AllKernel;

impl Geometry for AllKernel {
    type Word = u32;

    const BOUNDARY: usize = 0;
    const SLOTS: SlotTable = SlotTable::TopLevel;
    const HAS_NX: bool = false;

    fn levels(&self) -> &'static [Level] {
        TwoLevel.levels()
    }

    fn is_canonical_sign_extended(&self) -> bool {
        false
    }
}

#[test]
fn a_kernel_half_with_too_many_slots() {
    let frames = HostFrames::new(8).leak();
    let error = Slots::with_empty_reference(AllKernel, frames).err();
    let expected = SetupError::Reference(ReferenceError::TooManySlots { slots: 1024 });
    assert_eq!(error, Some(expected));
    assert_eq!(
        expected.to_string(),
        "setting up the reference PGD: a kernel half of 1024 slots; at most 512 are supported"
    );
}

fn bad_boot_tables<G: Geometry, A: PgdScheme<G>>(boot: &Boot<G, A>) {
    let frames = boot.frames();
    let before = frames.allocated();
    // No frame for a table.
    for fail in WAYS {
        for failing in 0..if boot.shape().private_pmd { 2 } else { 1 } {
            fail(frames, failing);
            let error = Slots::with_empty_reference(boot.geometry(), frames).err();
            frames.fail_never();
            let source = OutOfFrames { total: frames.total() };
            assert_eq!(error, Some(SetupError::Root(PgdAllocError::OutOfFrames(source))));
            assert_eq!(frames.allocated(), before);
        }
    }
    // Tables without the PMD that each mm is to have one of.
    let root = frames.alloc().unwrap();
    let adopted = Slots::adopt(boot.geometry(), frames, root, Vec::new());
    if boot.shape().private_pmd {
        assert_eq!(adopted.err(), Some(SetupError::NoKernelPmd { root }));
    } else {
        assert_eq!(adopted.map(|slots| slots.root()), Ok(root));
    }
    // SAFETY: what was made of it is gone.
    unsafe { frames.put(root) };
}

fn bad_private_slots<G: Geometry, A: PgdScheme<G>>(boot: &Boot<G, A>) {
    let (frames, shape) = (boot.frames(), boot.shape());
    let boot_tables = Slots::with_empty_reference(boot.geometry(), frames).unwrap();
    let root = boot_tables.root();
    let adopt = |private| Slots::adopt(boot.geometry(), frames, root, private).map(drop);
    for slot in [shape.slots, usize::MAX] {
        assert_eq!(
            adopt(vec![0, slot]),
            Err(SetupError::Reference(ReferenceError::NoSuchSlot { slot, slots: shape.slots }))
        );
    }
    let (slot, entry) = (shape.slots - 1, 0x1063);
    shape.set_slot(frames, root, slot, entry);
    assert_eq!(
        adopt(vec![slot]),
        Err(SetupError::Reference(ReferenceError::PrivateSlotPopulated { slot, entry }))
    );
    // What the boot tables hold counts as populated and synced: no mm was made from them yet.
    let slots = Slots::adopt(boot.geometry(), frames, root, Vec::new()).unwrap();
    assert_eq!(slots.reference().populated(), 1);
    assert!(slots.reference().is_synced(slot..slot + 1));
    assert_eq!(adopt(Vec::new()), Ok(()));
    // SAFETY: nothing refers to the tables any more.
    unsafe { boot_tables.free_root(root) };
}
