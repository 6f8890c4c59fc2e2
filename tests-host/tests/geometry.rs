//! Bad input and exhausted frames: a typed error that carries the value, and nothing changed, kept
//! or lost.
#![cfg(not(loom))]

use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;

use arch_x86::geometry::{
    Geometry, Level, LongMode, PaePrivate, PaeShared, SlotTable, TwoLevel, UnknownLevels,
};
use arch_x86::slots::{SetupError, Slots};
use hosted::frames::HostFrames;
use kernel_exec::exec_mmap::ExecMmapError;
use kernel_fork::args::CloneArgs;
use kernel_task::attach::{AttachError, kthread_unuse_mm, kthread_use_mm};
use mm_generic::arch::{PgdAllocError, PopulateError};
use mm_generic::frames::{Frame, Frames, OutOfFrames, PAGE_SIZE};
use mm_generic::growth::GrowError;
use mm_generic::kernel_range::RangeError;
use mm_generic::mm::NewMmError;
use mm_generic::page_tables::MapError;
use mm_generic::prot::Prot;
use mm_generic::publish::NewMm;
use mm_generic::reference::{ReferenceError, ReferencePgd};
use tests_host::interlude::trace;
use tests_host::machine::{Boot, Machine, PgdScheme};

tests_host::on_every_machine!(
    bad_ranges,
    frames_exhausted_at_each_point_of_a_growth,
    frames_exhausted_at_each_point_of_a_pgd_alloc,
    two_growers_of_one_range_take_one_table_for_each_slot,
    an_mm_is_published_in_one_place_at_a_time,
);
tests_host::on_every_machine!(boots: bad_private_slots, growth_into_a_private_slot, bad_boot_tables);

/// How frames run out: for good, or once.
const WAYS: [fn(&HostFrames, u64); 2] = [HostFrames::fail_after, HostFrames::fail_once_after];

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

fn growth_into_a_private_slot<G: Geometry, A: PgdScheme<G>>(boot: &Boot<G, A>) {
    let shape = boot.shape();
    let private = shape.slots / 2;
    boot.with_private(&[private]).run(|machine| {
        let task = machine.fork();
        let before = State::of(machine);
        let expected = PopulateError::PrivateSlot { slot: private, addr: shape.addr(private) };
        for slots in [private..private + 1, 0..private + 1, private..shape.slots, 0..shape.slots] {
            let trace = trace(|| {
                assert_eq!(machine.try_grow(slots), Err(GrowError::Populate(expected)));
            });
            assert_eq!(trace, [], "nothing was populated and nobody visited");
        }
        assert_eq!(State::of(machine), before);
        drop(task);
    });
}

/// What a failed growth must leave as it is.
#[derive(Debug, PartialEq)]
struct State {
    reference: Vec<u64>,
    mms: Vec<Vec<u64>>,
    stamp: u64,
    populated: usize,
    synced: Vec<bool>,
    allocated: usize,
}

impl State {
    fn of<G: Geometry, A: PgdScheme<G>>(machine: &Machine<G, A>) -> Self {
        let reference = machine.reference();
        Self {
            reference: machine.reference_slots(),
            mms: machine.roots().into_iter().map(|root| machine.slots_of(root)).collect(),
            stamp: reference.stamp().to_u64(),
            populated: reference.populated(),
            synced: (0..reference.len()).map(|slot| reference.is_synced(slot..slot + 1)).collect(),
            allocated: machine.frames().allocated(),
        }
    }
}

fn bad_ranges<G: Geometry, A: PgdScheme<G>>(machine: &Machine<G, A>) {
    let task = machine.fork();
    machine.switch(1, &task);
    let before = State::of(machine);
    let shape = machine.shape();
    let (first, last) = (shape.first, shape.last);
    let half = last - first + 1;
    let grow = |start, len| machine.init_mm().grow(start, len).map(drop);
    assert_eq!(grow(first, 0), Err(GrowError::Range(RangeError::Empty { start: first })));
    for (start, len) in
        [(first + 1, PAGE_SIZE), (first, PAGE_SIZE - 1), (first + 8, 8), (first, half - 1)]
    {
        assert_eq!(grow(start, len), Err(GrowError::Range(RangeError::Unaligned { start, len })));
    }
    for (start, len) in [
        (0, PAGE_SIZE),
        (first - PAGE_SIZE, PAGE_SIZE),
        (first - PAGE_SIZE, 2 * PAGE_SIZE),
        (first, half + PAGE_SIZE),
        (last - PAGE_SIZE + 1, 2 * PAGE_SIZE),
        (last.wrapping_add(1), PAGE_SIZE),
        (0x1000, u64::MAX - 0xfff),
        (first, u64::MAX - 0xfff),
    ] {
        assert_eq!(
            grow(start, len),
            Err(GrowError::Range(RangeError::OutsideKernelHalf { start, len, first, last })),
            "{start:#x} {len:#x}"
        );
    }
    assert_eq!(State::of(machine), before);
    // The two ends of the half are in it.
    assert_eq!(grow(last - PAGE_SIZE + 1, PAGE_SIZE), Ok(()));
    assert_eq!(grow(first, half), Ok(()));
    assert_eq!(machine.reference().populated(), shape.slots);
}

