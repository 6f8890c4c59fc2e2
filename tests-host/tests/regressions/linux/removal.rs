//! Kernel top-level entries that go or change: what made Linux give that up (af2cf278ef4f), what happened where it was done by
//! mistake (98fe3633c5a4), and where it came back (41d88484c71c).
//!
//! Each interleaving is run on every geometry and scheme, and must come out right; and on a scheme for which entries are only
//! ever added, as they were when it was written, and must come out wrong. Loom explores the two that are races, with every other
//! order of their steps, in "fork x reclaim", where the mutant `late-fills-only-none` dies, and "fork x split and collapse".

use arch_x86::geometry::{Geometry, LongMode, TwoLevel};
use mm_generic::frames::{Frame, Frames, PAGE_SIZE};
use mm_generic::growth::SyncedRange;
use mm_generic::prot::Prot;
use mm_generic::replacement::Replacement;
use tests_host::interlude::{meanwhile, points_of_a_birth};
use tests_host::machine::{Boot, Machine, PgdScheme};
use tests_host::shape::Shape;

use super::grow_only::GrowOnly;
#[cfg(feature = "pgd-init-late")]
use super::grow_only::GrowOnlyLate;

tests_host::on_every_machine!(
    linux_af2cf278ef4f_a_hot_remove_during_a_fork,
    linux_98fe3633c5a4_a_hot_add_after_a_hot_remove,
    linux_41d88484c71c_a_collapse_during_a_fork,
);

/// The slot that goes.
fn last<G: Geometry, A: PgdScheme<G>>(machine: &Machine<G, A>) -> usize {
    machine.shape().slots - 1
}

/// A range of one page, mapped, in the slot that goes; and the table behind the slot.
fn hot_add<G: Geometry, A: PgdScheme<G>>(machine: &Machine<G, A>) -> (SyncedRange, Frame, Frame) {
    let addr = machine.shape().addr(last(machine)) + 3 * PAGE_SIZE;
    let range = machine.init_mm().grow(addr, PAGE_SIZE).expect("a page of the kernel half");
    let page = machine.frames().alloc().expect("frames enough");
    let rights = Prot::READ | Prot::WRITE;
    machine.init_mm().map_kernel(&range, addr, page, rights).expect("nothing is mapped there");
    let table = Shape::table_of(machine.reference_slots()[last(machine)]).expect("populated");
    (range, page, table)
}

fn hot_remove<G: Geometry, A: PgdScheme<G>>(machine: &Machine<G, A>, range: SyncedRange) {
    let mut pages = Vec::new();
    // SAFETY: nobody uses the range; each frame goes back once, below.
    unsafe { machine.init_mm().reclaim(range, |_, page| pages.push(page)) }
        .expect("heap and frames enough");
    for page in pages {
        // SAFETY: handed back.
        unsafe { machine.frames().put(page) };
    }
}

/// Waits until `table` is free, and has it used by somebody else. Asserts that no PGD leads there, that of `others` included.
fn assert_gone<G: Geometry, A: PgdScheme<G>>(
    machine: &Machine<G, A>,
    table: Frame,
    others: &[Frame],
) -> Vec<Frame> {
    machine.rcu_barrier();
    assert_eq!(machine.frames().count(table), 0, "the table is not freed");
    let mut used = Vec::new();
    while used.last() != Some(&table) {
        used.push(machine.frames().alloc().expect("the table's frame is free"));
    }
    for root in machine.roots().iter().chain(others) {
        let entry = machine.slots_of(*root)[last(machine)];
        assert_ne!(
            Shape::table_of(entry),
            Some(table),
            "the PGD at {:#x} leads to a table that was freed",
            root.phys()
        );
    }
    used
}

fn give_back<G: Geometry, A: PgdScheme<G>>(machine: &Machine<G, A>, frames: Vec<Frame>) {
    for frame in frames {
        // SAFETY: taken in `assert_gone`, and used for nothing.
        unsafe { machine.frames().put(frame) };
    }
}

