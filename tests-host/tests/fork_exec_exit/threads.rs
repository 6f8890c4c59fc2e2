//! Threads: how they come and go, and what a process whose leader is dead still is.

use std::sync::atomic::{AtomicUsize, Ordering};

use kernel_fork::args::CloneArgs;
use kernel_fork::error::ForkError;
use kernel_fork::exit::{Reaped, settle_group_exit};
use kernel_task::process::{ExitStatus, JoinError};

use super::trace::{Event, logged};
use super::world::{OK, Size, on_four_levels};

#[test]
fn a_thread_is_listed_until_it_exits_and_is_reaped_by_nobody() {
    on_four_levels(Size::default(), |world| {
        let init = world.init();
        let process = world.fork(&init, &CloneArgs::FORK);
        let thread = world.fork(&process, &CloneArgs::THREAD);
        assert!(!thread.is_leader() && process.is_leader());
        assert_eq!(process.process().live_threads(), 2);
        assert!(world.is_listed(thread.pid()));
        let ((), events) = logged(|| world.exit(&thread, ExitStatus::Exited(9)));
        assert!(!world.is_listed(thread.pid()));
        assert!(!events.iter().any(|event| matches!(event, Event::Notify { .. })));
        assert_eq!(process.process().live_threads(), 1);
        assert_eq!(process.process().exit_status(), None);
        assert_eq!(world.reap(&init), None);
        world.end_child(&init, &process);
    });
}

/// Walkers find the mm through whichever thread has it (`find_lock_task_mm`).
#[test]
fn a_dead_leader_stays_listed_and_its_process_is_still_found() {
    on_four_levels(Size::default(), |world| {
        let init = world.init();
        let leader = world.fork(&init, &CloneArgs::FORK);
        let thread = world.fork(&leader, &CloneArgs::THREAD);
        let (pid, root) = (leader.pid(), world.mm_of(&thread).root());
        world.exit(&leader, ExitStatus::Exited(3));
        assert!(leader.mm().is_none() && world.is_listed(pid));
        assert_eq!(leader.process().exit_status(), None, "a thread is left");
        assert_eq!(world.reap(&init), None);
        let grown = world.grow();
        assert!(world.shows(root, grown), "the walk went by the dead leader");
        world.exit(&thread, ExitStatus::Exited(4));
        // Nobody spoke for the process; it ends as its leader did (wait_task_zombie).
        assert_eq!(world.reap(&init), Some(Reaped { pid, status: ExitStatus::Exited(3) }));
        assert!(!world.is_listed(pid));
    });
}

/// The usual end of a program whose main thread has called `pthread_exit`.
#[test]
fn exit_group_after_the_leaders_exit_settles_the_status() {
    on_four_levels(Size::default(), |world| {
        let init = world.init();
        let leader = world.fork(&init, &CloneArgs::FORK);
        let thread = world.fork(&leader, &CloneArgs::THREAD);
        let pid = leader.pid();
        world.exit(&leader, ExitStatus::Exited(0));
        settle_group_exit(&thread, ExitStatus::Exited(42));
        world.exit(&thread, ExitStatus::Exited(42));
        assert_eq!(world.reap(&init), Some(Reaped { pid, status: ExitStatus::Exited(42) }));
    });
}

#[test]
fn the_first_exit_group_counts_and_no_thread_joins_after_it() {
    on_four_levels(Size::default(), |world| {
        let init = world.init();
        let leader = world.fork(&init, &CloneArgs::FORK);
        let threads = [(); 3].map(|()| world.fork(&leader, &CloneArgs::THREAD));
        let pid = leader.pid();
        let killed = ExitStatus::Killed { signal: 9, core: false };
        settle_group_exit(&threads[1], killed);
        settle_group_exit(&leader, ExitStatus::Exited(1));
        let refused = world.try_fork(&threads[0], &CloneArgs::THREAD).map(drop);
        assert_eq!(refused, Err(ForkError::Join(JoinError::Exiting { pid })));
        // A process of its own may still be made.
        let child = world.fork(&threads[0], &CloneArgs::FORK);
        world.exit(&leader, ExitStatus::Exited(2));
        for thread in &threads {
            assert_eq!(world.reap(&init), None);
            world.exit(thread, ExitStatus::Exited(5));
        }
        assert_eq!(world.reap(&init), Some(Reaped { pid, status: killed }));
        world.end_child(&init, &child);
    });
}