fn frames_exhausted_at_each_point_of_a_growth<G: Geometry, A: PgdScheme<G>>(
    machine: &Machine<G, A>,
) {
    let [running, waiting] = [machine.fork(), machine.fork()];
    machine.switch(1, &running);
    let slots = machine.shape().slots.min(6);
    if slots > 1 {
        // One slot in the middle needs no table.
        machine.grow(slots / 2..slots / 2 + 1);
    }
    let needed = slots as u64 - u64::from(slots > 1);
    let total = machine.frames().total();
    let expected = GrowError::Populate(PopulateError::OutOfFrames(OutOfFrames { total }));
    let before = State::of(machine);
    for fail in WAYS {
        for failing in 0..needed {
            fail(machine.frames(), failing);
            let trace = trace(|| {
                assert_eq!(machine.try_grow(0..slots), Err(expected), "allocation {failing}");
            });
            machine.frames().fail_never();
            assert_eq!(trace, [], "nobody was visited");
            assert_eq!(State::of(machine), before, "allocation {failing}");
        }
    }
    machine.frames().fail_after(needed);
    let range = machine.try_grow(0..slots).expect("enough for the tables, and no more");
    machine.frames().fail_never();
    // The tables below the slots come with the pages, and may fail too.
    let addr = machine.shape().addr(0);
    let page = machine.frames().alloc().unwrap();
    let before = State::of(machine);
    let map = || machine.init_mm().map_kernel(&range, addr, page, Prot::READ);
    if machine.shape().kind != hosted::mmu::MmuKind::TwoLevel && !machine.shape().private_pmd {
        machine.frames().fail_after(0);
        let source = OutOfFrames { total };
        assert_eq!(map(), Err(MapError::OutOfFrames { addr, source }));
        machine.frames().fail_never();
        assert_eq!(State::of(machine), before);
    }
    assert_eq!(map(), Ok(()));
    for root in machine.roots() {
        assert_eq!(machine.translate(root, addr), Ok(page.phys()));
    }
    assert_eq!(map(), Err(MapError::Occupied { addr, frame: page }));
    drop(waiting);
}

fn frames_exhausted_at_each_point_of_a_pgd_alloc<G: Geometry, A: PgdScheme<G>>(
    machine: &Machine<G, A>,
) {
    machine.grow(0..1);
    let before = State::of(machine);
    let source = OutOfFrames { total: machine.frames().total() };
    let expected = NewMmError::Pgd(PgdAllocError::OutOfFrames(source));
    let needed = if machine.shape().private_pmd { 2 } else { 1 };
    for fail in WAYS {
        for failing in 0..needed {
            fail(machine.frames(), failing);
            assert_eq!(NewMm::new(machine.init_mm()).err(), Some(expected));
            machine.frames().fail_never();
            assert_eq!(State::of(machine), before);
        }
    }
    machine.frames().fail_after(needed);
    drop(NewMm::new(machine.init_mm()).expect("enough for the PGD, and no more"));
    machine.frames().fail_never();
    machine.rcu_barrier();
    assert_eq!(State::of(machine), before);
}

fn two_growers_of_one_range_take_one_table_for_each_slot<G: Geometry, A: PgdScheme<G>>(
    machine: &Machine<G, A>,
) {
    let task = machine.fork();
    machine.switch(1, &task);
    let slots = machine.shape().slots.min(96);
    let before = machine.frames().allocated();
    let together = Barrier::new(2);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let _cpu = machine.cpu_online();
                for slot in (0..slots).step_by(3) {
                    together.wait();
                    let range = slot..(slot + 3).min(slots);
                    drop(machine.try_grow(range.clone()).unwrap());
                    for root in machine.roots() {
                        let words = machine.slots_of(root);
                        assert!(words[range.clone()].iter().all(|&word| word & 1 != 0));
                    }
                }
            });
        }
    });
    assert_eq!(machine.frames().allocated() - before, slots);
    for root in machine.roots() {
        assert_eq!(machine.slots_of(root), machine.reference_slots());
    }
}

