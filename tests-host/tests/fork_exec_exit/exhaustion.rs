//! Frames run out at every single allocation of a fork, a clone and an exec: a typed error, and nothing is left.

use arch_x86::geometry::Geometry;
use hosted::frames::HostFrames;
use kernel_exec::load::{LoadError, LoadRequest};
use kernel_fork::args::CloneArgs;
use kernel_fork::error::ForkError;
use mm_generic::arch::PgdAllocError;
use mm_generic::mm::NewMmError;
use mm_generic::page_tables::MapError;
use mm_generic::user::{FaultError, ForkMmError};
use mm_generic::vma::{Backing, Vma, VmaFlags};

use super::kernel::Refused;
use super::load::{load_file, request, shape};
use super::program::{Program, target};
use super::world::{DATA, OK, PAGE, RW, Task, World, on_every_geometry};

on_every_geometry!(
    a_fork_survives_every_lack_of_a_frame,
    threads_and_vforks_need_no_frame,
    a_load_survives_every_lack_of_a_frame,
);

/// From the allocation that fails on, all do; or only that one.
const WAYS: [fn(&HostFrames, u64); 2] = [HostFrames::fail_after, HostFrames::fail_once_after];

/// A child of init with pages in several tables.
fn parent<G: Geometry>(world: &World<G>) -> Task<G> {
    let parent = world.fork(&world.init(), &CloneArgs::FORK);
    let mm = world.mm_of(&parent);
    for (value, addr) in (10..).zip((DATA.start..DATA.end).step_by(2 * PAGE as usize)) {
        world.store(&mm, addr, value);
    }
    let (_, top) = shape(world);
    let stack = Vma::new(top - 4 * PAGE..top, RW, VmaFlags::GROWS_DOWN, Backing::Anonymous);
    mm.user().mmap(stack.expect("whole pages")).expect("free addresses");
    world.store(&mm, top - 4, 99);
    parent
}

fn assert_memory<G: Geometry>(world: &World<G>, task: &Task<G>) {
    let mm = world.mm_of(task);
    for (value, addr) in (10..).zip((DATA.start..DATA.end).step_by(2 * PAGE as usize)) {
        assert_eq!(world.user_word(&mm, addr), value);
    }
    assert_eq!(world.user_word(&mm, shape(world).1 - 4), 99);
}

fn is_lack_of_frames(error: &ForkError<Refused>) -> bool {
    matches!(
        error,
        ForkError::NewMm(NewMmError::Pgd(PgdAllocError::OutOfFrames(_)))
            | ForkError::CopyMm(ForkMmError::Map(MapError::OutOfFrames { .. }))
    )
}

fn a_fork_survives_every_lack_of_a_frame<G: Geometry>(world: &'static World<G>) {
    for fail in WAYS {
        let parent = parent::<G>(world);
        let before = world.account();
        let mut failures = 0;
        let child = loop {
            fail(world.frames, failures);
            let made = world.try_fork(&parent, &CloneArgs::FORK);
            world.frames.fail_never();
            match made {
                Ok(child) => break child,
                Err(error) => assert!(is_lack_of_frames(&error), "{error}"),
            }
            failures += 1;
            assert_eq!(world.account(), before);
            assert!(!parent.process().has_child(|_| true));
            assert_eq!(world.mm_of(&parent).users(), 2);
            assert_memory::<G>(world, &parent);
        };
        // The root and a table for either mapping, at least.
        assert!(failures >= 3, "only {failures} frames could be missing");
        assert_memory::<G>(world, &child);
        world.end_child(&parent, &child);
        world.end_child(&world.init(), &parent);
    }
}

fn threads_and_vforks_need_no_frame<G: Geometry>(world: &'static World<G>) {
    let parent = parent::<G>(world);
    world.frames.fail_after(0);
    let thread = world.fork(&parent, &CloneArgs::THREAD);
    let child = world.fork(&parent, &CloneArgs::VFORK);
    world.frames.fail_never();
    world.exit(&thread, OK);
    world.end_child(&parent, &child);
    world.end_child(&world.init(), &parent);
}

fn a_load_survives_every_lack_of_a_frame<G: Geometry>(world: &'static World<G>) {
    let (class, stack_top) = shape(world);
    let bytes = Program::sample(class, true).to_bytes();
    let target = target(class, stack_top - (16 << 20));
    // Four pages of stack, which lie in two tables of the last level where the stack ends below a boundary.
    let long = [b'a'; 3 * PAGE as usize];
    let argv: [&[u8]; 1] = [&long];
    let request = LoadRequest { argv: &argv, ..request(&target, stack_top) };
    for fail in WAYS {
        let before = world.account();
        for failures in 0.. {
            fail(world.frames, failures);
            let loaded = load_file(world, &bytes, &request);
            world.frames.fail_never();
            let error = match loaded {
                Ok(image) => {
                    // The root, the tables of the stack and its four pages.
                    assert!(failures >= 6, "only {failures} frames could be missing");
                    drop(image);
                    break;
                }
                Err(error) => error,
            };
            let is_lack_of_frames = matches!(
                error,
                LoadError::NewMm(NewMmError::Pgd(PgdAllocError::OutOfFrames(_)))
                    | LoadError::WriteStack(
                        FaultError::OutOfFrames { .. }
                            | FaultError::Map(MapError::OutOfFrames { .. })
                    )
            );
            assert!(is_lack_of_frames, "{error}");
            assert_eq!(world.account(), before);
        }
        assert_eq!(world.account(), before);
    }
}
