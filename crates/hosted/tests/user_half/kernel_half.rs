//! What programs do leaves the kernel half alone, and what the kernel maps is seen by every one of them.

use hosted::mmu::{self, Reason};
use mm_generic::arch::ArchPgd;
use mm_generic::frames::Frames;
use mm_generic::page_tables::{MapError, PageTables};
use mm_generic::prot::Prot;

use super::kernel::kernel_flushes;
use super::world::{PAGE, PRIVATE, R, RW, World, on_every_mmu};

on_every_mmu!(
    user_mappings_leave_the_kernel_half_alone,
    kernel_mappings_are_seen_by_every_mm_and_by_no_program,
    kernel_mappings_are_refused_where_they_do_not_belong,
    pages_of_a_reclaimed_range_are_handed_on_after_a_flush,
);

/// More pages than one flush stands for.
fn pages_of_a_reclaimed_range_are_handed_on_after_a_flush<A: ArchPgd>(world: &World<A>) {
    const PAGES: u64 = 150;
    const BATCH: u64 = 64;
    let start = world.kernel_start();
    let range = world.init_mm.grow(start, PAGES * PAGE).unwrap();
    for page in 0..PAGES {
        let frame = world.frames.alloc().unwrap();
        world.init_mm.map_kernel(&range, start + page * PAGE, frame, RW).unwrap();
    }
    let before = kernel_flushes();
    let mut released = 0;
    let release = |addr, frame| {
        assert_eq!(addr, start + released * PAGE);
        assert!(
            kernel_flushes() - before > released / BATCH,
            "page {released} was not flushed since it was unmapped"
        );
        // SAFETY: no entry shows it, and the flush came before.
        unsafe { world.frames.put(frame) };
        released += 1;
    };
    // SAFETY: nobody uses the range.
    unsafe { world.init_mm.reclaim(range, release) }.unwrap();
    assert_eq!(released, PAGES);
}

fn user_mappings_leave_the_kernel_half_alone<A: ArchPgd>(world: &World<A>) {
    let start = world.kernel_start();
    let range = world.init_mm.grow(start, PAGE).unwrap();
    let frame = world.frames.alloc().unwrap();
    world.init_mm.map_kernel(&range, start, frame, RW).unwrap();
    let parent = world.process();
    let slots = parent.kernel_slots();
    let last = world.user_end() - PAGE;
    parent.map(last - 4 * PAGE..last, RW, PRIVATE);
    parent.store(last - PAGE, 1).unwrap();
    let child = parent.fork();
    child.store(last - PAGE, 2).unwrap();
    parent.unmap(last - 4 * PAGE..last);
    assert_eq!(parent.kernel_slots(), slots);
    drop(parent);
    assert_eq!(child.translate(start, mmu::Access::KERNEL_WRITE), Ok(frame.phys()));
    assert_eq!(world.frames.count(frame), 1);
}

fn kernel_mappings_are_seen_by_every_mm_and_by_no_program<A: ArchPgd>(world: &World<A>) {
    let old = world.process();
    let start = world.kernel_start() + 0x20_0000;
    let range = world.init_mm.grow(start, 2 * PAGE).unwrap();
    let new = world.process();
    let frames = [RW, R].map(|prot| (world.frames.alloc().unwrap(), prot));
    for (page, (frame, prot)) in (start..).step_by(PAGE as usize).zip(frames) {
        world.init_mm.map_kernel(&range, page, frame, prot).unwrap();
        for process in [&old, &new] {
            let translate = |access| process.translate(page, access);
            assert_eq!(translate(mmu::Access::KERNEL_READ), Ok(frame.phys()));
            let store = translate(mmu::Access::KERNEL_WRITE).map_err(|fault| fault.reason);
            let allowed = prot.contains(Prot::WRITE);
            assert_eq!(store, if allowed { Ok(frame.phys()) } else { Err(Reason::Write) });
            let denied = translate(mmu::Access::USER_READ).unwrap_err();
            assert_eq!(denied.reason, Reason::User);
        }
        // The tables' own answer agrees with the walk's.
        // SAFETY: the root is live, and kernel tables stay.
        let leaf = unsafe { world.init_mm.tables().lookup(old.mm.root(), page) }.unwrap();
        assert_eq!((leaf.frame, leaf.prot - Prot::EXEC), (frame, prot));
    }
    // SAFETY: nothing caches the translation.
    let unmapped = unsafe { world.init_mm.unmap_kernel(&range, start) };
    assert_eq!(unmapped, Some(frames[0].0));
    let fault = new.translate(start, mmu::Access::KERNEL_READ).unwrap_err();
    assert_eq!((fault.level, fault.reason), (1, Reason::NotPresent));
    // SAFETY: as above.
    assert_eq!(unsafe { world.init_mm.unmap_kernel(&range, start) }, None);
}

fn kernel_mappings_are_refused_where_they_do_not_belong<A: ArchPgd>(world: &World<A>) {
    let start = world.kernel_start();
    let root = world.init_mm.arch().reference_root();
    let tables = world.init_mm.tables();
    let (one, other) = (world.frames.alloc().unwrap(), world.frames.alloc().unwrap());
    // Only growth fills slots; a mapping must not do it by the way, for no walk would follow.
    // SAFETY: the reference root; an empty slot is refused.
    let result = unsafe { tables.map_kernel(root, start, other, RW) };
    assert_eq!(result, Err(MapError::BadAddress { addr: start }));
    let range = world.init_mm.grow(start, PAGE).unwrap();
    world.init_mm.map_kernel(&range, start, one, RW).unwrap();
    let map = |addr| world.init_mm.map_kernel(&range, addr, other, RW);
    assert_eq!(map(start), Err(MapError::Occupied { addr: start, frame: one }));
    for addr in [start + 1, start + PAGE, 0x10_0000] {
        assert_eq!(map(addr), Err(MapError::BadAddress { addr }));
    }
    let user = world.user_end() - PAGE;
    // SAFETY: the reference root; a user address is refused.
    let result = unsafe { tables.map_kernel(root, user, other, RW) };
    assert_eq!(result, Err(MapError::BadAddress { addr: user }));
}