/// Who comes second with an entry for a slot keeps it; the reference keeps the first.
#[test]
fn a_slot_is_populated_once() {
    let slots: &'static [AtomicU64] = Box::leak(Box::new([const { AtomicU64::new(0) }; 4]));
    let reference = ReferencePgd::<u64>::adopt(slots, vec![3]).unwrap();
    let mut entries = vec![(0, 0x1003), (2, 0x2003)];
    reference.populate(&mut entries);
    assert_eq!(entries, []);
    let stamp = reference.stamp();
    let mut entries = vec![(2, 0x3003)];
    reference.populate(&mut entries);
    assert_eq!(entries, [(2, 0x3003)], "given back");
    assert_eq!((reference.entry(2), reference.stamp()), (0x2003, stamp));
    let mut entries = vec![(0, 0x4003), (1, 0x5003), (2, 0x6003)];
    reference.populate(&mut entries);
    assert_eq!(entries, [(0, 0x4003), (2, 0x6003)]);
    assert_ne!(reference.stamp(), stamp);
    assert_eq!([0, 1, 2, 3].map(|slot| reference.entry(slot)), [0x1003, 0x5003, 0x2003, 0]);
    assert!(!reference.is_synced(0..1), "populated is not synced");
    assert!(reference.is_private(3) && !reference.is_private(2));
}

/// A second attach, an exec beside other threads: refused with the names of those concerned, and
/// nothing has changed.
fn an_mm_is_published_in_one_place_at_a_time<G: Geometry, A: PgdScheme<G>>(
    machine: &Machine<G, A>,
) {
    let (task, kthread) = (machine.fork(), machine.kthread());
    let orphans = [machine.orphan(), machine.orphan()];
    let attach = |task, mm| {
        // SAFETY: one thread plays the CPU.
        unsafe { kthread_use_mm(task, machine.loaded(1), mm) }
    };
    let (pid, user) = (kthread.pid(), task.pid());
    assert_eq!(kthread_unuse_mm(&kthread).err(), Some(AttachError::NotAttached { pid }));
    assert_eq!(kthread_unuse_mm(&task).err(), Some(AttachError::NotKernelThread { pid: user }));
    assert_eq!(attach(&task, orphans[0].clone()), Err(AttachError::NotKernelThread { pid: user }));
    assert_eq!(attach(&kthread, orphans[0].clone()), Ok(()));
    for orphan in &orphans {
        assert_eq!(attach(&kthread, orphan.clone()), Err(AttachError::AlreadyAttached { pid }));
    }
    assert_eq!(machine.loaded_root(1), Some(orphans[0].root()));
    assert_eq!((orphans[0].users(), orphans[1].users()), (2, 1), "what was refused was let go");

    let mm = task.mm().unwrap();
    let thread = machine.clone_of(&task, &CloneArgs::THREAD);
    machine.switch(2, &task);
    machine.rcu_barrier();
    let before = machine.frames().allocated();
    assert_eq!(
        machine.try_exec(2, &task),
        Err(ExecMmapError::OtherThreads { pid: task.process().pid(), threads: 2 })
    );
    assert_eq!(machine.try_exec(2, &kthread), Err(ExecMmapError::KernelThread { pid }));
    machine.rcu_barrier();
    assert_eq!(machine.frames().allocated(), before, "the new mm is gone");
    assert_eq!(machine.loaded_root(2), Some(mm.root()));
    assert!(task.mm().unwrap().ptr_eq(&mm));
    machine.exit(&thread);
    assert_eq!(machine.try_exec(2, &task), Ok(()));
    drop(machine.detach(&kthread));
}

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

    fn table32(&self, frame: Frame) -> &[std::sync::atomic::AtomicU32] {
        self.frames.table32(low(frame))
    }

    fn table64(&self, frame: Frame) -> &[AtomicU64] {
        self.frames.table64(low(frame))
    }

    fn bytes(&self, frame: Frame) -> std::ptr::NonNull<[u8; PAGE_SIZE as usize]> {
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
    use tests_host::machine::LockedPgds;
    use tests_host::shape::Shape;
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
