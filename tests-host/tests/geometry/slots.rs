//! One slot and several growers: the first entry stays, and the others' tables go back.

use std::sync::Barrier;
use std::sync::atomic::AtomicU64;
use std::thread;

use arch_x86::geometry::Geometry;
use mm_generic::reference::ReferencePgd;
use tests_host::machine::{Machine, PgdScheme};

tests_host::on_every_machine!(two_growers_of_one_range_take_one_table_for_each_slot);

fn two_growers_of_one_range_take_one_table_for_each_slot<G: Geometry, A: PgdScheme<G>>(
    machine: &Machine<G, A>,
) {
    let task = machine.fork();
    machine.switch(1, &task);
    let slots = machine.shape().slots.min(96);
    let before = machine.frames().allocated();
    let together = Barrier::new(2);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let _cpu = machine.cpu_online();
                for slot in (0..slots).step_by(3) {
                    together.wait();
                    let range = slot..(slot + 3).min(slots);
                    drop(machine.try_grow(range.clone()).unwrap());
                    for root in machine.roots() {
                        let words = machine.slots_of(root);
                        assert!(words[range.clone()].iter().all(|&word| word & 1 != 0));
                    }
                }
            });
        }
    });
    assert_eq!(machine.frames().allocated() - before, slots);
    for root in machine.roots() {
        assert_eq!(machine.slots_of(root), machine.reference_slots());
    }
}

/// Who comes second with an entry for a slot keeps it; the reference keeps the first.
#[test]
fn a_slot_is_populated_once() {
    let slots: &'static [AtomicU64] = Box::leak(Box::new([const { AtomicU64::new(0) }; 4]));
    let reference = ReferencePgd::<u64>::adopt(slots, vec![3], 0).unwrap();
    let mut entries = vec![(0, 0x1003), (2, 0x2003)];
    // SAFETY: no MMU uses these tables.
    assert!(!unsafe { reference.populate(0..3, &mut entries) }, "slot 1 lacks an entry");
    // SAFETY: as above.
    assert!(unsafe { reference.populate(0..1, &mut entries) });
    assert_eq!(entries, [], "both, though the range is the first one's");
    let stamp = reference.stamp();
    let mut entries = vec![(2, 0x3003)];
    // SAFETY: no MMU uses these tables.
    assert!(unsafe { reference.populate(2..3, &mut entries) });
    assert_eq!(entries, [(2, 0x3003)], "given back");
    assert_eq!((reference.entry(2), reference.stamp()), (0x2003, stamp));
    let mut entries = vec![(0, 0x4003), (1, 0x5003), (2, 0x6003)];
    // SAFETY: no MMU uses these tables.
    assert!(unsafe { reference.populate(0..3, &mut entries) });
    assert_eq!(entries, [(0, 0x4003), (2, 0x6003)]);
    assert_ne!(reference.stamp(), stamp);
    assert_eq!([0, 1, 2, 3].map(|slot| reference.entry(slot)), [0x1003, 0x5003, 0x2003, 0]);
    assert!(!reference.is_synced(0..1), "populated is not synced");
    assert!(reference.is_private(3) && !reference.is_private(2));
}
