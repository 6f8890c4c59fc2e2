//! What walks over the tasks have missed, and what they have cost.

use arch_x86::geometry::Geometry;
use kernel_fork::args::CloneArgs;
use tests_host::interlude::{Point, meanwhile, trace};
use tests_host::machine::{Machine, PID_MAX, PgdScheme};
use tests_host::shape::Shape;

tests_host::on_every_machine!(late:
    an_exiting_task_missed_by_the_walk,
    a_vfork_child_behind_the_walk,
    one_list_walk_per_slot,
);

/// A task cleared `->mm` and went on running; the walk looked at `->mm` alone (1999 to 2003, when
/// `mmlist` was walked, and again in the 2015 patch). PGDs in use by no task were missed, which is
/// why `pgd_list` was made.
///
/// Here: the task exits when the walk has begun and has not come to it. Fails when CPUs' loaded mms
/// are not visited, or before the tasks.
fn an_exiting_task_missed_by_the_walk<G: Geometry, A: PgdScheme<G>>(machine: &Machine<G, A>) {
    let task = machine.fork();
    machine.switch(1, &task);
    // The first process is being visited; the task comes next.
    meanwhile(
        Point::TaskVisit(0),
        || machine.exit(&task),
        || {
            machine.grow(0..1);
        },
    );
    machine.assert_shows_everything(machine.loaded_root(1).expect("lazily"));
}

/// P1 makes P2 on its own mm (`vfork`) and exits, while a walk has passed the place where P2 is
/// listed and has not come to P1. Linux lists tasks at the tail and walks towards it; a table of
/// pids does not, once a pid is used again.
///
/// Fails when `CLONE_VM` is not a publication.
fn a_vfork_child_behind_the_walk<G: Geometry, A: PgdScheme<G>>(machine: &Machine<G, A>) {
    // Pid 1 is the first process's. The walk's second visit is pid 3's, and pid 2 is free by then.
    let [gap, between, parent] = [machine.fork(), machine.fork(), machine.fork()];
    let pid = gap.pid();
    assert!(pid < between.pid() && between.pid() < parent.pid());
    machine.exit(&gap);
    drop(gap);
    loop {
        let filler = machine.fork();
        let last = filler.pid().get() == PID_MAX - 1;
        machine.exit(&filler);
        if last {
            break;
        }
    }
    machine.switch(1, &parent);
    let mut child = None;
    let vfork_and_exit = || {
        let vforked = machine.clone_of(&parent, &CloneArgs::VFORK);
        assert_eq!(vforked.pid(), pid, "listed where the walk has been");
        machine.exit(&parent);
        machine.leave(1);
        child = Some(vforked);
    };
    meanwhile(Point::TaskVisit(1), vfork_and_exit, || {
        machine.grow(0..1);
    });
    machine.switch(2, &child.expect("vforked"));
    machine.assert_shows_everything(machine.loaded_root(2).expect("loaded"));
    drop(between);
}

/// `sync_global_pgds` walked the whole list for each top-level slot of its range, with `pgd_lock`
/// held: the larger the hotplugged memory, the longer every fork waited.
///
/// Fails when a range takes more than one walk, or visits an mm more than once through its one
/// task.
fn one_list_walk_per_slot<G: Geometry, A: PgdScheme<G>>(machine: &Machine<G, A>) {
    let tasks: Vec<_> = (0..4).map(|_| machine.fork()).collect();
    let slots = machine.shape().slots;
    let trace = trace(|| {
        machine.grow(0..slots);
    });
    let count = |wanted: fn(&Point) -> bool| trace.iter().filter(|point| wanted(point)).count();
    assert_eq!(count(|point| matches!(point, Point::WalkBegun)), 1);
    assert_eq!(count(|point| matches!(point, Point::TasksWalked)), 1);
    assert_eq!(count(|point| matches!(point, Point::TaskVisit(_))), tasks.len() + 1);
    for word in machine.reference_slots() {
        assert_eq!(machine.frames().count(Shape::table_of(word).expect("every slot")), 1);
    }
}
