//! Replace and reclaim, and growths that meet them, through the product's whole path: `copy_process`, `exec_mmap`, `kthread_use_mm`, `exit`, the
//! pid table, the list of mms.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p tests-host --release --test loom_task_updates`
//!
//! Two to four threads, with the bound of preemptions beside each scenario. `loom_protocol` explores the same meetings with more preemptions and
//! toy tasks; what is new here is the order of the path's steps. Each scenario is seen to fail with a mutant.
#![cfg(all(loom, feature = "pgd-init-late"))]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use kernel_fork::args::CloneArgs;
use loom::thread;
use mutants::{Mutant, MutantArch};
use tests_host::model::{
    ModelArch, ModelFrames, Product, TaskWorld, ThroughList, ThroughTasks, Tiny, WalkThrough,
    explore_tasks,
};

type World<W, A> = Arc<TaskWorld<W, A>>;

/// Runs `f` on a thread of the model.
fn on_cpu<W: WalkThrough, A: ModelArch>(
    world: &World<W, A>,
    f: impl FnOnce(&TaskWorld<W, A>) + 'static,
) -> thread::JoinHandle<()> {
    let world = Arc::clone(world);
    thread::spawn(move || f(&world))
}

fn join(threads: impl IntoIterator<Item = thread::JoinHandle<()>>) {
    for thread in threads {
        thread.join().expect("no panic in a thread of the model");
    }
}

/// The copy may hold the entry that the walk came too early to take out.
fn fork_and_reclaim<W: WalkThrough, A: ModelArch>(world: &World<W, A>) {
    let init = world.first();
    let range = world.grow();
    let reclaimer = on_cpu(world, |world| world.reclaim(range));
    let child = world.fork(&init, &CloneArgs::FORK);
    world.load(0, &child);
    world.glance(0);
    join([reclaimer]);
    world.verify_all();
}

/// The old mm is loaded, and used until the new one is; the address is used all the time.
fn exec_and_replace<W: WalkThrough, A: ModelArch>(world: &World<W, A>) {
    let init = world.first();
    let mut range = world.grow();
    world.load(0, &init);
    world.touch(0);
    let replacer = on_cpu(world, move |world| world.replace(&mut range));
    let old = world.exec(0, &init);
    world.touch(0);
    drop(old);
    join([replacer]);
    world.touch(0);
    world.verify_all();
}

/// An mm that no task has is attached, used, and let go again; the CPU goes on with it, lazily.
fn kthread_use_mm_and_reclaim<W: WalkThrough, A: ModelArch>(world: &World<W, A>) {
    let init = world.first();
    let range = world.grow();
    let kthread = world.kthread();
    let child = world.fork(&init, &CloneArgs::FORK);
    let orphan = child.mm().expect("a user task");
    world.exit(&child, &init);
    let reclaimer = on_cpu(world, |world| world.reclaim(range));
    world.attach(1, &kthread, orphan);
    world.glance(1);
    world.detach(&kthread);
    world.glance(1);
    join([reclaimer]);
    world.verify_all();
}

/// The child is reaped, off the task list, while its CPU has its PGD loaded and the entry cached.
fn exit_and_reclaim<W: WalkThrough, A: ModelArch>(world: &World<W, A>) {
    let init = world.first();
    let range = world.grow();
    let child = world.fork(&init, &CloneArgs::FORK);
    world.load(0, &child);
    world.touch(0);
    let reclaimer = on_cpu(world, |world| world.reclaim(range));
    world.exit(&child, &init);
    assert!(world.reap(&init));
    world.glance(0);
    join([reclaimer]);
    world.verify_all();
}

/// Two CPUs grow into one slot, each of which uses its address at once, while a third one forks.
fn two_growths_of_one_slot_and_fork<W: WalkThrough, A: ModelArch>(world: &World<W, A>) {
    let init = world.first();
    let grower = |page| move |world: &TaskWorld<W, A>| drop(world.grow_page(page));
    let growers = [on_cpu(world, grower(0)), on_cpu(world, grower(1))];
    let child = world.fork(&init, &CloneArgs::FORK);
    world.load(0, &child);
    world.touch(0);
    join(growers);
    world.verify_all();
}

/// A table is reclaimed and the slot grown into by another CPU, while one CPU forks and another one's task exits.
fn fork_and_exit_and_reclaim_and_growth<W: WalkThrough, A: ModelArch>(world: &World<W, A>) {
    let init = world.first();
    let range = world.grow();
    let child = world.fork(&init, &CloneArgs::FORK);
    world.load(1, &child);
    world.touch(1);
    let reclaimer = on_cpu(world, |world| world.reclaim(range));
    let grower = on_cpu(world, |world| drop(world.grow_page(1)));
    let reaper = init.clone();
    let exiter = on_cpu(world, move |world| {
        world.exit(&child, &reaper);
        world.glance(1);
    });
    let other = world.fork(&init, &CloneArgs::FORK);
    world.load(0, &other);
    world.glance(0);
    join([reclaimer, grower, exiter]);
    world.verify_all();
}

/// Explores a scenario with at most so many preemptions, whichever way walks find mms, as the product does it; and with a mutant, which must fail.
macro_rules! scenarios {
    ($($scenario:ident: $threads:literal threads, at most $bound:literal preemptions, catches $mutant:ident through $walk:ident;)+) => {
        mod through_tasks {
            $(#[test]
            fn $scenario() {
                super::explore_tasks::<super::ThroughTasks, super::Product>($bound, None, super::$scenario);
            })+
        }

        mod through_the_list_of_mms {
            $(#[test]
            fn $scenario() {
                super::explore_tasks::<super::ThroughList, super::Product>($bound, None, super::$scenario);
            })+
        }

        mod mutants_of_the_path {
            $(#[test]
            fn $scenario() {
                let name = stringify!($scenario).replace('_', " ");
                super::dies::<super::$walk>(super::Mutant::$mutant, $bound, &name, super::$scenario);
            })+
        }
    };
}

scenarios! {
    fork_and_reclaim: 2 threads, at most 3 preemptions, catches LateFillsOnlyNone through ThroughTasks;
    exec_and_replace: 2 threads, at most 3 preemptions, catches FlushBeforeWalk through ThroughList;
    kthread_use_mm_and_reclaim: 2 threads, at most 4 preemptions, catches AttachWithoutLateInit through ThroughTasks;
    exit_and_reclaim: 2 threads, at most 5 preemptions, catches CpuWalkLeftOut through ThroughTasks;
    two_growths_of_one_slot_and_fork: 3 threads, at most 2 preemptions, catches SyncedBeforeWalk through ThroughList;
    fork_and_exit_and_reclaim_and_growth: 4 threads, at most 1 preemptions, catches HelperDoesNotFlush through ThroughTasks;
}

/// Asserts that a mutant fails in the scenario `name`.
fn dies<W: WalkThrough>(
    mutant: Mutant,
    bound: usize,
    name: &str,
    scenario: fn(&World<W, MutantArch<Tiny, ModelFrames>>),
) {
    let explored = AssertUnwindSafe(|| explore_tasks(bound, Some(mutant), scenario));
    assert!(catch_unwind(explored).is_err(), "{mutant} survives");
    println!("mutant {mutant}: killed by loom, {name}, through the tasks' whole path");
}
