//! **ordered**: publish, barrier, read the reference; store the reference, barrier, walk. Late init ends before the
//! first load.
//!
//! What one CPU does, in what order, is shown here. That its barriers are full ones only shows between two
//! CPUs: `loom_protocol` explores that, and the mutants without them.

#[cfg(feature = "pgd-init-late")]
mod births;

use arch_x86::geometry::Geometry;
use mm_generic::frames::Frames;
use tests_host::interlude::{Point, meanwhile, trace};
use tests_host::machine::{Machine, PgdScheme};

tests_host::on_every_machine!(
    synced_after_the_walk_and_not_before,
    a_synced_slot_is_not_walked_for_again,
);
tests_host::on_every_machine!(late: one_walk_for_a_whole_range, tasks_before_cpus);

/// The reference is stored first; the slot counts as synced only when every mm has it.
fn synced_after_the_walk_and_not_before<G: Geometry, A: PgdScheme<G>>(machine: &Machine<G, A>) {
    let task = machine.fork();
    machine.switch(1, &task);
    let check = |stored_everywhere, synced| {
        move || {
            assert!(machine.reference().is_populated(0));
            assert_eq!(machine.reference().is_synced(0..1), synced);
            let entry = machine.reference_slots()[0];
            assert_ne!(entry, 0);
            let missing =
                machine.roots().into_iter().any(|root| machine.slots_of(root)[0] != entry);
            assert_eq!(!missing, stored_everywhere);
        }
    };
    let grow = || {
        assert!(!machine.reference().is_populated(0));
        machine.grow(0..1);
    };
    meanwhile(Point::Populated, check(false, false), || {
        meanwhile(Point::Synced, check(true, true), || {
            if A::WALKS {
                meanwhile(Point::WalkBegun, check(false, false), || {
                    meanwhile(Point::CpusWalked, check(true, false), grow);
                });
            } else {
                grow();
            }
        });
    });
}

/// The second growth into a slot stores nothing and visits nobody.
fn a_synced_slot_is_not_walked_for_again<G: Geometry, A: PgdScheme<G>>(machine: &Machine<G, A>) {
    machine.grow(0..1);
    let populated = machine.reference().populated();
    let before = machine.frames().allocated();
    let trace = trace(|| {
        drop(machine.try_grow(0..1).unwrap());
    });
    assert_eq!(trace, []);
    assert_eq!(machine.reference().populated(), populated);
    assert_eq!(machine.frames().allocated(), before);
}

/// A range over many slots takes a table for each that lacks one, and visits each mm once.
fn one_walk_for_a_whole_range<G: Geometry, A: PgdScheme<G>>(machine: &Machine<G, A>) {
    let tasks = [machine.fork(), machine.fork()];
    machine.switch(1, &tasks[0]);
    let slots = machine.shape().slots.min(200);
    // One of them is there already.
    drop(machine.try_grow(slots / 2..slots / 2 + 1).unwrap());
    let before = machine.frames().allocated();
    let trace = trace(|| {
        drop(machine.try_grow(0..slots).unwrap());
    });
    let walk = [
        Point::Populated,
        Point::WalkBegun,
        Point::TaskVisit(0),
        Point::TaskVisit(1),
        Point::TaskVisit(2),
        Point::TasksWalked,
        Point::CpuVisit(0),
        Point::CpusWalked,
        Point::Synced,
    ];
    if slots == 1 {
        assert_eq!(trace, []);
    } else {
        assert_eq!(trace, walk);
    }
    assert_eq!(machine.frames().allocated() - before, slots - 1, "a 4 KiB table for each slot");
    let reference = machine.reference_slots();
    for word in &reference[..slots] {
        let table = tests_host::shape::Shape::table_of(*word).expect("present");
        assert_eq!(machine.frames().count(table), 1);
        assert!(
            machine
                .frames()
                .table64(table)
                .iter()
                .all(|word| word.load(kernel_sync::atomic::Ordering::Relaxed) == 0)
        );
    }
}

/// A task that exits between the two loops leaves its mm where the second one looks.
fn tasks_before_cpus<G: Geometry, A: PgdScheme<G>>(machine: &Machine<G, A>) {
    let task = machine.fork();
    let trace = trace(|| {
        meanwhile(
            Point::TaskVisit(0),
            || {
                machine.switch(1, &task);
                machine.exit(&task);
            },
            || {
                machine.grow(0..1);
            },
        );
    });
    let at = |point| trace.iter().position(|&passed| passed == point).unwrap();
    assert!(at(Point::TasksWalked) < at(Point::CpuVisit(0)));
    assert!(!trace.contains(&Point::TaskVisit(1)), "the task had no mm any more");
    machine.assert_shows_everything(machine.loaded_root(1).unwrap());
}
