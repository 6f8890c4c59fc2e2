//! Fork: private pages are copied by the first store on either side, shared ones never.

use hosted::mmu::{self, Reason};
use mm_generic::arch::ArchPgd;
use mm_generic::prot::Prot;
use mm_generic::publish::NewMm;
use mm_generic::user::{Access, FaultDone, FaultError};
use mm_generic::vma::VmaFlags;

use super::kernel::{Pattern, keep};
use super::tlb;
use super::world::{PAGE, PRIVATE, R, RW, SHARED, World, on_every_mmu};

on_every_mmu!(
    a_store_on_one_side_is_not_seen_on_the_other,
    three_generations_are_apart,
    a_copy_is_seen_on_every_cpu_of_the_program,
    the_last_one_left_with_a_page_stores_in_place,
    shared_memory_is_one_for_all_wherever_it_is_first_touched,
    memory_shared_and_protected_stays_shared,
    a_vma_that_is_not_to_be_copied_is_missing_in_the_child,
    an_unreadable_page_of_a_shared_file_does_not_stop_a_fork,
    a_fork_leaves_no_right_to_store_in_the_parents_tlb,
    rights_given_to_a_copied_page_do_not_undo_the_copying,
    a_copy_replaces_what_the_child_held,
    an_mm_is_not_its_own_child,
    a_page_that_the_kernel_keeps_is_one_frame_until_it_is_stored_to,
    a_shared_mapping_does_not_show_the_frame_that_the_kernel_keeps,
);

fn a_store_on_one_side_is_not_seen_on_the_other<A: ArchPgd>(world: &World<A>) {
    let before = world.frames.allocated();
    let parent = world.process();
    let base = world.seam() - 2 * PAGE;
    parent.map(base..base + 4 * PAGE, RW, PRIVATE);
    for page in 0..3 {
        parent.store(base + page * PAGE, 10 + page as u8).unwrap();
        parent.store(base + page * PAGE + PAGE - 1, 50).unwrap();
    }
    let child = parent.fork();
    parent.assert_no_stale_tlb_entry();
    let shown = |addr| {
        let phys = |process: &super::world::Process<'_, A>| {
            process.translate(addr, mmu::Access::USER_READ)
        };
        (phys(&parent), phys(&child))
    };
    for page in 0..3 {
        let (in_parent, in_child) = shown(base + page * PAGE);
        assert_eq!(in_parent, in_child, "one frame until somebody stores");
        let fault = child.translate(base + page * PAGE, mmu::Access::USER_WRITE).unwrap_err();
        assert_eq!(fault.reason, Reason::Write);
    }
    parent.store(base, 20).unwrap();
    child.store(base + PAGE, 31).unwrap();
    parent.store(base + 3 * PAGE, 23).unwrap();
    let pages = |process: &super::world::Process<'_, A>| {
        [0, 1, 2, 3].map(|page| process.load(base + page * PAGE).unwrap())
    };
    assert_eq!(pages(&parent), [20, 11, 12, 23]);
    assert_eq!(pages(&child), [10, 31, 12, 0]);
    assert_ne!(shown(base).0, shown(base).1);
    let ends = [base + PAGE - 1, base + 2 * PAGE - 1];
    assert!(ends.iter().all(|&end| parent.load(end) == Ok(50) && child.load(end) == Ok(50)));
    drop(parent);
    assert_eq!(pages(&child), [10, 31, 12, 0]);
    drop(child);
    world.assert_allocated(before);
}

fn a_copy_is_seen_on_every_cpu_of_the_program<A: ArchPgd>(world: &World<A>) {
    let addr = world.seam();
    let parent = world.process();
    parent.map(addr..addr + PAGE, RW, PRIVATE);
    parent.store(addr, 1).unwrap();
    let child = parent.fork();
    tlb::run_on(1);
    assert_eq!(child.load(addr), Ok(1));
    tlb::run_on(0);
    child.store(addr, 2).unwrap();
    tlb::run_on(1);
    assert_eq!((child.load(addr), parent.load(addr)), (Ok(2), Ok(1)));
}

fn three_generations_are_apart<A: ArchPgd>(world: &World<A>) {
    let before = world.frames.allocated();
    let addr = world.seam();
    let first = world.process();
    first.map(addr..addr + PAGE, RW, PRIVATE);
    first.store(addr, 1).unwrap();
    let second = first.fork();
    let third = second.fork();
    second.store(addr, 2).unwrap();
    assert_eq!((first.load(addr), second.load(addr), third.load(addr)), (Ok(1), Ok(2), Ok(1)));
    let fourth = second.fork();
    drop(second);
    third.store(addr, 3).unwrap();
    assert_eq!((first.load(addr), third.load(addr), fourth.load(addr)), (Ok(1), Ok(3), Ok(2)));
    drop(first);
    drop(third);
    fourth.store(addr, 4).unwrap();
    assert_eq!(fourth.load(addr), Ok(4));
    drop(fourth);
    world.assert_allocated(before);
}

