//! Demand paging: what a page shows when it is first touched, and what an access is refused for.

use hosted::mmu::{self, Reason};
use mm_generic::arch::ArchPgd;
use mm_generic::object::ReadError;
use mm_generic::prot::Prot;
use mm_generic::user::{Access, FaultDone, FaultError, STACK_GUARD_GAP, STACK_MAX};

use super::kernel::{Pattern, keep};
use super::world::{PAGE, PRIVATE, Process, R, RW, RX, STACK, World, on_every_mmu};

on_every_mmu!(
    a_load_brings_the_kept_pages_around_it_and_no_others,
    what_is_mapped_around_a_page_is_copied_when_it_is_stored_to,
    a_store_brings_no_other_page,
    a_page_comes_when_it_is_touched_and_is_zero,
    mappings_on_both_sides_of_a_seam_are_apart,
    the_mmu_refuses_what_the_vma_refuses,
    a_file_page_holds_the_bytes_and_zeros_behind_them,
    bytes_that_cannot_be_read_are_a_bus_error,
    addresses_without_a_vma_are_not_mapped,
    a_stack_grows_to_its_limit_and_keeps_its_distance,
    a_fault_on_a_page_that_is_there_is_spurious,
);

fn a_page_comes_when_it_is_touched_and_is_zero<A: ArchPgd>(world: &World<A>) {
    let before = world.frames.allocated();
    let process = world.process();
    let base = world.seam();
    process.map(base..base + 16 * PAGE, RW, PRIVATE);
    let untouched = world.frames.allocated();
    let fault = process.translate(base, mmu::Access::USER_READ).unwrap_err();
    assert_eq!(fault.reason, Reason::NotPresent);
    assert_eq!(process.load(base + 5), Ok(0));
    let touched = world.frames.allocated();
    assert!(touched > untouched, "a frame for the page and for its tables");
    process.store(base + PAGE + 7, 0x5a).unwrap();
    assert_eq!(process.load(base + PAGE + 7), Ok(0x5a));
    assert_eq!(process.load(base + PAGE + 8), Ok(0));
    assert_eq!(world.frames.allocated(), touched + 1, "the second page needs no table");
    drop(process);
    world.assert_allocated(before);
}

fn mappings_on_both_sides_of_a_seam_are_apart<A: ArchPgd>(world: &World<A>) {
    let process = world.process();
    let seam = world.seam();
    let last = world.user_end() - PAGE;
    process.map(seam - 2 * PAGE..seam + 2 * PAGE, RW, PRIVATE);
    process.map(0x1_0000..0x1_1000, RW, PRIVATE);
    process.map(last - PAGE..last, RW, PRIVATE);
    let pages = [seam - 2 * PAGE, seam - PAGE, seam, seam + PAGE, 0x1_0000, last - PAGE];
    for (value, page) in (1..).zip(pages) {
        process.store(page, value).unwrap();
        process.store(page + PAGE - 1, value).unwrap();
    }
    for (value, page) in (1..).zip(pages) {
        assert_eq!((process.load(page), process.load(page + PAGE - 1)), (Ok(value), Ok(value)));
    }
}

fn the_mmu_refuses_what_the_vma_refuses<A: ArchPgd>(world: &World<A>) {
    let process = world.process();
    let base = world.seam() - PAGE;
    process.map(base..base + PAGE, R, PRIVATE);
    process.map(base + PAGE..base + 2 * PAGE, RX, PRIVATE);
    process.map(base + 2 * PAGE..base + 3 * PAGE, Prot::empty(), PRIVATE);
    let denied = |addr, access, prot| Err(FaultError::Denied { addr, access, prot });

    assert_eq!(process.store(base, 1), denied(base, Access::Write, R));
    assert_eq!(process.load(base), Ok(0));
    let fault = process.translate(base, mmu::Access::USER_WRITE).unwrap_err();
    assert_eq!((fault.level, fault.reason), (1, Reason::Write));
    if world.has_nx {
        assert_eq!(
            process.fetch(base),
            Err(FaultError::Denied { addr: base, access: Access::Exec, prot: R })
        );
        let fault = process.translate(base, mmu::Access::USER_EXEC).unwrap_err();
        assert_eq!((fault.level, fault.reason), (1, Reason::NoExecute));
    } else {
        assert_eq!(process.fetch(base), Ok(0), "2-level entries have no bit to deny it");
    }
    assert_eq!(process.fetch(base + PAGE), Ok(0));
    assert_eq!(process.store(base + PAGE, 1), denied(base + PAGE, Access::Write, RX));
    let none = base + 2 * PAGE;
    assert_eq!(process.load(none).map(drop), denied(none, Access::Read, Prot::empty()));
}

