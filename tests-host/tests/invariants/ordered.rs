//! **ordered**: publish, barrier, read the reference; store the reference, barrier, walk. Late init
//! ends before the first load.
//!
//! What one CPU does, in what order, is shown here. That its barriers are full ones only shows
//! between two CPUs: `loom_protocol` explores that, and the mutants without them.

#[cfg(feature = "pgd-init-late")]
mod births;
#[cfg(feature = "pgd-init-late")]
mod walks;

use arch_x86::geometry::Geometry;
use tests_host::interlude::{Point, meanwhile, trace};
use tests_host::machine::{Machine, PgdScheme};

tests_host::on_every_machine!(
    synced_after_the_walk_and_not_before,
    a_synced_slot_is_not_walked_for_again,
);

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

/// The second growth into a slot takes a share in it, stores no entry, and visits nobody.
fn a_synced_slot_is_not_walked_for_again<G: Geometry, A: PgdScheme<G>>(machine: &Machine<G, A>) {
    machine.grow(0..1);
    let populated = machine.reference().populated();
    let before = machine.frames().allocated();
    let trace = trace(|| {
        drop(machine.try_grow(0..1).unwrap());
    });
    assert_eq!(trace, [Point::Populated]);
    assert_eq!(machine.reference().populated(), populated);
    assert_eq!(machine.frames().allocated(), before);
}