fn the_last_one_left_with_a_page_stores_in_place<A: ArchPgd>(world: &World<A>) {
    let addr = world.seam();
    let parent = world.process();
    parent.map(addr..addr + PAGE, RW, PRIVATE);
    parent.store(addr, 1).unwrap();
    let frame = parent.translate(addr, mmu::Access::USER_READ);
    drop(parent.fork());
    let allocated = world.frames.allocated();
    assert_eq!(parent.user().fault(&parent.mm, addr, Access::Write), Ok(FaultDone::Reused));
    parent.store(addr, 2).unwrap();
    assert_eq!(parent.translate(addr, mmu::Access::USER_WRITE), frame);
    world.assert_allocated(allocated);
}

fn shared_memory_is_one_for_all_wherever_it_is_first_touched<A: ArchPgd>(world: &World<A>) {
    let before = world.frames.allocated();
    let base = world.seam() - PAGE;
    let parent = world.process();
    parent.map(base..base + 3 * PAGE, RW, SHARED);
    parent.store(base, 1).unwrap();
    let child = parent.fork();
    assert_eq!(child.load(base), Ok(1));
    child.store(base, 2).unwrap();
    assert_eq!(parent.load(base), Ok(2));
    // Touched by nobody before the fork.
    child.store(base + PAGE, 3).unwrap();
    assert_eq!(parent.load(base + PAGE), Ok(3));
    let grandchild = child.fork();
    drop(child);
    grandchild.store(base + 2 * PAGE, 4).unwrap();
    assert_eq!(parent.load(base + 2 * PAGE), Ok(4));
    parent.unmap(base..base + 3 * PAGE);
    assert_eq!(grandchild.load(base + PAGE), Ok(3));
    drop((parent, grandchild));
    world.assert_allocated(before);
}

fn memory_shared_and_protected_stays_shared<A: ArchPgd>(world: &World<A>) {
    let addr = world.seam();
    let parent = world.process();
    parent.map(addr..addr + PAGE, RW, SHARED);
    let child = parent.fork();
    parent.protect(addr..addr + PAGE, R);
    child.store(addr, 1).unwrap();
    assert_eq!(parent.load(addr), Ok(1));
    parent.protect(addr..addr + PAGE, Prot::empty());
    let grandchild = parent.fork();
    grandchild.protect(addr..addr + PAGE, RW);
    grandchild.store(addr, 2).unwrap();
    parent.protect(addr..addr + PAGE, RW);
    assert_eq!((parent.load(addr), child.load(addr)), (Ok(2), Ok(2)));
    parent.store(addr, 3).unwrap();
    assert_eq!((grandchild.load(addr), child.load(addr)), (Ok(3), Ok(3)));
}

fn a_vma_that_is_not_to_be_copied_is_missing_in_the_child<A: ArchPgd>(world: &World<A>) {
    let addr = world.seam();
    let parent = world.process();
    parent.map(addr..addr + PAGE, RW, VmaFlags::DONT_COPY);
    parent.map(addr + PAGE..addr + 2 * PAGE, RW, VmaFlags::DONT_COPY | SHARED);
    parent.store(addr, 1).unwrap();
    let child = parent.fork();
    for addr in [addr, addr + PAGE] {
        assert_eq!(child.load(addr), Err(FaultError::NotMapped { addr }));
    }
    assert!(parent.translate(addr, mmu::Access::USER_WRITE).is_ok(), "nothing to copy on write");
    assert!(parent.translate(addr + PAGE, mmu::Access::USER_READ).is_err(), "nothing to share");
}

fn an_unreadable_page_of_a_shared_file_does_not_stop_a_fork<A: ArchPgd>(world: &World<A>) {
    let base = world.seam();
    let parent = world.process();
    let file = Pattern { seed: 3, bad_from: PAGE };
    parent.map_file(base..base + 2 * PAGE, RW, SHARED, (file.clone(), 0, 2 * PAGE));
    let child = parent.fork();
    child.store(base, 9).unwrap();
    assert_eq!((parent.load(base), parent.load(base + 1)), (Ok(9), Ok(file.byte(1))));
    assert!(matches!(child.load(base + PAGE), Err(FaultError::Object { .. })));
}

fn a_fork_leaves_no_right_to_store_in_the_parents_tlb<A: ArchPgd>(world: &World<A>) {
    let base = world.seam() - 100 * PAGE;
    let pages: Vec<u64> = (0..200).map(|page| base + page * PAGE).collect();
    let parent = world.process();
    parent.map(base..base + 200 * PAGE, RW, PRIVATE);
    for &page in &pages {
        parent.store(page, 1).unwrap();
    }
    let child = parent.fork();
    parent.assert_no_stale_tlb_entry();
    for &page in &pages {
        parent.store(page, 2).unwrap();
    }
    assert!(pages.iter().all(|&page| child.load(page) == Ok(1)));
}

