//! Holes of the 2015 patch itself, as they would be in a literal port of it.

use arch_x86::geometry::{Geometry, PaePrivate};
use kernel_task::task::TaskMm;
use mm_generic::publish::NewMm;
#[cfg(feature = "pgd-init-late")]
use mm_generic::replacement::Replacement;
use tests_host::interlude::{Point, meanwhile};
use tests_host::machine::{Boot, LockedPgds, Machine, PgdScheme};
use tests_host::shape::Shape;

tests_host::on_every_machine!(zeros_copied_where_pgd_none_is_constant);
tests_host::on_every_machine!(late: stale_value_stored_over_a_newer_one);

/// The patch tests `pgd_none(*pgd_src)` for each of the 256 slots. With four levels the P4D is
/// folded into the PGD and `pgd_none` is constant false: every empty reference slot would be
/// copied, as zero, over what a walk had just filled or the mm had of its own.
///
/// Fails when late init writes a slot that is empty in the reference, on any geometry.
fn zeros_copied_where_pgd_none_is_constant<G: Geometry, A: PgdScheme<G>>(machine: &Machine<G, A>) {
    const OWN: u64 = 0x600;
    let shape = machine.shape();
    let last = shape.slots - 1;
    let (task, kthread, orphan) = (machine.fork(), machine.kthread(), machine.orphan());
    let new = NewMm::new(machine.init_mm()).expect("frames enough");
    let roots = [new.mm().root(), orphan.root()];
    for root in roots {
        // Not present, and not zero: what the mm has in a slot that the kernel does not use.
        shape.set_slot(machine.frames(), root, last, OWN);
    }
    if last > 0 {
        machine.grow(0..last);
    }
    let (published, old) = new.publish(TaskMm(&*task));
    drop((published.init_late(), old));
    machine.attach(1, &kthread, orphan);
    for root in roots {
        assert_eq!(machine.slots_of(root)[last], OWN);
        machine.assert_shows_everything(root);
    }
    drop(machine.detach(&kthread));
}

/// The patch reads the reference and stores with `set_pgd`, without a lock, while a walk stores
/// into the same slot: the older value may come second. With 2-level tables an entry changes when a
/// large page is split, and the mm keeps the old one.
///
/// The slot is filled by a walk and its table moves before late init comes to it. Fails when late init
/// stores what it read earlier, or fills what is none and leaves the older entry.
#[cfg(feature = "pgd-init-late")]
fn stale_value_stored_over_a_newer_one<G: Geometry, A: PgdScheme<G>>(machine: &Machine<G, A>) {
    let mut range = machine.try_grow(0..1).expect("frames enough");
    let addr = range.start();
    let mut older = Vec::new();
    // Once before the copy is seen, once after: the PGD holds the first table's entry, and the walk brings the second's.
    for point in [Point::PgdAllocated, Point::Published] {
        let word = machine.reference_slots()[0];
        let change = || {
            machine
                .init_mm()
                .replace(&mut range, addr, Replacement::Move)
                .expect("a table of its own");
        };
        let child = meanwhile(point, change, || machine.fork());
        older.push(word);
        let root = child.mm().expect("a user task").root();
        assert_eq!(machine.slots_of(root)[0], machine.reference_slots()[0], "{point:?}");
        assert!(!older.contains(&machine.slots_of(root)[0]), "{point:?}");
    }
}

/// The patch's `if` names two levels, three with a shared kernel PMD, and four. PAE with a PMD for
/// each mm falls through it and gets nothing at all.
///
/// Fails when the PMD of the mm's own is not filled, entry by entry, by walks and by late init, or
/// when the entry of the top level is touched.
#[test]
fn pae_with_private_pmds_skipped() {
    let boot = Boot::<_, LockedPgds<_>>::new(PaePrivate, Shape::PAE_PRIVATE);
    boot.run(each_pmd_entry_arrives);
    #[cfg(feature = "pgd-init-late")]
    {
        use tests_host::machine::LatePgds;
        let boot = Boot::<_, LatePgds<_>>::new(PaePrivate, Shape::PAE_PRIVATE);
        boot.run(each_pmd_entry_arrives);
    }
}

fn each_pmd_entry_arrives<A: PgdScheme<PaePrivate>>(machine: &Machine<PaePrivate, A>) {
    use mm_generic::frames::Frames;
    let top = |root| machine.frames().table64(root)[3].load(kernel_sync::atomic::Ordering::Acquire);
    let old = machine.fork();
    let old_root = old.mm().expect("a user task").root();
    let old_top = top(old_root);
    machine.grow(0..3);
    let grow = || {
        machine.grow(510..512);
    };
    let new = meanwhile(Point::PgdAllocated, grow, || machine.fork());
    let new_root = new.mm().expect("a user task").root();
    assert_eq!(top(old_root), old_top);
    assert_ne!(top(new_root), old_top, "each mm has a PMD of its own");
    for root in [old_root, new_root] {
        let words = machine.slots_of(root);
        assert_eq!(words, machine.reference_slots());
        let present: Vec<_> = (0..512).filter(|&slot| words[slot] != 0).collect();
        assert_eq!(present, [0, 1, 2, 510, 511]);
    }
}
