//! Families in motion: parents and children that exit at the same time, and parents that wait in several threads.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use arch_x86::geometry::LongMode;
use kernel_fork::args::CloneArgs;
use kernel_fork::copy_process::copy_process;
use kernel_fork::exit::reap;
use kernel_fork::flags::CloneFlags;

use super::trace::ignore_children;
use super::world::{OK, Size, Task, World, on_four_levels};

/// Whoever names the reaper as its parent tells the reaper when it exits; so the reaper must find it when it
/// looks, even while orphans are being handed over.
#[test]
fn a_child_names_the_reaper_only_where_the_reaper_finds_it() {
    on_four_levels(Size::default(), |world| {
        let init = world.init();
        let parent = world.fork(&init, &CloneArgs::FORK);
        let child = world.fork(&parent, &CloneArgs::FORK);
        let exiting = AtomicBool::new(false);
        thread::scope(|scope| {
            let dying = parent.clone();
            let mut looked = false;
            // The reaper looks through its children, and takes its time.
            init.process().has_child(|_| {
                if looked {
                    return false;
                }
                looked = true;
                let (exiting, dying) = (&exiting, dying.clone());
                scope.spawn(move || {
                    world.on_cpu(|| {
                        exiting.store(true, Ordering::Relaxed);
                        world.exit(&dying, OK);
                        drop(dying);
                    });
                });
                while !exiting.load(Ordering::Relaxed) {
                    thread::yield_now();
                }
                let until = Instant::now() + Duration::from_millis(50);
                while Instant::now() < until {
                    let now = child.process().parent().expect("somebody's child");
                    assert!(
                        now.ptr_eq(parent.process()),
                        "the child names the reaper, which goes through its children and does not find it"
                    );
                    thread::yield_now();
                }
                false
            });
            drop(dying);
        });
        assert!(child.process().parent().expect("handed over").ptr_eq(init.process()));
        assert!(world.reap(&init).is_some());
        world.end_child(&init, &child);
    });
}

/// Ends `tasks` at the same moment, each on a CPU of its own, in a kernel where nobody wants zombies.
fn exit_at_once(world: &'static World<LongMode>, tasks: Vec<Vec<Task<LongMode>>>) {
    let start = Barrier::new(tasks.len());
    thread::scope(|scope| {
        for tasks in tasks {
            let start = &start;
            scope.spawn(move || {
                world.on_cpu(|| {
                    ignore_children(true);
                    start.wait();
                    for task in tasks {
                        world.exit(&task, OK);
                    }
                });
            });
        }
    });
}

/// With `SIGCHLD` ignored a child is reaped by whom it tells; one that told somebody who could not find it
/// stays for ever.
#[test]
fn no_zombie_is_lost_between_a_dying_parent_and_the_reaper() {
    on_four_levels(Size::default(), |world| {
        let init = world.init();
        for round in 0..600 {
            let parent = world.fork(&init, &CloneArgs::FORK);
            let mut children: Vec<_> =
                (0..12).map(|_| world.fork(&parent, &CloneArgs::VFORK)).collect();
            if round % 2 == 0 {
                children.reverse();
            }
            exit_at_once(world, vec![vec![parent], children]);
            assert!(
                !init.process().has_child(|_| true),
                "round {round}: a zombie that nobody reaps"
            );
            world.quiesce();
        }
        assert_eq!(world.account().tasks, [init.pid()]);
    });
}

#[test]
fn three_generations_may_exit_at_once() {
    on_four_levels(Size::default(), |world| {
        let init = world.init();
        for _ in 0..300 {
            let grandparent = world.fork(&init, &CloneArgs::FORK);
            let parent = world.fork(&grandparent, &CloneArgs::VFORK);
            let children = (0..4).map(|_| world.fork(&parent, &CloneArgs::VFORK)).collect();
            exit_at_once(world, vec![vec![grandparent], vec![parent], children]);
            assert!(!init.process().has_child(|_| true));
            world.quiesce();
        }
        assert_eq!(world.account().tasks, [init.pid()]);
    });
}

/// `CLONE_PARENT` asks for the parent's parent, who may be giving its children away.
#[test]
fn a_sibling_may_be_made_while_the_grandparent_exits() {
    on_four_levels(Size::default(), |world| {
        let init = world.init();
        let sibling = CloneArgs { flags: CloneFlags::PARENT | CloneFlags::VM, ..CloneArgs::FORK };
        for _ in 0..300 {
            let grandparent = world.fork(&init, &CloneArgs::FORK);
            let parent = world.fork(&grandparent, &CloneArgs::VFORK);
            let start = Barrier::new(2);
            let children: Vec<_> = thread::scope(|scope| {
                let maker = scope.spawn(|| {
                    world.on_cpu(|| {
                        start.wait();
                        let fork = || copy_process(world.init_mm, &parent, &sibling, 1);
                        (0..4).map(|_| fork().expect("room enough").into_task()).collect()
                    })
                });
                start.wait();
                world.exit(&grandparent, OK);
                maker.join().expect("no panic")
            });
            for child in &children {
                assert!(child.process().parent().expect("adopted").ptr_eq(init.process()));
                world.end_child(&init, child);
            }
            world.end_child(&init, &parent);
            let reaped = world.reap(&init).expect("the grandparent");
            assert_eq!(reaped.pid, grandparent.pid());
            world.quiesce();
        }
    });
}

#[test]
fn of_several_that_wait_for_a_child_one_gets_it() {
    on_four_levels(Size::default(), |world| {
        let init = world.init();
        for _ in 0..100 {
            let mut pids = Vec::new();
            for _ in 0..16 {
                let child = world.fork(&init, &CloneArgs::VFORK);
                pids.push(child.pid());
                world.exit(&child, OK);
            }
            let start = Barrier::new(2);
            let left = AtomicUsize::new(pids.len());
            let mut reaped: Vec<_> = thread::scope(|scope| {
                let waiters: Vec<_> = (0..2)
                    .map(|_| {
                        scope.spawn(|| {
                            world.on_cpu(|| {
                                let init = world.init();
                                start.wait();
                                let mut mine = Vec::new();
                                while left.load(Ordering::Relaxed) > 0 {
                                    let Some(reaped) =
                                        reap(world.init_mm, init.process(), |_| true)
                                    else {
                                        break;
                                    };
                                    left.fetch_sub(1, Ordering::Relaxed);
                                    mine.push(reaped.pid);
                                }
                                mine
                            })
                        })
                    })
                    .collect();
                waiters.into_iter().flat_map(|waiter| waiter.join().expect("no panic")).collect()
            });
            reaped.sort();
            pids.sort();
            assert_eq!(reaped, pids);
            world.quiesce();
        }
    });
}
