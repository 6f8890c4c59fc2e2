//! Pids as fork and exit see them: how few there may be, who holds one, and when it can be had again.

use kernel_fork::args::CloneArgs;
use kernel_fork::error::ForkError;
use kernel_task::pid::{PID_MAX_LIMIT, PidError};
use kernel_task::tasks::{Tasks, TasksError};

use super::kernel::TestKernel;
use super::world::{OK, Size, on_four_levels};
use arch_x86::geometry::LongMode;

#[test]
fn limits_without_a_pid_or_beyond_the_largest_are_refused() {
    for limit in [0, 1, PID_MAX_LIMIT + 1, u32::MAX] {
        let refused = Tasks::<TestKernel<LongMode>>::new(limit, 1).map(drop);
        let error = PidError::BadLimit { limit, min: 2, max: PID_MAX_LIMIT };
        assert_eq!(refused, Err(TasksError::Pids(error)));
    }
    assert!(Tasks::<TestKernel<LongMode>>::new(PID_MAX_LIMIT, 1).is_ok());
}

#[test]
fn a_kernel_with_one_pid_has_init_and_nothing_else() {
    let size = Size { pids: 2, ..Size::default() };
    on_four_levels(size, |world| {
        let init = world.init();
        assert_eq!(init.pid().get(), 1);
        let before = world.account();
        for args in [CloneArgs::FORK, CloneArgs::VFORK, CloneArgs::THREAD] {
            let refused = world.try_fork(&init, &args).map(drop);
            assert_eq!(refused, Err(ForkError::Pid(PidError::Exhausted { limit: 2 })));
            assert_eq!(world.account(), before);
        }
    });
}

#[test]
fn a_zombie_holds_its_pid_until_it_is_reaped_and_a_thread_until_it_exits() {
    let size = Size { pids: 4, ..Size::default() };
    on_four_levels(size, |world| {
        let init = world.init();
        let exhausted = Err(ForkError::Pid(PidError::Exhausted { limit: 4 }));
        let child = world.fork(&init, &CloneArgs::FORK);
        let thread = world.fork(&child, &CloneArgs::THREAD);
        assert_eq!(world.try_fork(&init, &CloneArgs::FORK).map(drop), exhausted);
        world.exit(&thread, OK);
        let second = world.fork(&init, &CloneArgs::FORK);
        assert_eq!(second.pid(), thread.pid(), "the only one that was free");
        world.exit(&child, OK);
        assert_eq!(world.try_fork(&init, &CloneArgs::FORK).map(drop), exhausted);
        assert_eq!(world.reap(&init).map(|reaped| reaped.pid), Some(child.pid()));
        // Before the grace period of the old owner has passed, and with a reference to it held.
        let third = world.fork(&init, &CloneArgs::FORK);
        assert_eq!(third.pid(), child.pid());
        assert!(!third.process().ptr_eq(child.process()));
        world.end_child(&init, &second);
        world.end_child(&init, &third);
    });
}

/// A failed fork at the limit, again and again, wears nothing out.
#[test]
fn refused_forks_do_not_use_pids_up() {
    let size = Size { pids: 70, ..Size::default() };
    on_four_levels(size, |world| {
        let init = world.init();
        for _ in 0..3 {
            let mut children = Vec::new();
            while let Ok(child) = world.try_fork(&init, &CloneArgs::VFORK) {
                children.push(child);
            }
            assert_eq!(children.len(), 68);
            for _ in 0..200 {
                assert!(world.try_fork(&init, &CloneArgs::VFORK).is_err());
            }
            // One goes, one comes.
            for child in children {
                world.end_child(&init, &child);
                let next = world.fork(&init, &CloneArgs::VFORK);
                world.end_child(&init, &next);
            }
            world.quiesce();
        }
    });
}