/// af2cf278ef4f (2015) stopped memory hot-remove from clearing kernel PGD entries: "this complicates PGD management". With
/// the late init of the same series it would have lost, because that fills what is none and trusts what is not:
///
/// ```text
/// CPU A: forks                          CPU B: hot-removes
/// copies the entry, which leads to T
///                                       clears the reference's entry
///                                       clears it in every mm it finds; not A's, which is not published
///                                       frees T, which becomes somebody's page
/// publishes the mm
/// late init: the slot is not none: leaves it
/// the child's kernel half leads to somebody's page
/// ```
fn linux_af2cf278ef4f_a_hot_remove_during_a_fork<G: Geometry, A: PgdScheme<G>>(
    machine: &Machine<G, A>,
) {
    let running = machine.fork();
    machine.switch(1, &running);
    for &point in points_of_a_birth() {
        let (range, _, table) = hot_add(machine);
        let child = meanwhile(point, || hot_remove(machine, range), || machine.fork());
        let root = child.mm().expect("a user task").root();
        give_back(machine, assert_gone(machine, table, &[root]));
        machine.switch(2, &child);
        assert_eq!(machine.slots_of(root), machine.reference_slots());
        machine.leave(2);
    }
}

/// 98fe3633c5a4: a conversion to five levels (f2a6a7050109) had brought the clearing back by mistake, for with four levels the table that it
/// freed is the one behind the PGD entry. Nobody took the entry out of the other PGDs, and when memory was added again,
/// `sync_global_pgds` found them leading elsewhere than the reference's: a `BUG_ON`.
///
/// ```text
/// an mm                                 the kernel
/// has the entry that leads to T
///                                       hot-remove: clears the reference's entry, frees T
/// leads to T still
///                                       hot-add: the reference leads to U; where an mm's slot is none, it is filled
/// leads to T still, not to U
/// ```
fn linux_98fe3633c5a4_a_hot_add_after_a_hot_remove<G: Geometry, A: PgdScheme<G>>(
    machine: &Machine<G, A>,
) {
    let [running, waiting] = [machine.fork(), machine.fork()];
    machine.switch(1, &running);
    let (range, _, table) = hot_add(machine);
    hot_remove(machine, range);
    // So that the frame does not come back as the new table.
    let used = assert_gone(machine, table, &[]);
    let (range, page, new) = hot_add(machine);
    assert_ne!(new, table);
    for root in machine.roots() {
        assert_eq!(machine.slots_of(root), machine.reference_slots(), "{:#x}", root.phys());
        assert_eq!(machine.translate(root, range.start()), Ok(page.phys()));
    }
    machine.switch(2, &waiting);
    hot_remove(machine, range);
    give_back(machine, used);
    machine.leave(2);
}

/// 41d88484c71c (2025) collapses kernel tables into large pages: an entry changes, and the table behind the old one is freed. Where
/// PGDs hold the entry themselves, and one is being copied, filling what is none is not enough again:
///
/// ```text
/// CPU A: forks                          CPU B: collapses
/// copies the entry, which leads to T
///                                       stores the large page's entry in the reference
///                                       stores it in every mm it finds; not A's
///                                       flushes, frees T
/// publishes the mm
/// late init: the slot is not none: leaves it
/// the child translates through somebody's page
/// ```
///
/// Where a top-level entry cannot be a large page, the table moves to another frame instead.
fn linux_41d88484c71c_a_collapse_during_a_fork<G: Geometry, A: PgdScheme<G>>(
    machine: &Machine<G, A>,
) {
    let running = machine.fork();
    machine.switch(1, &running);
    let is_large = machine.slots().tables().geometry().slots_hold_large_pages();
    for &point in points_of_a_birth() {
        let (mut range, shows, how) = if is_large {
            (whole_slot(machine), LARGE_PHYS, Replacement::Collapse)
        } else {
            let (range, page, _) = hot_add(machine);
            (range, page.phys(), Replacement::Move)
        };
        let addr = range.start();
        let table = Shape::table_of(machine.reference_slots()[last(machine)]).expect("a table");
        let replace = || {
            machine.init_mm().replace(&mut range, addr, how).expect("the sole owner, and uniform");
        };
        let child = meanwhile(point, replace, || machine.fork());
        let root = child.mm().expect("a user task").root();
        give_back(machine, assert_gone(machine, table, &[root]));
        for root in machine.roots() {
            assert_eq!(machine.slots_of(root), machine.reference_slots());
            assert_eq!(machine.translate(root, addr), Ok(shows));
        }
        if is_large {
            // SAFETY: nobody uses the range, and its frames are nobody's.
            unsafe { machine.init_mm().reclaim(range, |_, _| {}) }.expect("heap and frames enough");
        } else {
            hot_remove(machine, range);
        }
        machine.rcu_barrier();
    }
}

