//! Mms on several CPUs that share frames: the counts alone decide who copies.

use std::thread;

use mm_generic::arch::ArchPgd;
use mm_generic::publish::NewMm;

use super::world::{PAGE, PRIVATE, RW, World, on_every_mmu};

on_every_mmu!(forks_and_stores_on_many_cpus_do_not_meet);

const PAGES: u64 = 24;

/// Every thread forks the one parent, stores in its child, and looks whether anybody else's store got in;
/// meanwhile the parent is stored to. Accesses are the kernel's, which need no TLB.
fn forks_and_stores_on_many_cpus_do_not_meet<A: ArchPgd>(world: &World<A>) {
    let before = world.frames.allocated();
    let parent = world.process();
    let base = world.seam() - PAGES / 2 * PAGE;
    parent.map(base..base + PAGES * PAGE, RW, PRIVATE);
    let fill = |mm: &mm_generic::mm::Mm<_>, value: u64| {
        for page in 0..PAGES {
            mm.user().write_bytes(mm, base + page * PAGE, &value.to_le_bytes()).unwrap();
        }
    };
    let read = |mm: &mm_generic::mm::Mm<_>, page: u64| {
        let mut bytes = [0; 8];
        mm.user().read_bytes(mm, base + page * PAGE, &mut bytes).unwrap();
        u64::from_le_bytes(bytes)
    };
    fill(&parent.mm, 0);
    thread::scope(|scope| {
        for thread in 1..=4u64 {
            let (parent, fill, read) = (&*parent.mm, &fill, &read);
            let init_mm = world.init_mm;
            scope.spawn(move || {
                for round in 0..60 {
                    let child = NewMm::new(init_mm).unwrap();
                    child.copy_user_half(parent).unwrap();
                    // The parent's stores come page by page, each after the one before.
                    let seen: Vec<u64> = (0..PAGES).map(|page| read(child.mm(), page)).collect();
                    assert!(seen.is_sorted_by(|left, right| left >= right), "{seen:?}");
                    let mine = thread << 32 | round;
                    fill(child.mm(), mine);
                    assert!((0..PAGES).all(|page| read(child.mm(), page) == mine));
                }
            });
        }
        for value in 1..=200 {
            fill(&parent.mm, value);
        }
    });
    assert!((0..PAGES).all(|page| read(&parent.mm, page) == 200));
    drop(parent);
    world.assert_allocated(before);
}
