//! A replacer or a reclaimer that dies halfway, at every step, and a second one that finishes.
//!
//! The dead one has changed the reference, and some PGDs. Nobody may free what its entry led to: no walk has vouched for it. So
//! exactly that is lost, which the tests find by freeing it themselves: the account at a machine's end is exact. Everybody shows
//! the new entry as soon as the next updater of the slot has returned.

use std::panic::{AssertUnwindSafe, catch_unwind};

use arch_x86::geometry::Geometry;
use mm_generic::frames::{Frame, Frames, PAGE_SIZE};
use mm_generic::growth::SyncedRange;
use mm_generic::kernel_slots::KernelSlots;
use mm_generic::prot::Prot;
use mm_generic::replacement::Replacement;
use mm_generic::retired::{Behind, Retired};
use tests_host::interlude::{Point, meanwhile};
use tests_host::machine::{Boot, Machine, PgdScheme};

use super::growers::{Died, live, points};

tests_host::on_every_machine!(boots:
    a_replacer_that_panics_loses_its_table_and_nothing_else,
    a_reclaimer_that_panics_loses_its_tables_and_nothing_else,
);

/// The steps of a walk that brings a change; the reference is changed before the first.
fn steps<G: Geometry, A: PgdScheme<G>>() -> impl Iterator<Item = Point> {
    points::<G, A>().into_iter().filter(|&point| point != Point::Populated)
}

/// A page mapped in the last slot.
fn mapped<G: Geometry, A: PgdScheme<G>>(machine: &Machine<G, A>) -> (SyncedRange, Frame) {
    let addr = machine.shape().addr(slot(machine));
    let range = machine.init_mm().grow(addr, PAGE_SIZE).expect("frames enough");
    let frame = machine.frames().alloc().expect("frames enough");
    let rights = Prot::READ | Prot::WRITE;
    machine.init_mm().map_kernel(&range, addr, frame, rights).expect("a free page");
    (range, frame)
}

fn slot<G: Geometry, A: PgdScheme<G>>(machine: &Machine<G, A>) -> usize {
    machine.shape().slots - 1
}

/// Runs `update`, which dies when it comes to `point`.
fn die_at(point: Point, update: impl FnOnce()) {
    let died = catch_unwind(AssertUnwindSafe(|| {
        meanwhile(point, || std::panic::panic_any(Died), update);
    }));
    let died = died.expect_err("the updater died");
    assert!(died.is::<Died>(), "at {point:?}, and of nothing else");
    println!("covered 1 updaters killed");
}

/// Every mm shows `frame`, through the reference's entry, which is not `old`.
fn assert_all_follow<G: Geometry, A: PgdScheme<G>>(
    machine: &Machine<G, A>,
    old: u64,
    addr: u64,
    frame: Frame,
) {
    let slot = slot(machine);
    let reference = machine.reference_slots()[slot];
    assert_ne!(reference, old);
    for root in machine.roots() {
        assert_eq!(machine.slots_of(root)[slot], reference, "in {:#x}", root.phys());
        assert_eq!(machine.translate(root, addr), Ok(frame.phys()));
    }
}

/// Frees what the dead one's entry led to, when nobody can hold it any more.
fn bury<G: Geometry, A: PgdScheme<G>>(machine: &Machine<G, A>, old: u64, behind: Behind) {
    machine.rcu_barrier();
    let mut retired = Retired::with_capacity(1, behind).expect("heap enough");
    retired.push(slot(machine), old);
    // SAFETY: the next updater has walked and flushed, and a grace period has passed.
    unsafe { machine.slots().free_retired(retired) };
}

fn give_back<G: Geometry, A: PgdScheme<G>>(machine: &Machine<G, A>, range: SyncedRange) {
    let frames = machine.frames();
    // SAFETY: nobody uses the range; each frame is handed over once and was allocated for it.
    unsafe { machine.init_mm().reclaim(range, |_, frame| frames.put(frame)) }.expect("heap enough");
    machine.rcu_barrier();
}

fn a_replacer_that_panics_loses_its_table_and_nothing_else<G: Geometry, A: PgdScheme<G>>(
    boot: &Boot<G, A>,
) {
    for point in steps::<G, A>() {
        boot.run(|machine| {
            let running = machine.fork();
            machine.switch(1, &running);
            let (mut range, frame) = mapped(machine);
            let addr = range.start();
            let old = machine.reference_slots()[slot(machine)];
            let replace = |range: &mut SyncedRange| {
                machine.init_mm().replace(range, addr, Replacement::Move).expect("the sole owner");
            };
            die_at(point, || replace(&mut range));
            live(machine, 2);
            replace(&mut range);
            assert_all_follow(machine, old, addr, frame);
            live(machine, 2);
            bury(machine, old, Behind::Table);
            give_back(machine, range);
        });
    }
}

fn a_reclaimer_that_panics_loses_its_tables_and_nothing_else<G: Geometry, A: PgdScheme<G>>(
    boot: &Boot<G, A>,
) {
    for point in steps::<G, A>() {
        boot.run(|machine| {
            let running = machine.fork();
            machine.switch(1, &running);
            let (range, frame) = mapped(machine);
            let addr = range.start();
            let old = machine.reference_slots()[slot(machine)];
            die_at(point, || {
                // SAFETY: nobody uses the range.
                let reclaimed = unsafe { machine.init_mm().reclaim(range, |_, _| ()) };
                reclaimed.expect("heap enough");
            });
            live(machine, 2);
            let (range, new) = mapped(machine);
            assert_all_follow(machine, old, addr, new);
            live(machine, 2);
            bury(machine, old, Behind::Subtree);
            // SAFETY: unmapped by the dead one, who was to release it when all had flushed, which they have.
            unsafe { machine.frames().put(frame) };
            give_back(machine, range);
        });
    }
}