fn a_file_page_holds_the_bytes_and_zeros_behind_them<A: ArchPgd>(world: &World<A>) {
    let process = world.process();
    let base = world.seam() - PAGE;
    let file = Pattern::new(7);
    process.map_file(base..base + 3 * PAGE, RW, PRIVATE, (file.clone(), 3 * PAGE, PAGE + 0x123));
    for at in [0, 1, PAGE - 1, PAGE, PAGE + 0x122] {
        assert_eq!(process.load(base + at), Ok(file.byte(3 * PAGE + at)), "byte {at:#x}");
    }
    for at in [PAGE + 0x123, 2 * PAGE - 1, 2 * PAGE, 3 * PAGE - 1] {
        assert_eq!(process.load(base + at), Ok(0), "byte {at:#x}");
    }
    // A private mapping: the file keeps its bytes.
    process.store(base, 0xee).unwrap();
    let other = world.process();
    other.map_file(base..base + PAGE, R, PRIVATE, (file.clone(), 3 * PAGE, PAGE));
    assert_eq!(other.load(base), Ok(file.byte(3 * PAGE)));
}

fn bytes_that_cannot_be_read_are_a_bus_error<A: ArchPgd>(world: &World<A>) {
    let process = world.process();
    let base = world.seam();
    let file = Pattern { seed: 1, bad_from: PAGE };
    process.map_file(base..base + 2 * PAGE, RW, PRIVATE, (file, 0, 2 * PAGE));
    assert!(process.load(base).is_ok());
    let before = world.frames.allocated();
    let source = ReadError { offset: PAGE };
    let addr = base + PAGE;
    assert_eq!(process.load(addr + 9), Err(FaultError::Object { addr, source }));
    assert_eq!(world.frames.allocated(), before, "the frame was given back");
}

fn addresses_without_a_vma_are_not_mapped<A: ArchPgd>(world: &World<A>) {
    let process = world.process();
    let base = world.seam();
    process.map(base..base + PAGE, RW, PRIVATE);
    let addresses =
        [0, 0x1000, base - 1, base + PAGE, world.user_end() - 1, world.kernel_start(), u64::MAX];
    for addr in addresses {
        assert_eq!(process.load(addr), Err(FaultError::NotMapped { addr }), "{addr:#x}");
    }
}

fn a_stack_grows_to_its_limit_and_keeps_its_distance<A: ArchPgd>(world: &World<A>) {
    let process = world.process();
    let top = world.user_end() - PAGE;
    process.map(top - PAGE..top, RW, STACK);
    process.store(top - 5 * PAGE, 9).unwrap();
    assert_eq!(process.load(top - 5 * PAGE), Ok(9));
    assert_eq!(process.user().vmas().len(), 1, "one VMA, extended");

    let addr = top - STACK_MAX - 1;
    let len = STACK_MAX + PAGE;
    assert_eq!(process.load(addr), Err(FaultError::StackLimit { addr, len, max_len: STACK_MAX }));

    let below = top - 2 * STACK_GUARD_GAP;
    process.map(below - PAGE..below, RW, PRIVATE);
    let addr = below + STACK_GUARD_GAP - 1;
    assert_eq!(process.store(addr, 1), Err(FaultError::StackGuard { addr, below }));
    process.store(addr + 1, 1).unwrap();
}

fn a_fault_on_a_page_that_is_there_is_spurious<A: ArchPgd>(world: &World<A>) {
    let process = world.process();
    let base = world.seam();
    process.map(base..base + PAGE, RW, PRIVATE);
    let fault = |access| process.user().fault(&process.mm, base, access);
    assert_eq!(fault(Access::Read), Ok(FaultDone::PagedIn));
    assert_eq!(fault(Access::Read), Ok(FaultDone::Spurious));
    assert_eq!(fault(Access::Write), Ok(FaultDone::Spurious), "a frame of its own may be written");
    let child = process.fork();
    assert_eq!(fault(Access::Write), Ok(FaultDone::Copied));
    assert_eq!(child.user().fault(&child.mm, base, Access::Write), Ok(FaultDone::Reused));
}

