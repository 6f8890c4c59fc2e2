//! **gone**: when a reclaim has returned, no PGD that a CPU may load has the entry that went; each page has been handed back once, when no
//! PGD shows it; and when a replacement has returned, every PGD has the new entry and shows what it showed.

use arch_x86::geometry::Geometry;
use mm_generic::arch::ArchPgd;
use mm_generic::frames::{Frame, Frames, PAGE_SIZE};
use mm_generic::growth::SyncedRange;
use mm_generic::prot::Prot;
use mm_generic::reference::Refusal;
use mm_generic::replacement::{ReplaceError, Replacement};
use tests_host::interlude::{
    Point, meanwhile, points_of_a_birth, points_of_a_growth, points_of_an_attach,
};
use tests_host::machine::{Machine, PgdScheme};

tests_host::on_every_machine!(
    a_reclaimed_entry_is_gone_from_every_mm,
    the_entry_stays_as_long_as_somebody_has_a_share,
    the_slot_is_grown_into_again_at_once,
    whoever_is_born_during_a_reclaim_does_not_have_the_entry,
    a_reclaim_during_a_birth_is_not_undone,
    a_table_moves_and_shows_what_it_showed,
    whoever_is_born_during_a_replacement_has_the_new_entry,
    what_is_unmapped_below_a_split_is_gone_from_every_mm,
    a_range_in_a_large_page_is_reclaimed_page_by_page,
    two_ranges_in_a_large_page_are_reclaimed_at_once,
    others_keep_a_table_from_being_replaced,
    what_cannot_be_replaced_is_named,
);

const RW: Prot = Prot::READ.union(Prot::WRITE);

/// A range of a page in `slot`, mapped.
fn mapped<G: Geometry, A: PgdScheme<G>>(
    machine: &Machine<G, A>,
    slot: usize,
    page: u64,
) -> (SyncedRange, u64, Frame) {
    let addr = machine.shape().addr(slot) + page * PAGE_SIZE;
    let range = machine.init_mm().grow(addr, PAGE_SIZE).expect("a page of the kernel half");
    let frame = machine.frames().alloc().expect("frames enough");
    machine.init_mm().map_kernel(&range, addr, frame, RW).expect("nothing is mapped there");
    (range, addr, frame)
}

/// All roots, the reference's too.
fn roots<G: Geometry, A: PgdScheme<G>>(machine: &Machine<G, A>) -> Vec<Frame> {
    let reference = machine.init_mm().arch().reference_root();
    machine.roots().into_iter().chain([reference]).collect()
}

fn reclaim<G: Geometry, A: PgdScheme<G>>(
    machine: &Machine<G, A>,
    range: SyncedRange,
) -> Vec<(u64, Frame)> {
    let mut pages = Vec::new();
    let release = |addr, frame| {
        for root in roots(machine) {
            assert!(machine.translate(root, addr).is_err(), "{addr:#x} is shown after its release");
        }
        pages.push((addr, frame));
    };
    // SAFETY: nobody uses the range; each frame goes back once, below.
    unsafe { machine.init_mm().reclaim(range, release) }.expect("heap and frames enough");
    for &(_, frame) in &pages {
        // SAFETY: handed back, and shown by no PGD.
        unsafe { machine.frames().put(frame) };
    }
    pages
}

/// The slot that the tests reclaim: the last.
fn last<G: Geometry, A: PgdScheme<G>>(machine: &Machine<G, A>) -> usize {
    machine.shape().slots - 1
}

fn assert_slot_is<G: Geometry, A: PgdScheme<G>>(machine: &Machine<G, A>, slot: usize, live: bool) {
    let reference = machine.reference_slots()[slot];
    assert_eq!(reference & 1 != 0, live);
    for root in machine.roots() {
        assert_eq!(machine.slots_of(root)[slot], reference, "the PGD at {:#x}", root.phys());
    }
}

/// Linux never clears a kernel top-level entry: af2cf278ef4f (2015), and the leak it left at memory hot-remove.
fn a_reclaimed_entry_is_gone_from_every_mm<G: Geometry, A: PgdScheme<G>>(machine: &Machine<G, A>) {
    let slot = last(machine);
    let running = machine.fork();
    machine.switch(1, &running);
    machine.rcu_barrier();
    let before = machine.frames().allocated();
    let (range, addr, frame) = mapped(machine, slot, 3);
    let child = machine.fork();
    machine.exit(&child);
    let mms = machine.frames().allocated();
    assert_eq!(reclaim(machine, range), [(addr, frame)]);
    assert_slot_is(machine, slot, false);
    assert!(!machine.reference().is_populated(slot));
    machine.rcu_barrier();
    assert!(mms > before && machine.frames().allocated() <= mms - 2, "the table and the page");
}