#[test]
fn threads_go_in_any_order() {
    on_four_levels(Size::default(), |world| {
        let init = world.init();
        // The leader exits first, second, ..., last.
        for position in 0..4 {
            let leader = world.fork(&init, &CloneArgs::FORK);
            let pid = leader.pid();
            let mut order: Vec<_> =
                (0..3).map(|_| world.fork(&leader, &CloneArgs::THREAD)).collect();
            order.insert(position, leader);
            while let Some(task) = order.pop() {
                assert_eq!(task.process().live_threads(), order.len() + 1);
                world.exit(&task, OK);
                assert_eq!(world.reap(&init).is_some(), order.is_empty());
            }
            assert!(!world.is_listed(pid));
        }
    });
}

#[test]
fn a_process_takes_threads_again_after_an_exec_has_killed_the_others() {
    on_four_levels(Size::default(), |world| {
        let init = world.init();
        let leader = world.fork(&init, &CloneArgs::FORK);
        leader.process().close();
        let refused = world.try_fork(&leader, &CloneArgs::THREAD).map(drop);
        assert_eq!(refused, Err(ForkError::Join(JoinError::Exiting { pid: leader.pid() })));
        leader.process().reopen();
        let thread = world.fork(&leader, &CloneArgs::THREAD);
        world.exit(&thread, OK);
        world.end_child(&init, &leader);
    });
}

/// All threads of a process end at once, on CPUs of their own: one of them, and only one, is the last.
#[test]
fn threads_that_exit_at_once_make_one_zombie() {
    on_four_levels(Size::default(), |world| {
        let init = world.init();
        for _ in 0..300 {
            let leader = world.fork(&init, &CloneArgs::FORK);
            let pid = leader.pid();
            let held = world.mm_of(&leader).grab();
            let mut tasks: Vec<_> =
                (0..2).map(|_| world.fork(&leader, &CloneArgs::THREAD)).collect();
            tasks.push(leader);
            let notified = AtomicUsize::new(0);
            let start = std::sync::Barrier::new(tasks.len());
            std::thread::scope(|scope| {
                for task in tasks {
                    let (notified, start) = (&notified, &start);
                    scope.spawn(move || {
                        world.on_cpu(|| {
                            start.wait();
                            let ((), events) = logged(|| world.exit(&task, OK));
                            let told = |event: &&Event| matches!(event, Event::Notify { .. });
                            notified
                                .fetch_add(events.iter().filter(told).count(), Ordering::Relaxed);
                            drop(task);
                        });
                    });
                }
            });
            assert_eq!(notified.load(Ordering::Relaxed), 1);
            assert_eq!(held.users(), 0, "the last thread tore the user half down");
            drop(held);
            assert_eq!(world.reap(&init).map(|reaped| reaped.pid), Some(pid));
            assert_eq!(world.reap(&init), None);
            world.quiesce();
        }
    });
}

/// Threads are made while others exit; the process outlives all but the last.
#[test]
fn threads_may_make_threads_while_others_exit() {
    on_four_levels(Size::default(), |world| {
        let init = world.init();
        let leader = world.fork(&init, &CloneArgs::FORK);
        std::thread::scope(|scope| {
            for cpu in 1..3 {
                let leader = leader.clone();
                scope.spawn(move || {
                    world.on_cpu(|| {
                        for _ in 0..500 {
                            let made = kernel_fork::copy_process::copy_process(
                                world.init_mm,
                                &leader,
                                &CloneArgs::THREAD,
                                cpu,
                            );
                            let thread = made.expect("room enough").into_task();
                            world.exit(&thread, OK);
                            world.quiesce();
                        }
                        drop(leader);
                    });
                });
            }
        });
        assert_eq!(leader.process().live_threads(), 1);
        assert_eq!(world.mm_of(&leader).users(), 2);
        world.end_child(&init, &leader);
    });
}
