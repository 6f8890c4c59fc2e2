//! `mmap`, `munmap`, `mprotect` and `brk`, and the pages and TLB entries that they take away.

use hosted::mmu::{self, Reason};
use mm_generic::arch::ArchPgd;
use mm_generic::prot::Prot;
use mm_generic::user::{Access, FaultError};
use mm_generic::vma::{Backing, Vma, VmaError};

use super::world::{PAGE, PRIVATE, R, RW, RX, World, on_every_mmu};

on_every_mmu!(
    unmapping_frees_the_pages_of_the_range_and_no_others,
    a_fixed_mapping_starts_afresh,
    a_refused_edit_changes_nothing,
    rights_that_are_taken_away_are_gone_at_once,
    a_page_without_rights_keeps_its_contents,
    a_heap_grows_and_shrinks,
    a_user_half_of_another_mm_is_refused,
    an_exit_frees_pages_and_tables_everywhere,
    tables_that_no_vma_needs_any_more_go_with_the_mm,
);

fn unmapping_frees_the_pages_of_the_range_and_no_others<A: ArchPgd>(world: &World<A>) {
    let process = world.process();
    let base = world.seam() - 3 * PAGE;
    process.map(base..base + 6 * PAGE, RW, PRIVATE);
    for page in 0..6 {
        process.store(base + page * PAGE, page as u8 + 1).unwrap();
    }
    let before = world.frames.allocated();
    process.unmap(base + PAGE..base + 4 * PAGE);
    world.assert_allocated(before - 3);
    for page in 0..6 {
        let addr = base + page * PAGE;
        let expected = if (1..4).contains(&page) {
            Err(FaultError::NotMapped { addr })
        } else {
            Ok(page as u8 + 1)
        };
        assert_eq!(process.load(addr), expected);
    }
    process.assert_no_stale_tlb_entry();
    // Mapped again, the pages are new.
    process.map(base..base + 6 * PAGE, RW, PRIVATE);
    assert_eq!(process.load(base + 2 * PAGE), Ok(0));
}

fn a_fixed_mapping_starts_afresh<A: ArchPgd>(world: &World<A>) {
    let process = world.process();
    let base = world.seam() - PAGE;
    process.map(base..base + 2 * PAGE, RW, PRIVATE);
    process.store(base, 1).unwrap();
    process.store(base + PAGE, 2).unwrap();
    process.map(base + PAGE..base + 2 * PAGE, R, PRIVATE);
    assert_eq!((process.load(base), process.load(base + PAGE)), (Ok(1), Ok(0)));
    process.assert_no_stale_tlb_entry();
}

fn a_refused_edit_changes_nothing<A: ArchPgd>(world: &World<A>) {
    let process = world.process();
    let base = world.seam();
    process.map(base..base + PAGE, RW, PRIVATE);
    process.store(base, 1).unwrap();
    let again = Vma::new(base..base + PAGE, R, PRIVATE, Backing::Anonymous).unwrap();
    let (start, end) = (base, base + PAGE);
    assert_eq!(
        process.user().mmap(again),
        Err(VmaError::Overlap { start, end, existing: start..end })
    );
    assert_eq!(
        process.user().mprotect(&process.mm, base..base + 2 * PAGE, R),
        Err(VmaError::NotMapped { addr: base + PAGE })
    );
    process.store(base, 2).unwrap();
    assert_eq!(process.load(base), Ok(2));
}

fn rights_that_are_taken_away_are_gone_at_once<A: ArchPgd>(world: &World<A>) {
    let process = world.process();
    let base = world.seam() - PAGE;
    process.map(base..base + 3 * PAGE, RW | Prot::EXEC, PRIVATE);
    for page in 0..3 {
        process.store(base + page * PAGE, 1).unwrap();
        process.fetch(base + page * PAGE).unwrap();
    }
    process.protect(base..base + 2 * PAGE, RX);
    process.assert_no_stale_tlb_entry();
    let denied = |addr, access, prot| Err(FaultError::Denied { addr, access, prot });
    assert_eq!(process.store(base, 2), denied(base, Access::Write, RX));
    process.protect(base..base + PAGE, R);
    process.assert_no_stale_tlb_entry();
    if world.has_nx {
        assert_eq!(process.fetch(base).map(drop), denied(base, Access::Exec, R));
    }
    assert_eq!(process.fetch(base + PAGE), Ok(1));
    process.store(base + 2 * PAGE, 3).unwrap();
    // Given back, the right to store comes with the next store.
    process.protect(base..base + PAGE, RW);
    process.store(base, 4).unwrap();
    assert_eq!(process.load(base), Ok(4));
}