fn rights_given_to_a_copied_page_do_not_undo_the_copying<A: ArchPgd>(world: &World<A>) {
    let addr = world.seam();
    let parent = world.process();
    parent.map(addr..addr + PAGE, RW, PRIVATE);
    parent.store(addr, 1).unwrap();
    let child = parent.fork();
    for process in [&parent, &child] {
        process.protect(addr..addr + PAGE, R);
        process.protect(addr..addr + PAGE, RW);
    }
    parent.store(addr, 2).unwrap();
    assert_eq!((parent.load(addr), child.load(addr)), (Ok(2), Ok(1)));
}

fn a_copy_replaces_what_the_child_held<A: ArchPgd>(world: &World<A>) {
    let before = world.frames.allocated();
    let addr = world.seam();
    let parent = world.process();
    parent.map(addr..addr + PAGE, RW, PRIVATE);
    parent.store(addr, 1).unwrap();
    let other = addr + 64 * PAGE;
    let child = NewMm::new(world.init_mm).unwrap();
    {
        let vma = mm_generic::vma::Vma::new(
            other..other + PAGE,
            RW,
            PRIVATE,
            mm_generic::vma::Backing::Anonymous,
        );
        let mut user = child.user();
        user.mmap(vma.unwrap()).unwrap();
        user.write_bytes(child.mm(), other, &[7]).unwrap();
    }
    child.copy_user_half(&parent.mm).unwrap();
    let child = world.publish(child);
    assert_eq!(child.load(addr), Ok(1));
    assert_eq!(child.load(other), Err(FaultError::NotMapped { addr: other }));
    drop((parent, child));
    world.assert_allocated(before);
}

fn an_mm_is_not_its_own_child<A: ArchPgd>(world: &World<A>) {
    let mm = NewMm::new(world.init_mm).unwrap();
    let result =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| mm.copy_user_half(mm.mm())));
    assert!(result.is_err());
}

fn a_page_that_the_kernel_keeps_is_one_frame_until_it_is_stored_to<A: ArchPgd>(world: &World<A>) {
    let before = world.frames.allocated();
    let base = world.seam() - PAGE;
    let file = Pattern::new(9);
    // The last page of a file: what is behind its bytes is zero.
    let len = 1000;
    keep(world.frames, &[(&file, PAGE, len as usize)]);
    let [reader, writer, first_writer] = [(); 3].map(|()| {
        let process = world.process();
        process.map_file(base..base + PAGE, RW, PRIVATE, (file.clone(), PAGE, len));
        process
    });
    let phys = |process: &super::world::Process<'_, A>| {
        process.translate(base, mmu::Access::USER_READ).unwrap()
    };
    for process in [&reader, &writer] {
        assert_eq!(process.load(base + len - 1), Ok(file.byte(PAGE + len - 1)));
        assert_eq!(process.load(base + len), Ok(0));
    }
    assert_eq!(phys(&reader), phys(&writer));
    let fault = writer.translate(base, mmu::Access::USER_WRITE).unwrap_err();
    assert_eq!(fault.reason, Reason::Write);
    let child = reader.fork();
    assert_eq!(phys(&child), phys(&reader));
    for process in [&writer, &first_writer] {
        process.store(base, 0x5a).unwrap();
        assert_eq!(process.load(base), Ok(0x5a));
        assert_eq!(process.load(base + 1), Ok(file.byte(PAGE + 1)));
        assert_ne!(phys(process), phys(&reader));
    }
    // Alone with the page, a process must not store to it in place as long as the kernel has it.
    drop(child);
    reader.protect(base..base + PAGE, R);
    reader.protect(base..base + PAGE, RW);
    reader.store(base, 0x33).unwrap();
    let next = world.process();
    next.map_file(base..base + PAGE, RW, PRIVATE, (file.clone(), PAGE, len));
    assert_eq!(next.load(base), Ok(file.byte(PAGE)));
    drop((reader, writer, first_writer, next));
    keep(world.frames, &[]);
    world.assert_allocated(before);
}

fn a_shared_mapping_does_not_show_the_frame_that_the_kernel_keeps<A: ArchPgd>(world: &World<A>) {
    let base = world.seam();
    let file = Pattern::new(9);
    keep(world.frames, &[(&file, 0, PAGE as usize)]);
    let process = world.process();
    process.map_file(base..base + PAGE, RW, SHARED, (file.clone(), 0, PAGE));
    assert_eq!(process.load(base), Ok(file.byte(0)));
    process.store(base, !file.byte(0)).unwrap();
    let other = world.process();
    other.map_file(base..base + PAGE, RW, PRIVATE, (file.clone(), 0, PAGE));
    assert_eq!(other.load(base), Ok(file.byte(0)));
    drop((process, other));
    keep(world.frames, &[]);
}
