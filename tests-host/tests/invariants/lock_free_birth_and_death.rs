//! **lock-free birth and death**: fork, exec and exit take no global lock for the PGD.
//!
//! A growth is stopped in its tracks on one thread, with all the locks it holds there, while
//! another thread forks, execs, attaches and exits to the end. Were there a lock in common, they
//! would wait for the growth, and the growth waits for them: after a while it gives up, and the
//! test fails.

use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use arch_x86::geometry::Geometry;
use kernel_fork::args::CloneArgs;
use tests_host::interlude::{Point, meanwhile};
use tests_host::machine::{Boot, LatePgds, LockedPgds, Machine, PgdScheme};
use tests_host::shape::Shape;
use tests_host::watched::WatchedFourLevel;

tests_host::on_every_machine!(late boots: every_birth_and_death_ends_during_a_growth);

/// How long a stopped growth waits before the test has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// Stops a growth of slot 0 at `point`, on a CPU of its own, until `body` has ended.
fn during_a_growth_at<G: Geometry, A: PgdScheme<G>>(
    machine: &Machine<G, A>,
    point: Point,
    body: impl FnOnce(),
) {
    thread::scope(|scope| {
        let (stopped, has_stopped) = channel();
        let (ended, has_ended) = channel::<()>();
        let grower = scope.spawn(move || {
            let _cpu = machine.cpu_online();
            let stop = || {
                stopped.send(()).expect("the other thread waits");
                let done = has_ended.recv_timeout(PATIENCE);
                assert!(done.is_ok(), "the others wait for the growth at {point:?}, or died");
            };
            meanwhile(point, stop, || {
                machine.grow(0..1);
            });
        });
        has_stopped.recv().expect("the growth comes to the point");
        body();
        ended.send(()).expect("the growth has waited");
        grower.join().expect("the growth ends");
    });
}

/// Everything that makes or ends an mm.
fn births_and_deaths<G: Geometry, A: PgdScheme<G>>(machine: &Machine<G, A>) {
    let child = machine.fork();
    machine.switch(1, &child);
    machine.exec(1, &child);
    let vforked = machine.clone_of(&child, &CloneArgs::VFORK);
    let thread = machine.clone_of(&child, &CloneArgs::THREAD);
    machine.exit(&child);
    machine.switch(2, &thread);
    machine.exit(&thread);
    machine.switch(1, &vforked);
    machine.exec(1, &vforked);
    machine.exit(&vforked);
    let (kthread, orphan) = (machine.kthread(), machine.orphan());
    machine.attach(3, &kthread, orphan);
    drop(machine.detach(&kthread));
    machine.exit(&kthread);
    for cpu in 1..4 {
        machine.leave(cpu);
    }
}

fn every_birth_and_death_ends_during_a_growth<G: Geometry, A: PgdScheme<G>>(boot: &Boot<G, A>) {
    for point in [
        Point::Populated,
        Point::WalkBegun,
        // The bystander is the second task to be visited, and the locks that keep its mm there are
        // held meanwhile.
        Point::TaskVisit(1),
        Point::TasksWalked,
        Point::CpuVisit(0),
        Point::CpusWalked,
        Point::Synced,
    ] {
        boot.run(|machine| {
            let bystander = machine.fork();
            machine.switch(0, &bystander);
            during_a_growth_at(machine, point, || births_and_deaths(machine));
            machine.assert_complete();
            machine.leave(0);
        });
    }
}

#[test]
fn the_update_lock_is_the_growths_own() {
    Boot::<_, LatePgds<_>>::new(WatchedFourLevel, Shape::FOUR_LEVEL).run(|machine| {
        // An mm that lacks a slot: its late init has something to do.
        let (kthread, stale) = (machine.kthread(), machine.orphan());
        machine.grow(1..2);
        // Stopped while the reference is being written.
        during_a_growth_at(machine, Point::EntryStored, || {
            births_and_deaths(machine);
            machine.attach(1, &kthread, stale);
            machine.assert_shows_everything(machine.loaded_root(1).expect("attached"));
        });
        drop(machine.detach(&kthread));
        machine.assert_complete();
    });
}

/// What the tests above would see if there was a lock: the scheme that has one.
#[test]
fn under_the_locked_scheme_a_fork_waits_for_the_walk() {
    Boot::<_, LockedPgds<_>>::new(WatchedFourLevel, Shape::FOUR_LEVEL).run(|machine| {
        thread::scope(|scope| {
            let (forked, has_forked) = channel();
            // Stopped under `pgd_lock`, at the first PGD of `pgd_list`.
            during_a_growth_at(machine, Point::EntryRead, || {
                scope.spawn(move || {
                    let _cpu = machine.cpu_online();
                    drop(machine.fork());
                    forked.send(()).expect("the test waits");
                });
                let early = has_forked.recv_timeout(Duration::from_millis(100));
                assert!(early.is_err(), "the fork has not waited");
            });
            has_forked.recv_timeout(PATIENCE).expect("the fork ends once the growth has");
        });
    });
}
