//! Fork bombs: children that fork until something runs out, and what is left when they are gone.

use arch_x86::geometry::LongMode;
use kernel_fork::args::CloneArgs;
use kernel_fork::error::ForkError;
use kernel_task::pid::PidError;
use mm_generic::arch::PgdAllocError;
use mm_generic::mm::NewMmError;
use mm_generic::page_tables::MapError;
use mm_generic::user::ForkMmError;

use super::kernel::Refused;
use super::world::{OK, Size, TOUCHED, Task, World, on_four_levels};

/// Every process forks in turn until a fork fails; returns the processes and why.
fn explode(world: &World<LongMode>, args: &CloneArgs) -> (Vec<Task<LongMode>>, ForkError<Refused>) {
    let mut tasks = vec![world.fork(&world.init(), args)];
    for next in 0.. {
        match world.try_fork(&tasks[next].clone(), args) {
            Ok(child) => tasks.push(child),
            Err(error) => return (tasks, error),
        }
    }
    unreachable!("pids are finite")
}

/// Ends all of them, parents before children and every third the other way round.
fn burn_out(world: &World<LongMode>, mut tasks: Vec<Task<LongMode>>) {
    let init = world.init();
    let mut turn = 0;
    while !tasks.is_empty() {
        let at = if turn % 3 == 0 { tasks.len() - 1 } else { 0 };
        let task = tasks.remove(at);
        world.exit(&task, OK);
        turn += 1;
    }
    while world.reap(&init).is_some() {}
}

#[test]
fn a_bomb_runs_out_of_pids_and_leaves_nothing() {
    let size = Size { pids: 400, ..Size::default() };
    on_four_levels(size, |world| {
        let before = world.account();
        for args in [CloneArgs::FORK, CloneArgs::VFORK, CloneArgs::FORK] {
            let (tasks, error) = explode(world, &args);
            assert_eq!(error, ForkError::Pid(PidError::Exhausted { limit: 400 }));
            // All but pid 0 and init's.
            assert_eq!(tasks.len(), 398);
            let mut pids: Vec<_> = tasks.iter().map(|task| task.pid()).collect();
            pids.sort();
            pids.dedup();
            assert_eq!(pids.len(), 398, "no pid twice");
            burn_out(world, tasks);
            assert_eq!(world.account(), before);
        }
    });
}

#[test]
fn a_bomb_of_threads_runs_out_of_pids_and_leaves_nothing() {
    let size = Size { pids: 300, ..Size::default() };
    on_four_levels(size, |world| {
        let before = world.account();
        let leader = world.fork(&world.init(), &CloneArgs::FORK);
        let mut threads = Vec::new();
        let error = loop {
            match world.try_fork(threads.last().unwrap_or(&leader), &CloneArgs::THREAD) {
                Ok(thread) => threads.push(thread),
                Err(error) => break error,
            }
        };
        assert_eq!(error, ForkError::Pid(PidError::Exhausted { limit: 300 }));
        assert_eq!(leader.process().live_threads(), 298);
        for thread in threads {
            world.exit(&thread, OK);
        }
        world.end_child(&world.init(), &leader);
        drop(leader);
        assert_eq!(world.account(), before);
    });
}

#[test]
fn a_bomb_runs_out_of_frames_and_leaves_nothing() {
    let size = Size { frames: 300, ..Size::default() };
    on_four_levels(size, |world| {
        let before = world.account();
        let mut sizes = Vec::new();
        for _ in 0..3 {
            let (tasks, error) = explode(world, &CloneArgs::FORK);
            let is_lack_of_frames = matches!(
                error,
                ForkError::NewMm(NewMmError::Pgd(PgdAllocError::OutOfFrames(_)))
                    | ForkError::CopyMm(ForkMmError::Map(MapError::OutOfFrames { .. }))
            );
            assert!(is_lack_of_frames, "{error}");
            for task in &tasks {
                assert_eq!(world.user_bytes(world.mm_of(task).root(), TOUCHED, 1), [1]);
            }
            sizes.push(tasks.len());
            burn_out(world, tasks);
            assert_eq!(world.account(), before);
        }
        // Four tables each, and a page that all share.
        assert!(sizes[0] > 50, "{sizes:?}");
        assert!(sizes.iter().all(|&size| size == sizes[0]), "each bomb gets as far: {sizes:?}");
    });
}

/// Two CPUs explode at once, with frames for half of it.
#[test]
fn bombs_on_two_cpus_leave_nothing() {
    let size = Size { frames: 400, pids: 200, ..Size::default() };
    on_four_levels(size, |world| {
        let before = world.account();
        std::thread::scope(|scope| {
            for cpu in 1..3 {
                scope.spawn(move || {
                    world.on_cpu(|| {
                        let init = world.init();
                        for _ in 0..20 {
                            let mut tasks = Vec::new();
                            while let Ok(child) = kernel_fork::copy_process::copy_process(
                                world.init_mm,
                                tasks.last().unwrap_or(&init),
                                &CloneArgs::FORK,
                                cpu,
                            ) {
                                tasks.push(child.into_task());
                            }
                            for task in tasks {
                                world.exit(&task, OK);
                            }
                            while world.reap(&init).is_some() {}
                            world.quiesce();
                        }
                    });
                });
            }
        });
        while world.reap(&world.init()).is_some() {}
        assert_eq!(world.account(), before);
    });
}
