//! Corners of the tables that programs do not reach: bad addresses, frames out of reach, dirty bits and large pages.

use std::ops::ControlFlow;

use hosted::mmu::{self, MmuKind};
use kernel_sync::atomic::Ordering;
use mm_generic::arch::ArchPgd;
use mm_generic::frames::{Frame, Frames};
use mm_generic::page_tables::{Leaf, MapError, PageTables, Shows};
use mm_generic::prot::Prot;

use super::path::path;
use super::world::{PAGE, R, RW, RX, World, on_every_mmu};

on_every_mmu!(
    pages_that_cannot_be_mapped_are_refused,
    a_dirty_bit_that_the_mmu_sets_is_kept,
    a_copy_has_the_pages_of_the_range_and_both_sides_the_same_rights,
    a_page_whose_place_in_the_copy_is_taken_is_not_visited,
    a_large_page_of_the_kernel_is_found_and_not_split,
    a_top_level_entry_that_pae_remembers_is_told_of,
);

fn pages_that_cannot_be_mapped_are_refused<A: ArchPgd>(world: &World<A>) {
    let process = world.process();
    let (tables, root) = (world.init_mm.tables(), process.mm.root());
    let leaf = Leaf { frame: Frame::at(0x5000).unwrap(), prot: RW, dirty: false };
    // SAFETY: the process does not run.
    let map = |addr, leaf| unsafe { tables.map(root, addr, leaf) };
    let before = world.frames.allocated();
    for addr in [1, world.user_end(), world.kernel_start(), u64::MAX - 0xfff] {
        assert_eq!(map(addr, leaf), Err(MapError::BadAddress { addr }));
    }
    let addr = world.seam();
    if world.kind == MmuKind::TwoLevel {
        let frame = Frame::at(1 << 32).unwrap();
        let high = Leaf { frame, ..leaf };
        assert_eq!(map(addr, high), Err(MapError::FrameTooHigh { addr, frame }));
    }
    world.assert_allocated(before);
    let _ = map(addr, leaf).unwrap();
    let frame = leaf.frame;
    let other = Leaf { frame: Frame::at(0x6000).unwrap(), ..leaf };
    assert_eq!(map(addr, other), Err(MapError::Occupied { addr, frame }));
    // SAFETY: as above.
    assert_eq!(unsafe { tables.unmap(root, addr) }.map(|leaf| leaf.frame), Some(frame));
    // SAFETY: as above.
    assert_eq!(unsafe { tables.unmap(root, addr) }, None);
    // SAFETY: as above.
    assert_eq!(unsafe { tables.lookup(root, 1 << 57) }, None, "neither half");
}

fn a_dirty_bit_that_the_mmu_sets_is_kept<A: ArchPgd>(world: &World<A>) {
    let process = world.process();
    let (tables, root) = (world.init_mm.tables(), process.mm.root());
    let addr = world.seam();
    let frame = Frame::at(0x5000).unwrap();
    // SAFETY: the process does not run, here and below.
    let _ = unsafe { tables.map(root, addr, Leaf { frame, prot: RW, dirty: false }) }.unwrap();
    // The MMU sets the bit between the visit and the change.
    // SAFETY: as above; the visitor touches the entry as the MMU would.
    let result = unsafe {
        tables.protect_range(root, addr..addr + PAGE, |_, leaf| {
            assert!(!leaf.dirty);
            set_dirty(world, root, addr);
            ControlFlow::<(), _>::Continue(R)
        })
    };
    assert_eq!(result, ControlFlow::Continue(()));
    assert!(process.translate(addr, mmu::Access::USER_WRITE).is_err());
    // SAFETY: as above.
    let leaf = unsafe { tables.unmap(root, addr) }.unwrap();
    assert!(leaf.dirty);
    assert_eq!((leaf.frame, leaf.prot - Prot::EXEC), (frame, R));
}

fn a_copy_has_the_pages_of_the_range_and_both_sides_the_same_rights<A: ArchPgd>(world: &World<A>) {
    let (parent, child) = (world.process(), world.process());
    let tables = world.init_mm.tables();
    let (from, to) = (parent.mm.root(), child.mm.root());
    // On both sides of a seam between tables, and one on each side of the range.
    let start = world.seam() - 2 * PAGE;
    let range = start..start + 4 * PAGE;
    let frame = |at: u64| Frame::at(0x5000 + at * PAGE).unwrap();
    for (at, prot) in [(0, RW), (1, R), (3, Prot::empty()), (4, RW)] {
        let leaf = Leaf { frame: frame(at), prot, dirty: at == 0 };
        // SAFETY: the processes do not run, here and below, and the leaves own no frame.
        let _ = unsafe { tables.map(from, start + at * PAGE, leaf) }.unwrap();
    }
    let mut visited = Vec::new();
    // SAFETY: as above.
    let copied = unsafe {
        tables.copy_range(from, to, range, |addr, leaf| {
            visited.push((addr, leaf.frame));
            if addr == start {
                // As a store does, between the visit and the change.
                set_dirty(world, from, addr + PAGE);
            }
            leaf.prot - Prot::WRITE
        })
    };
    let expected = if world.kind == MmuKind::Pae { Shows::AfterFlush } else { Shows::AtOnce };
    assert_eq!(copied, Ok(expected));
    assert_eq!(visited, [0, 1, 3].map(|at| (start + at * PAGE, frame(at))));
    for at in 0..5 {
        // SAFETY: as above.
        let [old, new] = [from, to].map(|root| unsafe { tables.lookup(root, start + at * PAGE) });
        match at {
            0 | 1 => {
                let leaf = old.unwrap();
                assert_eq!((leaf.frame, leaf.prot - Prot::EXEC, leaf.dirty), (frame(at), R, true));
                assert_eq!(new, old);
            }
            2 => assert_eq!((old, new), (None, None)),
            3 => assert_eq!((old.unwrap().prot, new), (Prot::empty(), old)),
            _ => assert_eq!((old.unwrap().frame, new), (frame(4), None)),
        }
    }
    for root in [from, to] {
        // SAFETY: as above.
        unsafe { tables.unmap_range(root, 0..world.user_end(), |_, _| {}) };
    }
}