fn the_entry_stays_as_long_as_somebody_has_a_share<G: Geometry, A: PgdScheme<G>>(
    machine: &Machine<G, A>,
) {
    let slot = last(machine);
    let (first, first_addr, first_frame) = mapped(machine, slot, 0);
    let (second, addr, frame) = mapped(machine, slot, 1);
    assert_eq!(reclaim(machine, first), [(first_addr, first_frame)]);
    assert_slot_is(machine, slot, true);
    assert!(machine.reference().is_synced(slot..slot + 1));
    for root in roots(machine) {
        assert_eq!(machine.translate(root, addr), Ok(frame.phys()));
    }
    assert_eq!(reclaim(machine, second), [(addr, frame)]);
    assert_slot_is(machine, slot, false);
    machine.rcu_barrier();
}

fn the_slot_is_grown_into_again_at_once<G: Geometry, A: PgdScheme<G>>(machine: &Machine<G, A>) {
    let slot = last(machine);
    for _ in 0..3 {
        let (range, addr, frame) = mapped(machine, slot, 0);
        for root in roots(machine) {
            assert_eq!(machine.translate(root, addr), Ok(frame.phys()));
        }
        assert_eq!(reclaim(machine, range), [(addr, frame)]);
    }
    machine.rcu_barrier();
}

fn whoever_is_born_during_a_reclaim_does_not_have_the_entry<G: Geometry, A: PgdScheme<G>>(
    machine: &Machine<G, A>,
) {
    let slot = last(machine);
    let points = points_of_a_growth(A::WALKS).iter().filter(|&&point| point != Point::Populated);
    for &point in points {
        let (range, ..) = mapped(machine, slot, 0);
        let (kthread, orphan) = (machine.kthread(), machine.orphan());
        let born = || {
            let child = machine.fork();
            machine.switch(2, &child);
            machine.exec(2, &child);
            machine.attach(3, &kthread, orphan.clone());
        };
        meanwhile(point, born, || reclaim(machine, range));
        assert_slot_is(machine, slot, false);
        drop(machine.detach(&kthread));
        machine.leave(2);
        machine.leave(3);
        machine.rcu_barrier();
    }
}

fn a_reclaim_during_a_birth_is_not_undone<G: Geometry, A: PgdScheme<G>>(machine: &Machine<G, A>) {
    let slot = last(machine);
    for &point in points_of_a_birth() {
        let (range, ..) = mapped(machine, slot, 0);
        let child = meanwhile(point, || drop(reclaim(machine, range)), || machine.fork());
        assert_slot_is(machine, slot, false);
        let (range, ..) = mapped(machine, slot, 0);
        meanwhile(point, || drop(reclaim(machine, range)), || machine.exec(2, &child));
        assert_slot_is(machine, slot, false);
        machine.leave(2);
    }
    for &point in points_of_an_attach() {
        let (range, ..) = mapped(machine, slot, 0);
        let (kthread, orphan) = (machine.kthread(), machine.orphan());
        let attach = || machine.attach(3, &kthread, orphan.clone());
        meanwhile(point, || drop(reclaim(machine, range)), attach);
        assert_slot_is(machine, slot, false);
        drop(machine.detach(&kthread));
        machine.leave(3);
    }
    machine.rcu_barrier();
}

fn a_table_moves_and_shows_what_it_showed<G: Geometry, A: PgdScheme<G>>(machine: &Machine<G, A>) {
    let slot = last(machine);
    let running = machine.fork();
    machine.switch(1, &running);
    let (mut range, addr, frame) = mapped(machine, slot, 5);
    let (allocated, old) = (machine.frames().allocated(), machine.reference_slots()[slot]);
    machine.init_mm().replace(&mut range, addr, Replacement::Move).expect("the sole owner");
    assert_ne!(machine.reference_slots()[slot], old);
    assert_slot_is(machine, slot, true);
    for root in roots(machine) {
        assert_eq!(machine.translate(root, addr), Ok(frame.phys()));
    }
    machine.rcu_barrier();
    assert!(machine.frames().allocated() <= allocated, "the old table is freed");
    assert_eq!(reclaim(machine, range), [(addr, frame)]);
    machine.rcu_barrier();
}