/// A file, and a process that maps 40 pages of it, from the one behind its first, around a seam between tables.
fn kept_file<'w, A: ArchPgd>(world: &'w World<A>, pages: &[u64]) -> (Pattern, u64, Process<'w, A>) {
    let file = Pattern::new(7);
    let kept: Vec<_> = pages.iter().map(|page| (&file, (page + 1) * PAGE, PAGE as usize)).collect();
    keep(world.frames, &kept);
    let base = world.seam() - 20 * PAGE;
    let process = world.process();
    process.map_file(base..base + 40 * PAGE, RW, PRIVATE, (file.clone(), PAGE, 40 * PAGE));
    (file, base, process)
}

fn a_load_brings_the_kept_pages_around_it_and_no_others<A: ArchPgd>(world: &World<A>) {
    // Sixteen pages around, aligned: here those from 4 to 19, and from 36 on there are no more than four.
    let (file, base, process) = kept_file(world, &[3, 4, 6, 7, 19, 20, 36, 39]);
    let shown = || -> Vec<u64> {
        let is_there =
            |&page: &u64| process.translate(base + page * PAGE, mmu::Access::USER_READ).is_ok();
        (0..41).filter(is_there).collect()
    };
    // One that has a frame of its own keeps it.
    process.store(base + 7 * PAGE, 0x5a).unwrap();
    // One that the kernel does not have comes alone.
    assert_eq!(process.load(base + 10 * PAGE), Ok(file.byte(11 * PAGE)));
    assert_eq!(shown(), [7, 10]);
    assert_eq!(process.load(base + 6 * PAGE), Ok(file.byte(7 * PAGE)));
    assert_eq!(shown(), [4, 6, 7, 10, 19], "what the kernel does not have is left to a fault");
    assert_eq!(process.load(base + 36 * PAGE), Ok(file.byte(37 * PAGE)));
    assert_eq!(shown(), [4, 6, 7, 10, 19, 36, 39]);
    for page in [4, 19, 39] {
        assert_eq!(process.load(base + page * PAGE + 5), Ok(file.byte((page + 1) * PAGE + 5)));
    }
    assert_eq!(process.load(base + 7 * PAGE), Ok(0x5a));
    let before = world.frames.allocated();
    drop(process);
    keep(world.frames, &[]);
    assert!(world.frames.allocated() < before);
}

fn what_is_mapped_around_a_page_is_copied_when_it_is_stored_to<A: ArchPgd>(world: &World<A>) {
    let before = world.frames.allocated();
    let (file, base, process) = kept_file(world, &[21, 22]);
    let other = world.process();
    other.map_file(base..base + 40 * PAGE, RW, PRIVATE, (file.clone(), PAGE, 40 * PAGE));
    for process in [&process, &other] {
        process.load(base + 21 * PAGE).unwrap();
    }
    let addr = base + 22 * PAGE;
    let phys = |process: &Process<'_, A>| process.translate(addr, mmu::Access::USER_READ).unwrap();
    assert_eq!(phys(&process), phys(&other));
    assert!(process.translate(addr, mmu::Access::USER_WRITE).is_err());
    let done = process.user().fault(&process.mm, addr, Access::Write);
    assert_eq!(done, Ok(FaultDone::Copied));
    process.store(addr, !file.byte(23 * PAGE)).unwrap();
    assert_eq!(other.load(addr), Ok(file.byte(23 * PAGE)));
    drop((process, other));
    keep(world.frames, &[]);
    world.assert_allocated(before);
}

fn a_store_brings_no_other_page<A: ArchPgd>(world: &World<A>) {
    let (_, base, process) = kept_file(world, &[21, 22]);
    process.store(base + 21 * PAGE, 1).unwrap();
    assert!(process.translate(base + 22 * PAGE, mmu::Access::USER_READ).is_err());
    drop(process);
    keep(world.frames, &[]);
}
