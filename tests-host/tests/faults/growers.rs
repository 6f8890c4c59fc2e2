//! A grower that dies halfway, or stops and never goes on.
//!
//! Its slots are then in the reference and perhaps in some PGDs, and not marked synced. Whoever wants them next finds that and
//! walks himself; forks, execs and exits do not notice.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Barrier;

use arch_x86::geometry::Geometry;
use mm_generic::frames::PAGE_SIZE;
use tests_host::interlude::{Point, meanwhile, points_of_a_growth};
use tests_host::machine::{DATA, Machine, PgdScheme};

tests_host::on_every_machine!(boots:
    a_grower_that_panics_leaves_its_slots_to_the_next,
    a_grower_that_stands_still_stops_nobody,
);

/// What the grower dies of.
#[derive(Debug)]
pub(crate) struct Died;

/// Every point of a growth, those with locks held as well: unwinding lets go of them.
pub(crate) fn points<G: Geometry, A: PgdScheme<G>>() -> Vec<Point> {
    let mut points = points_of_a_growth(A::WALKS).to_vec();
    if A::WALKS {
        points.extend([Point::TaskVisit(0), Point::TaskVisit(1), Point::CpuVisit(0)]);
    }
    points
}

/// Births and deaths of mms, each of which must show all that has been grown.
pub(crate) fn live<G: Geometry, A: PgdScheme<G>>(machine: &Machine<G, A>, cpu: usize) {
    let child = machine.fork();
    machine.switch(cpu, &child);
    machine.assert_complete();
    machine.exec(cpu, &child);
    machine.assert_complete();
    machine.exit(&child);
    machine.leave(cpu);
}

fn slots<G: Geometry, A: PgdScheme<G>>(machine: &Machine<G, A>) -> std::ops::Range<usize> {
    0..machine.shape().slots.min(3)
}

fn a_grower_that_panics_leaves_its_slots_to_the_next<G: Geometry, A: PgdScheme<G>>(
    boot: &tests_host::machine::Boot<G, A>,
) {
    for point in points::<G, A>() {
        boot.run(|machine| {
            let running = machine.fork();
            machine.switch(1, &running);
            let slots = slots(machine);
            let died = catch_unwind(AssertUnwindSafe(|| {
                meanwhile(
                    point,
                    || std::panic::panic_any(Died),
                    || drop(machine.try_grow(slots.clone())),
                );
            }));
            let died = died.expect_err("the grower died");
            assert!(died.is::<Died>(), "at {point:?}, and of nothing else");
            println!("covered 1 updaters killed");
            live(machine, 2);
            // The next one gets the same slots, and everybody shows what is mapped there.
            machine.grow(slots.clone());
            machine.assert_complete();
            live(machine, 2);
            drop(running);
        });
    }
}

fn a_grower_that_stands_still_stops_nobody<G: Geometry, A: PgdScheme<G>>(
    boot: &tests_host::machine::Boot<G, A>,
) {
    for &point in points_of_a_growth(A::WALKS) {
        boot.run(|machine| {
            let running = machine.fork();
            machine.switch(1, &running);
            let slots = slots(machine);
            let (stands, may_go) = (Barrier::new(2), Barrier::new(2));
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let cpu = machine.cpu_online();
                    let stand_still = || {
                        stands.wait();
                        may_go.wait();
                    };
                    meanwhile(point, stand_still, || drop(machine.try_grow(slots.clone())));
                    drop(cpu);
                });
                stands.wait();
                // For as long as they like, for all that the grower does about it.
                for _ in 0..8 {
                    live(machine, 2);
                }
                machine.grow(slots.clone());
                machine.assert_complete();
                live(machine, 2);
                // It ends only so that the test can.
                may_go.wait();
            });
            machine.assert_complete();
            assert!(
                machine
                    .loaded_root(1)
                    .is_some_and(|root| { machine.translate(root, DATA + PAGE_SIZE * 9).is_err() })
            );
            drop(running);
        });
    }
}
