//! Late init against a walk that is faster, or comes in the middle of it.

use arch_x86::geometry::Geometry;
use kernel_task::task::TaskMm;
use mm_generic::publish::NewMm;
use mm_generic::replacement::Replacement;
use mm_generic::word::Word;
use tests_host::interlude::{Point, meanwhile};
use tests_host::machine::{Boot, LatePgds, Machine, PgdScheme};
use tests_host::shape::Shape;
use tests_host::watched::WatchedFourLevel;

use super::youngest;

tests_host::on_every_machine!(late: what_a_walk_has_brought_stays_through_late_init);

/// The walk comes first and late init second, with nothing in between and with another entry in between.
fn what_a_walk_has_brought_stays_through_late_init<G: Geometry, A: PgdScheme<G>>(
    machine: &Machine<G, A>,
) {
    let before = machine.roots();
    let mut range = None;
    let walk = || {
        range = Some(machine.try_grow(0..1).expect("frames enough"));
        let root = youngest(machine, &before);
        let word = machine.slots_of(root)[0];
        assert_eq!(word, machine.reference_slots()[0], "the walk has found the mm");
    };
    let child = meanwhile(Point::Published, walk, || machine.fork());
    let root = child.mm().unwrap().root();
    assert_eq!(machine.slots_of(root)[0], machine.reference_slots()[0]);

    let (mut range, before) = (range.expect("grown"), machine.roots());
    let addr = range.start();
    let walk = || {
        machine.init_mm().replace(&mut range, addr, Replacement::Move).expect("a table of its own");
        let word = machine.slots_of(youngest(machine, &before))[0];
        assert_eq!(word, machine.reference_slots()[0], "the walk has found the mm");
    };
    let child = meanwhile(Point::Published, walk, || machine.fork());
    let root = child.mm().unwrap().root();
    assert_eq!(machine.slots_of(root)[0], machine.reference_slots()[0]);
}

/// Between the moment late init reads the reference's entry and its compare-exchange, the table moves and a walk brings the
/// new entry. A plain store would bring the old one back; so would the 2015 patch's test-then-store.
#[test]
fn late_init_does_not_store_what_it_read_over_what_came_since() {
    Boot::<_, LatePgds<_>>::new(WatchedFourLevel, Shape::FOUR_LEVEL).run(|machine| {
        let task = machine.fork();
        machine.switch(1, &task);
        let new = NewMm::new(machine.init_mm()).unwrap();
        let root = new.mm().root();
        let mut range = machine.try_grow(0..1).unwrap();
        let addr = range.start();
        assert_eq!(machine.slots_of(root)[0], 0, "no walk has found the mm");
        let (published, old) = new.publish(TaskMm(&*task));
        let before = machine.reference_slots()[0];
        let walk = || {
            assert_eq!(
                machine.slots_of(root)[0],
                u64::UNSETTLED,
                "late init has read, and not stored"
            );
            machine
                .init_mm()
                .replace(&mut range, addr, Replacement::Move)
                .expect("a table of its own");
            assert_eq!(machine.slots_of(root)[0], machine.reference_slots()[0], "the walk");
        };
        let ready = meanwhile(Point::EntryRead, walk, || published.init_late());
        assert_ne!(machine.reference_slots()[0], before);
        assert_eq!(machine.slots_of(root)[0], machine.reference_slots()[0]);
        // SAFETY: one thread plays the CPU, and the task holds the mm.
        unsafe { machine.loaded(1).switch_mm(ready) };
        drop(old);
    });
}
