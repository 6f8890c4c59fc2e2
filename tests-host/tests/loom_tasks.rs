//! The protocol through the product's whole path: `copy_process`, `exec_mmap`, `exit`, the task list and its walk.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p tests-host --release --test loom_tasks`
//!
//! Two threads and at most four preemptions each: the path is long, and what is new here against
//! `loom_protocol` is the order of its steps, which more preemptions could not rearrange.
#![cfg(all(loom, feature = "pgd-init-late"))]

use std::sync::Arc;

use kernel_fork::args::CloneArgs;
use loom::thread;
use tests_host::model::{
    Product, TaskWorld, ThroughList, ThroughTasks, WalkThrough, explore_tasks,
};

const BOUND: usize = 4;

/// What is explored whichever way walks find mms.
macro_rules! scenarios {
    ($($scenario:ident),+) => {
        mod through_tasks {
            $(#[test]
            fn $scenario() {
                super::$scenario::<super::ThroughTasks>();
            })+
        }

        mod through_the_list_of_mms {
            $(#[test]
            fn $scenario() {
                super::$scenario::<super::ThroughList>();
            })+
        }
    };
}

scenarios! {
    first_process_and_growth,
    fork_and_growth,
    exec_and_growth,
    exit_reaping_and_lazy_tlb_and_growth,
    dead_leader_and_growth,
    clone_vm_and_growth,
    kthread_use_mm_and_growth
}

fn grower<W: WalkThrough>(world: &Arc<TaskWorld<W>>) -> thread::JoinHandle<()> {
    let world = Arc::clone(world);
    thread::spawn(move || drop(world.grow()))
}

fn first_process_and_growth<W: WalkThrough>() {
    // There is more to interleave than in a fork, and nothing new.
    explore_tasks::<W, Product>(BOUND - 1, None, |world| {
        let grower = grower(world);
        let init = world.first();
        world.load(0, &init);
        world.touch(0);
        grower.join().expect("no panic");
        world.touch(0);
    });
}

fn fork_and_growth<W: WalkThrough>() {
    explore_tasks::<W, Product>(BOUND, None, |world| {
        let init = world.first();
        let grower = grower(world);
        let child = world.fork(&init, &CloneArgs::FORK);
        world.load(0, &child);
        world.touch(0);
        grower.join().expect("no panic");
        world.touch(0);
    });
}

fn exec_and_growth<W: WalkThrough>() {
    explore_tasks::<W, Product>(BOUND, None, |world| {
        let init = world.first();
        world.load(0, &init);
        let grower = grower(world);
        let old = world.exec(0, &init);
        world.touch(0);
        drop(old);
        grower.join().expect("no panic");
        world.touch(0);
    });
}

/// The child is reaped, off the task list, while its CPU still has its PGD.
fn exit_reaping_and_lazy_tlb_and_growth<W: WalkThrough>() {
    explore_tasks::<W, Product>(BOUND, None, |world| {
        let init = world.first();
        let child = world.fork(&init, &CloneArgs::FORK);
        world.load(0, &child);
        let grower = grower(world);
        world.exit(&child, &init);
        assert!(world.reap(&init));
        world.touch(0);
        grower.join().expect("no panic");
        world.touch(0);
    });
}

/// The leader is dead, the thread lives on; both are made before and die during the growth.
fn dead_leader_and_growth<W: WalkThrough>() {
    explore_tasks::<W, Product>(BOUND, None, |world| {
        let init = world.first();
        let child = world.fork(&init, &CloneArgs::FORK);
        let grower = grower(world);
        let thread = world.fork(&child, &CloneArgs::THREAD);
        world.exit(&child, &init);
        world.load(0, &thread);
        world.touch(0);
        grower.join().expect("no panic");
        world.touch(0);
        world.exit(&thread, &init);
    });
}

/// P1 makes P2 with `CLONE_VM` and exits; the mm lives on in a place the walk may have passed.
fn clone_vm_and_growth<W: WalkThrough>() {
    explore_tasks::<W, Product>(BOUND, None, |world| {
        let init = world.first();
        let p1 = world.fork(&init, &CloneArgs::FORK);
        let grower = grower(world);
        let p2 = world.fork(&p1, &CloneArgs::VFORK);
        world.exit(&p1, &init);
        world.load(1, &p2);
        world.touch(1);
        grower.join().expect("no panic");
        world.touch(1);
        world.exit(&p2, &init);
    });
}

fn kthread_use_mm_and_growth<W: WalkThrough>() {
    explore_tasks::<W, Product>(BOUND, None, |world| {
        let init = world.first();
        let kthread = world.kthread();
        let child = world.fork(&init, &CloneArgs::FORK);
        let orphan = child.mm().expect("a user task");
        world.exit(&child, &init);
        let grower = grower(world);
        world.attach(1, &kthread, orphan);
        world.touch(1);
        grower.join().expect("no panic");
        world.touch(1);
    });
}