fn a_page_without_rights_keeps_its_contents<A: ArchPgd>(world: &World<A>) {
    let process = world.process();
    let base = world.seam();
    process.map(base..base + PAGE, RW, PRIVATE);
    process.store(base, 0x77).unwrap();
    process.protect(base..base + PAGE, Prot::empty());
    process.assert_no_stale_tlb_entry();
    let (access, prot) = (Access::Read, Prot::empty());
    assert_eq!(process.load(base), Err(FaultError::Denied { addr: base, access, prot }));
    // Not for the kernel either, which a program could make read the page for it.
    for access in [mmu::Access::USER_READ, mmu::Access::KERNEL_READ, mmu::Access::KERNEL_WRITE] {
        let fault = process.translate(base, access).unwrap_err();
        assert_eq!((fault.level, fault.reason), (1, Reason::NotPresent));
    }
    let child = process.fork();
    child.protect(base..base + PAGE, R);
    assert_eq!(child.load(base), Ok(0x77));
    process.protect(base..base + PAGE, RW);
    assert_eq!(process.load(base), Ok(0x77));
    process.store(base, 0x78).unwrap();
    assert_eq!((process.load(base), child.load(base)), (Ok(0x78), Ok(0x77)));
}

fn a_heap_grows_and_shrinks<A: ArchPgd>(world: &World<A>) {
    let process = world.process();
    let base = world.seam() - PAGE;
    process.map(base..base + PAGE, RW, PRIVATE);
    let brk = |old, new| process.user().brk(&process.mm, old, new);
    brk(base + PAGE, base + 4 * PAGE).unwrap();
    for page in 0..4 {
        process.store(base + page * PAGE, 1).unwrap();
    }
    let before = world.frames.allocated();
    brk(base + 4 * PAGE, base + 2 * PAGE).unwrap();
    world.assert_allocated(before - 2);
    process.assert_no_stale_tlb_entry();
    let addr = base + 2 * PAGE;
    assert_eq!(process.load(addr), Err(FaultError::NotMapped { addr }));
    brk(base + 2 * PAGE, base + 3 * PAGE).unwrap();
    assert_eq!((process.load(base + PAGE), process.load(addr)), (Ok(1), Ok(0)));
}

fn a_user_half_of_another_mm_is_refused<A: ArchPgd>(world: &World<A>) {
    let (one, other) = (world.process(), world.process());
    let mut user = one.user();
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        user.munmap(&other.mm, 0x10_0000..0x10_1000)
    }));
    assert!(result.is_err());
}

fn an_exit_frees_pages_and_tables_everywhere<A: ArchPgd>(world: &World<A>) {
    let before = world.frames.allocated();
    let process = world.process();
    let seam = world.seam();
    // More pages than one gather holds, and a few in each corner of the tables.
    process.map(seam - 0x20_0000..seam + 0x20_0000, RW, PRIVATE);
    for page in (seam - 150 * PAGE..seam + 150 * PAGE).step_by(PAGE as usize) {
        process.store(page, 1).unwrap();
    }
    for corner in [0x1_0000, 0x40_0000, 0x4000_0000 - PAGE, world.user_end() - 2 * PAGE] {
        process.map(corner..corner + PAGE, RW, PRIVATE);
        process.store(corner, 2).unwrap();
    }
    process.unmap(0x40_0000..0x40_0000 + PAGE);
    drop(process);
    world.assert_allocated(before);
}

/// An exit looks for tables where VMAs are and where pages were unmapped, and nowhere else.
fn tables_that_no_vma_needs_any_more_go_with_the_mm<A: ArchPgd>(world: &World<A>) {
    let before = world.frames.allocated();
    let process = world.process();
    let (low, high) = (0x40_0000, world.user_end() - 8 * PAGE);
    let page = |base: u64, number: u64| base + number * PAGE..base + (number + 1) * PAGE;
    let touch = |range: std::ops::Range<u64>| {
        process.map(range.clone(), RW, PRIVATE);
        process.store(range.start, 1).unwrap();
    };
    // Tables with nothing left in them: one of their own, and one that stays for a neighbour.
    touch(world.seam() - PAGE..world.seam() + PAGE);
    process.unmap(world.seam() - PAGE..world.seam() + PAGE);
    touch(page(low, 0));
    touch(page(low, 2));
    process.unmap(page(low, 0));
    // In use to the end, below, within and above what was unmapped.
    touch(page(low - 0x20_0000, 0));
    touch(page(world.seam(), 4));
    touch(page(high, 0));
    // A heap that has shrunk over a seam, above all that was unmapped before.
    let heap = world.seam() * 5 / 4 - PAGE;
    touch(heap..heap + PAGE);
    process.user().brk(&process.mm, heap + PAGE, heap + 4 * PAGE).unwrap();
    process.store(heap + 3 * PAGE, 1).unwrap();
    process.user().brk(&process.mm, heap + 4 * PAGE, heap + PAGE).unwrap();
    drop(process.fork());
    drop(process);
    world.assert_allocated(before);
}