/// Linux 41d88484c71c is the collapse of a kernel table while CPUs walk it.
fn whoever_is_born_during_a_replacement_has_the_new_entry<G: Geometry, A: PgdScheme<G>>(
    machine: &Machine<G, A>,
) {
    let slot = last(machine);
    let (mut range, addr, frame) = mapped(machine, slot, 0);
    let replace = |range: &mut SyncedRange| {
        machine.init_mm().replace(range, addr, Replacement::Move).expect("the sole owner");
    };
    let points = points_of_a_growth(A::WALKS).iter().filter(|&&point| point != Point::Populated);
    for &point in points {
        let born = || {
            let child = machine.fork();
            machine.switch(2, &child);
            machine.exec(2, &child);
        };
        meanwhile(point, born, || replace(&mut range));
        assert_slot_is(machine, slot, true);
        machine.leave(2);
    }
    for &point in points_of_a_birth() {
        drop(meanwhile(point, || replace(&mut range), || machine.fork()));
        assert_slot_is(machine, slot, true);
    }
    for root in roots(machine) {
        assert_eq!(machine.translate(root, addr), Ok(frame.phys()));
    }
    assert_eq!(reclaim(machine, range), [(addr, frame)]);
    machine.rcu_barrier();
}

/// A whole slot mapped by one large page, on the geometries that can; the frames are not the arena's and are never touched.
fn large<G: Geometry, A: PgdScheme<G>>(machine: &Machine<G, A>) -> Option<SyncedRange> {
    if !machine.slots().tables().geometry().slots_hold_large_pages() {
        return None;
    }
    let (slot, span) = (last(machine), machine.shape().span);
    let start = machine.shape().addr(slot);
    let mut range = machine.init_mm().grow(start, span).expect("a slot of the kernel half");
    for offset in (0..span).step_by(PAGE_SIZE as usize) {
        let frame = Frame::at(0x4000_0000 + offset).expect("a multiple of the page size");
        machine.init_mm().map_kernel(&range, start + offset, frame, RW).expect("nothing there");
    }
    machine.init_mm().replace(&mut range, start, Replacement::Collapse).expect("uniform");
    assert_ne!(machine.reference_slots()[slot] & 1 << 7, 0, "a large page");
    Some(range)
}

/// Another range's page, unmapped while the large page that it lies in is being split for this one.
fn what_is_unmapped_below_a_split_is_gone_from_every_mm<G: Geometry, A: PgdScheme<G>>(
    machine: &Machine<G, A>,
) {
    let Some(mut range) = large(machine) else { return };
    let running = machine.fork();
    machine.switch(1, &running);
    let addr = range.start() + 7 * PAGE_SIZE;
    let other = machine.init_mm().grow(addr, PAGE_SIZE).expect("a page of the kernel half");
    let unmap = || {
        // SAFETY: nothing is cached on this machine, and nobody uses the page.
        let frame = unsafe { machine.init_mm().unmap_kernel(&other, addr) };
        assert_eq!(frame.map(Frame::phys), Some(0x4000_0000 + 7 * PAGE_SIZE));
        for root in roots(machine) {
            assert!(machine.translate(root, addr).is_err(), "the large page is still there");
        }
    };
    let split = |range: &mut SyncedRange| {
        let start = range.start();
        machine.init_mm().replace(range, start, Replacement::Split).expect("a large page");
    };
    if A::WALKS {
        meanwhile(Point::WalkBegun, unmap, || split(&mut range));
    } else {
        split(&mut range);
        unmap();
    }
    assert_slot_is(machine, last(machine), true);
    release_unowned(machine, range);
    release_unowned(machine, other);
    machine.rcu_barrier();
}

fn release_unowned<G: Geometry, A: PgdScheme<G>>(machine: &Machine<G, A>, range: SyncedRange) {
    // SAFETY: nobody uses the range, and its frames are nobody's.
    unsafe { machine.init_mm().reclaim(range, |_, _| {}) }.expect("heap and frames enough");
}

