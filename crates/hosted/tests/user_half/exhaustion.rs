//! Out of frames at every single allocation: nothing leaks, and nothing that was mapped is lost.

use mm_generic::arch::ArchPgd;
use mm_generic::publish::NewMm;
use mm_generic::user::{FaultError, ForkMmError};

use super::kernel::Pattern;
use super::world::{PAGE, PRIVATE, Process, RW, SHARED, World, on_every_mmu};

on_every_mmu!(
    a_new_mm_that_fails_keeps_nothing,
    a_fault_that_fails_keeps_the_page_as_it_was,
    a_copy_on_write_that_fails_keeps_the_page_as_it_was,
    a_fork_that_fails_leaves_the_parent_alone,
    storing_in_a_range_fails_only_where_memory_ran_out,
);

/// How the frames run out.
const WAYS: [fn(&hosted::frames::HostFrames, u64); 2] =
    [hosted::frames::HostFrames::fail_after, hosted::frames::HostFrames::fail_once_after];

/// Calls `attempt` with the allocation that fails moved on by one each time, until `attempt` tells that
/// nothing failed. Returns how many allocations could fail.
fn for_each_failure<A: ArchPgd>(
    world: &World<A>,
    fail: fn(&hosted::frames::HostFrames, u64),
    mut attempt: impl FnMut() -> bool,
) -> u64 {
    for failing in 0.. {
        fail(world.frames, failing);
        let done = attempt();
        world.frames.fail_never();
        if done {
            return failing;
        }
    }
    unreachable!("the attempt needs finitely many frames")
}

fn a_new_mm_that_fails_keeps_nothing<A: ArchPgd>(world: &World<A>) {
    let before = world.frames.allocated();
    for fail in WAYS {
        let failures = for_each_failure(world, fail, || {
            let mm = NewMm::new(world.init_mm);
            if mm.is_err() {
                world.assert_allocated(before);
            }
            mm.is_ok()
        });
        assert!(failures >= 1);
        world.assert_allocated(before);
    }
}

fn a_fault_that_fails_keeps_the_page_as_it_was<A: ArchPgd>(world: &World<A>) {
    for fail in WAYS {
        let before = world.frames.allocated();
        let process = world.process();
        let addr = world.seam();
        process.map_file(addr..addr + PAGE, RW, PRIVATE, (Pattern::new(5), 0, PAGE));
        let failures = for_each_failure(world, fail, || match process.load(addr) {
            Ok(byte) => {
                assert_eq!(byte, Pattern::new(5).byte(0));
                true
            }
            Err(FaultError::OutOfFrames { .. } | FaultError::Map(_)) => {
                assert!(process.translate(addr, hosted::mmu::Access::USER_READ).is_err());
                false
            }
            Err(error) => panic!("{error}"),
        });
        assert!(failures >= 1, "the page at least; tables made in vain are kept for the next try");
        drop(process);
        world.assert_allocated(before);
    }
}

fn a_copy_on_write_that_fails_keeps_the_page_as_it_was<A: ArchPgd>(world: &World<A>) {
    let addr = world.seam();
    let parent = world.process();
    parent.map(addr..addr + PAGE, RW, PRIVATE);
    parent.store(addr, 1).unwrap();
    let child = parent.fork();
    let before = world.frames.allocated();
    let failures = for_each_failure(world, WAYS[0], || {
        let stored = child.store(addr, 2);
        assert_eq!(parent.load(addr), Ok(1));
        if stored.is_err() {
            world.assert_allocated(before);
            assert_eq!(child.load(addr), Ok(1));
        }
        stored.is_ok()
    });
    assert_eq!(failures, 1);
    assert_eq!(child.load(addr), Ok(2));
}

/// A process with pages in several tables, private and shared, touched and untouched.
fn parent_of_forks<A: ArchPgd>(world: &World<A>) -> Process<'_, A> {
    let parent = world.process();
    let seam = world.seam();
    parent.map(seam - 3 * PAGE..seam + 3 * PAGE, RW, PRIVATE);
    parent.map(seam + 16 * PAGE..seam + 20 * PAGE, RW, SHARED);
    parent.map(0x10_0000..0x10_2000, RW, PRIVATE);
    parent.map(seam + 0x2000_0000..seam + 0x2000_0000 + PAGE, RW, SHARED);
    for addr in touched(seam) {
        parent.store(addr, 1).unwrap();
    }
    parent
}

fn touched(seam: u64) -> [u64; 5] {
    [seam - 2 * PAGE, seam, seam + 2 * PAGE, seam + 17 * PAGE, 0x10_0000]
}

fn a_fork_that_fails_leaves_the_parent_alone<A: ArchPgd>(world: &World<A>) {
    let start = world.frames.allocated();
    for fail in WAYS {
        let parent = parent_of_forks(world);
        let private = touched(world.seam()).map(|addr| (addr, addr != world.seam() + 17 * PAGE));
        let mut expected = 1;
        let failures = for_each_failure(world, fail, || {
            let Ok(child) = NewMm::new(world.init_mm) else { return false };
            let before = world.frames.allocated();
            match child.copy_user_half(&parent.mm) {
                Ok(()) => {
                    world.frames.fail_never();
                    let child = world.publish(child);
                    for (addr, _) in private {
                        assert_eq!(child.load(addr), Ok(expected));
                    }
                    true
                }
                Err(
                    ForkMmError::Map(_)
                    | ForkMmError::Shared(FaultError::OutOfFrames { .. } | FaultError::Map(_)),
                ) => {
                    // The child holds nothing; the parent may have got pages of its shared VMAs.
                    assert!(child.user().vmas().is_empty());
                    assert!(world.frames.allocated() >= before);
                    drop(child);
                    parent.assert_no_stale_tlb_entry();
                    world.frames.fail_never();
                    // Alone again, the parent stores in place and finds what it had.
                    let allocated = world.frames.allocated();
                    for (addr, _) in private {
                        assert_eq!(parent.load(addr), Ok(expected));
                        parent.store(addr, expected + 1).unwrap();
                    }
                    expected += 1;
                    world.assert_allocated(allocated);
                    false
                }
                Err(error) => panic!("{error}"),
            }
        });
        assert!(failures >= 5, "only {failures} allocations");
        drop(parent);
        world.assert_allocated(start);
    }
}

fn storing_in_a_range_fails_only_where_memory_ran_out<A: ArchPgd>(world: &World<A>) {
    let before = world.frames.allocated();
    let base = world.seam() - 3 * PAGE;
    let bytes: Vec<u8> = (0..6 * PAGE).map(|at| (at / PAGE) as u8 + 1).collect();
    for fail in WAYS {
        for_each_failure(world, fail, || {
            let Ok(mm) = NewMm::new(world.init_mm) else {
                world.assert_allocated(before);
                return false;
            };
            let process = world.publish(mm);
            process.map(base..base + 6 * PAGE, RW, PRIVATE);
            let result = process.user().write_bytes(&process.mm, base, &bytes);
            world.frames.fail_never();
            let stored = match result {
                Ok(()) => base + 6 * PAGE,
                Err(FaultError::OutOfFrames { addr, .. }) => addr,
                Err(FaultError::Map(mm_generic::page_tables::MapError::OutOfFrames {
                    addr,
                    ..
                })) => addr,
                Err(error) => panic!("{error}"),
            };
            for page in (base..base + 6 * PAGE).step_by(PAGE as usize) {
                let expected = if page < stored { bytes[(page - base) as usize] } else { 0 };
                assert_eq!(process.load(page), Ok(expected));
            }
            drop(process);
            world.assert_allocated(before);
            result.is_ok()
        });
    }
}
