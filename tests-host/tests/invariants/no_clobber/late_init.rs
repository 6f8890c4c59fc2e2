//! Late init against a walk that is faster, or comes in the middle of it.

use arch_x86::geometry::Geometry;
use kernel_task::task::TaskMm;
use mm_generic::publish::NewMm;
use tests_host::interlude::{Point, meanwhile};
use tests_host::machine::{Boot, LatePgds, Machine, PgdScheme};
use tests_host::shape::Shape;
use tests_host::watched::WatchedFourLevel;

use super::{mmu_mark, youngest};

tests_host::on_every_machine!(late: what_a_walk_has_brought_stays_through_late_init);

/// The walk comes first and late init second; the MMU, or a growth that splits a large page,
/// changes the entry in between.
fn what_a_walk_has_brought_stays_through_late_init<G: Geometry, A: PgdScheme<G>>(
    machine: &Machine<G, A>,
) {
    let before = machine.roots();
    let walk = || {
        machine.grow(0..1);
        let root = youngest(machine, &before);
        let word = machine.slots_of(root)[0];
        assert_eq!(word, machine.reference_slots()[0], "the walk has found the mm");
        machine.shape().set_slot(machine.frames(), root, 0, word | mmu_mark(machine.shape()));
    };
    let child = meanwhile(Point::Published, walk, || machine.fork());
    let root = child.mm().unwrap().root();
    assert_eq!(machine.slots_of(root)[0], machine.reference_slots()[0] | mmu_mark(machine.shape()));
}

/// Between the moment late init reads the reference's entry and its compare-exchange, a walk fills
/// the slot and the MMU marks it. A plain store would wipe the mark; so would the 2015 patch's
/// test-then-store.
#[test]
fn late_init_does_not_store_what_it_read_over_what_came_since() {
    Boot::<_, LatePgds<_>>::new(WatchedFourLevel, Shape::FOUR_LEVEL).run(|machine| {
        let task = machine.fork();
        machine.switch(1, &task);
        let new = NewMm::new(machine.init_mm()).unwrap();
        let root = new.mm().root();
        machine.grow(0..1);
        assert_eq!(machine.slots_of(root)[0], 0, "no walk has found the mm");
        let (published, old) = new.publish(TaskMm(&*task));
        let walk = || {
            assert_eq!(machine.slots_of(root)[0], 0, "late init has read, and not stored");
            // SAFETY: the new mm keeps its root alive; nothing is retired in this test.
            unsafe { machine.reference().settle(machine.slots().of(root), 0) };
            let word = machine.slots_of(root)[0];
            machine.shape().set_slot(machine.frames(), root, 0, word | mmu_mark(machine.shape()));
        };
        let ready = meanwhile(Point::EntryRead, walk, || published.init_late());
        assert_eq!(
            machine.slots_of(root)[0],
            machine.reference_slots()[0] | mmu_mark(machine.shape())
        );
        // SAFETY: one thread plays the CPU, and the task holds the mm.
        unsafe { machine.loaded(1).switch_mm(ready) };
        drop(old);
    });
}