fn a_range_in_a_large_page_is_reclaimed_page_by_page<G: Geometry, A: PgdScheme<G>>(
    machine: &Machine<G, A>,
) {
    let Some(whole) = large(machine) else { return };
    let addr = whole.start() + 9 * PAGE_SIZE;
    let part = machine.init_mm().grow(addr, 100 * PAGE_SIZE).expect("pages of the kernel half");
    let mut pages = Vec::new();
    // SAFETY: nobody uses the range, and its frames are nobody's.
    let reclaimed =
        unsafe { machine.init_mm().reclaim(part, |addr, frame| pages.push((addr, frame))) };
    reclaimed.expect("heap and frames enough");
    let expected = (0..100).map(|page| {
        let frame = Frame::at(0x4000_0000 + (9 + page) * PAGE_SIZE).expect("a page");
        (addr + page * PAGE_SIZE, frame)
    });
    assert_eq!(pages, expected.collect::<Vec<_>>(), "each once");
    for root in roots(machine) {
        assert!(machine.translate(root, addr).is_err());
        assert_eq!(machine.translate(root, whole.start()), Ok(0x4000_0000));
    }
    release_unowned(machine, whole);
    assert_slot_is(machine, last(machine), false);
    machine.rcu_barrier();
}

/// Both find the large page, and one of them comes to split it when the other has.
fn two_ranges_in_a_large_page_are_reclaimed_at_once<G: Geometry, A: PgdScheme<G>>(
    machine: &Machine<G, A>,
) {
    let Some(whole) = large(machine) else { return };
    let addr = whole.start() + 9 * PAGE_SIZE;
    let part = machine.init_mm().grow(addr, PAGE_SIZE).expect("a page of the kernel half");
    let other = machine.init_mm().grow(addr + PAGE_SIZE, PAGE_SIZE).expect("the next one");
    // The first time that slots are asked for, nobody has looked for a large page yet.
    meanwhile(
        Point::SlotsAsked,
        || release_unowned(machine, other),
        || meanwhile(Point::SlotsAsked, || {}, || release_unowned(machine, part)),
    );
    for root in roots(machine) {
        assert!(machine.translate(root, addr).is_err());
        assert!(machine.translate(root, addr + PAGE_SIZE).is_err());
        assert_eq!(machine.translate(root, whole.start()), Ok(0x4000_0000));
    }
    release_unowned(machine, whole);
    assert_slot_is(machine, last(machine), false);
    machine.rcu_barrier();
}

fn others_keep_a_table_from_being_replaced<G: Geometry, A: PgdScheme<G>>(machine: &Machine<G, A>) {
    let slot = last(machine);
    let (mut first, addr, frame) = mapped(machine, slot, 0);
    let (second, ..) = mapped(machine, slot, 1);
    let before = machine.reference_slots();
    let refused = machine.init_mm().replace(&mut first, addr, Replacement::Move);
    let refusal = Refusal::NotSoleOwner { slot, shares: 2 };
    assert_eq!(refused, Err(ReplaceError::Refused(refusal)));
    assert_eq!(machine.reference_slots(), before);
    reclaim(machine, second);
    machine.init_mm().replace(&mut first, addr, Replacement::Move).expect("the sole owner now");
    assert_eq!(reclaim(machine, first), [(addr, frame)]);
    machine.rcu_barrier();
}

fn what_cannot_be_replaced_is_named<G: Geometry, A: PgdScheme<G>>(machine: &Machine<G, A>) {
    let slot = last(machine);
    let (mut range, addr, _) = mapped(machine, slot, 1);
    let entry = machine.reference_slots()[slot];
    let outside = addr + PAGE_SIZE;
    let mut replace = |addr, how| machine.init_mm().replace(&mut range, addr, how);
    let bad = ReplaceError::BadAddress { addr: outside };
    assert_eq!(replace(outside, Replacement::Move), Err(bad));
    let split = replace(addr, Replacement::Split);
    let collapse = replace(addr, Replacement::Collapse);
    if machine.slots().tables().geometry().slots_hold_large_pages() {
        let wrong = ReplaceError::WrongKind { slot, entry, how: Replacement::Split };
        assert_eq!(split, Err(wrong));
        let first = machine.shape().addr(slot);
        assert_eq!(collapse, Err(ReplaceError::NotUniform { slot, addr: first }));
    } else {
        assert_eq!(
            (split, collapse),
            (Err(ReplaceError::NoLargePages { slot }), Err(ReplaceError::NoLargePages { slot }))
        );
    }
    machine.frames().fail_after(0);
    let exhausted = replace(addr, Replacement::Move);
    machine.frames().fail_never();
    assert!(matches!(exhausted, Err(ReplaceError::OutOfFrames(_))), "{exhausted:?}");
    assert_slot_is(machine, slot, true);
    assert_eq!(machine.reference_slots()[slot], entry);
    reclaim(machine, range);
    machine.rcu_barrier();
}
