//! The walk of a growth, step by step: how many there are, and in what order they visit.

use arch_x86::geometry::Geometry;
use kernel_sync::atomic::Ordering;
use mm_generic::frames::Frames;
use tests_host::interlude::{Point, meanwhile, trace};
use tests_host::machine::{Machine, PgdScheme};
use tests_host::shape::Shape;

tests_host::on_every_machine!(late: one_walk_for_a_whole_range, tasks_before_cpus);

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
        assert_eq!(trace, [Point::Populated]);
    } else {
        assert_eq!(trace, walk);
    }
    assert_eq!(machine.frames().allocated() - before, slots - 1, "a 4 KiB table for each slot");
    let reference = machine.reference_slots();
    for word in &reference[..slots] {
        let table = Shape::table_of(*word).expect("present");
        assert_eq!(machine.frames().count(table), 1);
        assert!(
            machine.frames().table64(table).iter().all(|word| word.load(Ordering::Relaxed) == 0)
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
