//! FreeBSD on i386, which had late initialisation in 1999.

use arch_x86::geometry::Geometry;
use kernel_fork::args::CloneArgs;
use mm_generic::reference::Refusal;
use mm_generic::word::Word;
use tests_host::interlude::{Point, meanwhile, points_of_a_birth};
use tests_host::machine::{Boot, Machine, PgdScheme};

tests_host::on_every_machine!(boots: kern_12378_growth_races_with_exec);
tests_host::on_every_machine!(a_shared_pmap_is_visited_twice);

/// PR kern/12378: `pmap_growkernel` walked `allproc` while an exec had copied the kernel's entries
/// into a new pmap that no process had yet. The pmap missed the growth and the kernel page-faulted.
/// The fix was `pmap_pinit2`, "after the vmspace is attached to the process but before this pmap is
/// activated".
///
/// A growth comes at each moment of an exec. Fails when the hook is missing, or comes before the
/// publication or after the load.
fn kern_12378_growth_races_with_exec<G: Geometry, A: PgdScheme<G>>(boot: &Boot<G, A>) {
    for &point in points_of_a_birth() {
        boot.run(|machine| {
            let task = machine.fork();
            machine.switch(1, &task);
            let old = machine.loaded_root(1);
            let growth = || {
                machine.grow(0..1);
                assert_eq!(machine.loaded_root(1), old, "the new mm is loaded last");
                machine.assert_shows_everything(old.expect("the task's"));
            };
            meanwhile(point, growth, || machine.exec(1, &task));
            assert_ne!(machine.loaded_root(1), old);
            machine.assert_shows_everything(machine.loaded_root(1).expect("the new mm"));
        });
    }
}

/// The walk went over processes, and those that share a pmap (`vfork`, `rfork`) brought it up
/// twice: the second visit stored again what might have changed since the first. FreeBSD moved to a
/// list of pmaps.
///
/// The entry changes between two visits of one mm. Fails when a visit stores what was read before the change, or
/// leaves alone what is not none.
fn a_shared_pmap_is_visited_twice<G: Geometry, A: PgdScheme<G>>(machine: &Machine<G, A>) {
    let parent = machine.fork();
    let child = machine.clone_of(&parent, &CloneArgs::VFORK);
    machine.switch(1, &parent);
    machine.switch(2, &child);
    let root = machine.loaded_root(1).expect("shared");
    assert_eq!(machine.loaded_root(2), Some(root));
    const CHANGED: u64 = 1 << 11;
    let mut first = 0;
    let change = || {
        first = machine.slots_of(root)[0];
        assert_ne!(first, 0, "the first visit has filled it");
        // A bit that the MMU ignores stands for another table.
        let changed = |entry: G::Word| {
            Ok::<_, Refusal>(G::Word::from_u64(entry.to_u64() | CHANGED).expect("a low bit"))
        };
        // SAFETY: the entry leads to the same table, which nobody frees.
        unsafe { machine.reference().replace(0, false, changed) }.expect("a share of the growth's");
    };
    let trace = tests_host::interlude::trace(|| {
        let point = if A::WALKS { Point::CpuVisit(0) } else { Point::Synced };
        meanwhile(point, change, || {
            machine.grow(0..1);
        });
    });
    if A::WALKS {
        // Init, parent and child as tasks; two CPUs: the mm is visited four times.
        assert!(trace.contains(&Point::TaskVisit(2)) && trace.contains(&Point::CpuVisit(1)));
    }
    assert_eq!(machine.reference_slots()[0], first | CHANGED);
    let last = if A::WALKS { first | CHANGED } else { first };
    assert_eq!(
        machine.slots_of(root)[0],
        last,
        "the walk of the locked scheme is over at that point"
    );
}