/// Physical memory behind a large page; no frame of the arena's, and never touched.
const LARGE_PHYS: u64 = 0x4000_0000;

/// All of a slot, mapped page by page so that it can be collapsed.
fn whole_slot<G: Geometry, A: PgdScheme<G>>(machine: &Machine<G, A>) -> SyncedRange {
    let (start, span) = (machine.shape().addr(last(machine)), machine.shape().span);
    let range = machine.init_mm().grow(start, span).expect("a slot of the kernel half");
    for offset in (0..span).step_by(PAGE_SIZE as usize) {
        let page = Frame::at(LARGE_PHYS + offset).expect("a multiple of the page size");
        let rights = Prot::READ | Prot::WRITE;
        machine.init_mm().map_kernel(&range, start + offset, page, rights).expect("nothing there");
    }
    range
}

#[cfg(feature = "pgd-init-late")]
#[test]
#[should_panic(expected = "leads to a table that was freed")]
fn af2cf278ef4f_is_lost_by_a_late_init_that_fills_what_is_none() {
    Boot::<LongMode, GrowOnlyLate<LongMode>>::new(LongMode::FOUR_LEVEL, Shape::FOUR_LEVEL)
        .run(linux_af2cf278ef4f_a_hot_remove_during_a_fork);
}

#[test]
#[should_panic(expected = "leads to a table that was freed")]
fn af2cf278ef4f_is_lost_by_a_pgd_list_that_fills_what_is_none() {
    Boot::<LongMode, GrowOnly<LongMode>>::new(LongMode::FOUR_LEVEL, Shape::FOUR_LEVEL)
        .run(linux_af2cf278ef4f_a_hot_remove_during_a_fork);
}

#[test]
#[should_panic(expected = "leads to a table that was freed")]
fn linux_98fe3633c5a4_is_lost_by_a_pgd_list_that_fills_what_is_none() {
    Boot::<LongMode, GrowOnly<LongMode>>::new(LongMode::FOUR_LEVEL, Shape::FOUR_LEVEL)
        .run(linux_98fe3633c5a4_a_hot_add_after_a_hot_remove);
}

#[cfg(feature = "pgd-init-late")]
#[test]
#[should_panic(expected = "leads to a table that was freed")]
fn linux_41d88484c71c_is_lost_by_a_late_init_that_fills_what_is_none() {
    Boot::<TwoLevel, GrowOnlyLate<TwoLevel>>::new(TwoLevel, Shape::TWO_LEVEL)
        .run(linux_41d88484c71c_a_collapse_during_a_fork);
}

#[test]
#[should_panic(expected = "leads to a table that was freed")]
fn linux_41d88484c71c_is_lost_by_a_pgd_list_that_fills_what_is_none() {
    Boot::<TwoLevel, GrowOnly<TwoLevel>>::new(TwoLevel, Shape::TWO_LEVEL)
        .run(linux_41d88484c71c_a_collapse_during_a_fork);
}