fn a_page_whose_place_in_the_copy_is_taken_is_not_visited<A: ArchPgd>(world: &World<A>) {
    let (parent, child) = (world.process(), world.process());
    let tables = world.init_mm.tables();
    let (from, to) = (parent.mm.root(), child.mm.root());
    let addr = world.seam();
    let leaf = Leaf { frame: Frame::at(0x5000).unwrap(), prot: RW, dirty: false };
    let taken = Leaf { frame: Frame::at(0x6000).unwrap(), ..leaf };
    for (root, at, leaf) in
        [(from, addr, leaf), (from, addr + PAGE, leaf), (to, addr + PAGE, taken)]
    {
        // SAFETY: the processes do not run, here and below, and the leaves own no frame.
        let _ = unsafe { tables.map(root, at, leaf) }.unwrap();
    }
    let mut visited = Vec::new();
    // SAFETY: as above.
    let copied = unsafe {
        tables.copy_range(from, to, addr..addr + 2 * PAGE, |addr, _| {
            visited.push(addr);
            R
        })
    };
    let occupied = MapError::Occupied { addr: addr + PAGE, frame: taken.frame };
    assert_eq!((copied, visited), (Err(occupied), vec![addr]));
    // SAFETY: as above.
    let kept = unsafe { tables.lookup(from, addr + PAGE) }.unwrap();
    assert!(kept.prot.contains(Prot::WRITE));
    for root in [from, to] {
        // SAFETY: as above.
        unsafe { tables.unmap_range(root, 0..world.user_end(), |_, _| {}) };
    }
}

/// Sets bit 6 of the last-level entry for `addr`, as a store does.
fn set_dirty<A: ArchPgd>(world: &World<A>, root: Frame, addr: u64) {
    let &(table, index) = path(world.frames, world.kind, root, addr).last().unwrap();
    if world.kind == MmuKind::TwoLevel {
        world.frames.table32(table)[index].fetch_or(1 << 6, Ordering::AcqRel);
    } else {
        world.frames.table64(table)[index].fetch_or(1 << 6, Ordering::AcqRel);
    }
}

fn a_large_page_of_the_kernel_is_found_and_not_split<A: ArchPgd>(world: &World<A>) {
    let start = world.kernel_start();
    let range = world.init_mm.grow(start, PAGE).unwrap();
    let frame = world.frames.alloc().unwrap();
    world.init_mm.map_kernel(&range, start, frame, R).unwrap();
    // As boot tables have it: the entry that leads to the last table is made a large page. In some
    // geometries that entry is the slot, so the mm comes afterwards.
    let root = world.init_mm.arch().reference_root();
    let (span, large) = make_large(world, root, start);
    let process = world.process();
    let translate = |addr| process.translate(addr, mmu::Access::KERNEL_READ);
    for addr in [start, start + 5 * PAGE, start + span - PAGE] {
        // SAFETY: the root is live.
        let leaf = unsafe { world.init_mm.tables().lookup(process.mm.root(), addr) }.unwrap();
        assert_eq!(leaf.frame.phys(), large + (addr - start));
        assert_eq!(translate(addr), Ok(leaf.frame.phys()));
        assert_eq!(leaf.prot, if world.has_nx { RW } else { RW | RX });
    }
    let addr = start;
    let result = world.init_mm.map_kernel(&range, addr, frame, R);
    assert_eq!(result, Err(MapError::Occupied { addr, frame: Frame::at(large).unwrap() }));
    // SAFETY: nothing is unmapped.
    assert_eq!(unsafe { world.init_mm.unmap_kernel(&range, start) }, None);
}

/// Puts a large page in the place of the last table for `addr`; returns its size and where it lies.
fn make_large<A: ArchPgd>(world: &World<A>, root: Frame, addr: u64) -> (u64, u64) {
    let large = 0x4000_0000;
    let (table, index) =
        path(world.frames, world.kind, root, addr).into_iter().nth_back(1).unwrap();
    if world.kind == MmuKind::TwoLevel {
        world.frames.table32(table)[index].store(large as u32 | 0x83, Ordering::Release);
        return (1 << 22, large);
    }
    // No-execute, and PAT at bit 12.
    let entry = large | 0x83 | 1 << 63 | 1 << 12;
    world.frames.table64(table)[index].store(entry, Ordering::Release);
    (1 << 21, large)
}

fn a_top_level_entry_that_pae_remembers_is_told_of<A: ArchPgd>(world: &World<A>) {
    let process = world.process();
    let (tables, root) = (world.init_mm.tables(), process.mm.root());
    let leaf = Leaf { frame: Frame::at(0x5000).unwrap(), prot: RW, dirty: false };
    // SAFETY: the process does not run.
    let map = |addr| unsafe { tables.map(root, addr, leaf) };
    let expected = if world.kind == MmuKind::Pae { Shows::AfterFlush } else { Shows::AtOnce };
    assert_eq!(map(world.seam()), Ok(expected));
    assert_eq!(map(world.seam() + PAGE), Ok(Shows::AtOnce));
    // SAFETY: as above; the leaves own no frame.
    unsafe { tables.unmap_range(root, 0..world.user_end(), |_, _| {}) };
}
