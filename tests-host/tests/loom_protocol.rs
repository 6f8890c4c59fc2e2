//! The protocol on the product's own code, in the interleavings that loom explores within the bounds below.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p tests-host --release --test loom_protocol`
//!
//! Bounds: without one where that takes seconds, otherwise with as many preemptions as do (five or six for two threads, two
//! or three for three; CHESS's experience is that races need two). Each scenario is run on the product and must
//! pass; each mutant must fail in at least one, with at most three preemptions, and the killers are printed.
#![cfg(all(loom, feature = "pgd-init-late"))]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arch_x86::late::LateInit;
use kernel_sync::Rcu;
use loom::thread;
use mm_generic::mm::Stage;
use mutants::{Mutant, MutantArch};
use tests_host::model::{ModelArch, ModelFrames, ModelRcu, Tiny, World, explore};

type Product = LateInit<Tiny, ModelFrames>;
type Mutated = MutantArch<Tiny, ModelFrames>;

/// What loom explores in one scenario.
trait Scenario: 'static {
    const NAME: &'static str;
    /// Preemption bound; `None` for all interleavings.
    const BOUND: Option<usize>;
    /// Preemption bound for mutants: at most three, so that all of them take no longer than the product.
    const MUTANT_BOUND: Option<usize> = match Self::BOUND {
        Some(bound) if bound < 3 => Self::BOUND,
        _ => Some(3),
    };

    fn run<A: ModelArch>(world: &Arc<World<A>>);
}

/// Runs `f` on a thread of the model.
fn on_cpu<A: ModelArch>(
    world: &Arc<World<A>>,
    f: impl FnOnce(&World<A>) + 'static,
) -> thread::JoinHandle<()> {
    let world = Arc::clone(world);
    thread::spawn(move || f(&world))
}

fn join(threads: impl IntoIterator<Item = thread::JoinHandle<()>>) {
    for thread in threads {
        thread.join().expect("no panic in a thread of the model");
    }
}

/// A fork and a growth: store buffering, the heart of the matter.
struct ForkGrowth;

impl Scenario for ForkGrowth {
    const NAME: &'static str = "fork x growth";
    const BOUND: Option<usize> = Some(6);

    fn run<A: ModelArch>(world: &Arc<World<A>>) {
        let grower = on_cpu(world, |world| world.grow(0));
        let mm = world.fork(0);
        world.load(0, mm);
        world.touch(0);
        join([grower]);
        world.touch(0);
    }
}

/// An exec and a growth. The old mm stays loaded until the new one is, and is used in between.
struct ExecGrowth;

impl Scenario for ExecGrowth {
    const NAME: &'static str = "exec x growth";
    const BOUND: Option<usize> = Some(5);

    fn run<A: ModelArch>(world: &Arc<World<A>>) {
        let old = world.fork(0);
        world.load(0, old);
        let grower = on_cpu(world, |world| world.grow(0));
        let (new, old) = world.exec(0);
        world.touch(0);
        world.load(0, new);
        drop(old);
        world.touch(0);
        join([grower]);
        world.touch(0);
    }
}

/// A kernel thread attaches an mm that had neither task nor CPU while a walk passed by.
struct AttachGrowth;

impl Scenario for AttachGrowth {
    const NAME: &'static str = "attach x growth";
    const BOUND: Option<usize> = None;

    fn run<A: ModelArch>(world: &Arc<World<A>>) {
        drop(world.fork(0));
        let orphan = world.task(0).take_mm().expect("forked just now");
        world.list(1);
        let grower = on_cpu(world, |world| world.grow(0));
        let mm = world.attach(1, orphan);
        world.load(1, mm);
        world.touch(1);
        join([grower]);
        world.touch(1);
    }
}

/// P1 makes P2 with `CLONE_VM`, in a place that the walk has passed, and exits.
struct CloneVmGrowth;

impl Scenario for CloneVmGrowth {
    const NAME: &'static str = "CLONE_VM and exit x growth";
    const BOUND: Option<usize> = Some(5);

    fn run<A: ModelArch>(world: &Arc<World<A>>) {
        let mm = world.fork(1);
        world.load(0, mm);
        let grower = on_cpu(world, |world| world.grow(0));
        let child = world.fork_shared(0, world.task(1).mm());
        let last = world.task(1).take_mm();
        // SAFETY: this thread is CPU 0.
        unsafe { world.cpu(0).leave_mm(world.init_mm()) };
        drop(last);
        world.load(1, child);
        world.touch(1);
        join([grower]);
        world.touch(1);
    }
}

/// A task exits and its CPU goes on with the PGD, lazily.
struct ExitGrowth;

impl Scenario for ExitGrowth {
    const NAME: &'static str = "exit and lazy TLB x growth";
    const BOUND: Option<usize> = None;

    fn run<A: ModelArch>(world: &Arc<World<A>>) {
        let mm = world.fork(0);
        world.load(0, mm);
        let grower = on_cpu(world, |world| world.grow(0));
        drop(world.task(0).take_mm());
        world.touch(0);
        join([grower]);
        world.touch(0);
    }
}

/// A task is scheduled for the first time while the walk is under way, and exits.
struct ScheduleExitGrowth;

impl Scenario for ScheduleExitGrowth {
    const NAME: &'static str = "first load and exit x growth";
    const BOUND: Option<usize> = None;

    fn run<A: ModelArch>(world: &Arc<World<A>>) {
        let mm = world.fork(0);
        let grower = on_cpu(world, |world| world.grow(0));
        world.load(0, mm);
        drop(world.task(0).take_mm());
        world.touch(0);
        join([grower]);
        world.touch(0);
    }
}

/// Two forks and a growth.
struct TwoForksGrowth;

impl Scenario for TwoForksGrowth {
    const NAME: &'static str = "two forks x growth";
    const BOUND: Option<usize> = Some(2);

    fn run<A: ModelArch>(world: &Arc<World<A>>) {
        let grower = on_cpu(world, |world| world.grow(0));
        let forker = on_cpu(world, |world| {
            let mm = world.fork(1);
            world.load(1, mm);
            world.touch(1);
        });
        let mm = world.fork(0);
        world.load(0, mm);
        world.touch(0);
        join([grower, forker]);
        world.touch(0);
        world.touch(1);
    }
}

/// Two growths of one slot, each of which uses the address when it has returned; the mm is there already.
struct TwoGrowthsOfOneSlot;

impl Scenario for TwoGrowthsOfOneSlot {
    const NAME: &'static str = "two growths of one slot";
    const BOUND: Option<usize> = Some(3);

    fn run<A: ModelArch>(world: &Arc<World<A>>) {
        let mm = world.fork(0);
        world.load(0, mm);
        let grower = on_cpu(world, |world| {
            world.grow(0);
            world.touch(0);
        });
        world.grow(0);
        world.touch(0);
        join([grower]);
    }
}

/// Growths of two slots and a fork: the generation moves twice.
struct TwoGrowthsFork;

impl Scenario for TwoGrowthsFork {
    const NAME: &'static str = "growths of two slots x fork";
    const BOUND: Option<usize> = Some(2);

    fn run<A: ModelArch>(world: &Arc<World<A>>) {
        let first = on_cpu(world, |world| world.grow(0));
        let second = on_cpu(world, |world| world.grow(1));
        let mm = world.fork(0);
        world.load(0, mm);
        world.touch(0);
        join([first, second]);
        world.touch(0);
    }
}

/// The last reference to an mm goes while a walk may be visiting it.
struct TeardownWalk;

impl Scenario for TeardownWalk {
    const NAME: &'static str = "teardown x walk";
    const BOUND: Option<usize> = None;

    fn run<A: ModelArch>(world: &Arc<World<A>>) {
        let mm = world.fork(0);
        world.load(0, mm);
        let grower = on_cpu(world, |world| world.grow(0));
        drop(world.task(0).take_mm());
        // SAFETY: this thread is CPU 0.
        unsafe { world.cpu(0).leave_mm(world.init_mm()) };
        join([grower]);
    }
}

/// A walker that finds an mm in a CPU's `LoadedMm` finds it complete: the orderings of `loaded.rs`.
#[test]
fn a_loaded_mm_is_seen_complete() {
    explore::<Product>(None, None, |world| {
        let cpu = on_cpu(world, |world| {
            let mm = world.fork(0);
            world.load(0, mm);
        });
        let rcu = ModelRcu::read_lock();
        if let Some(mm) = world.cpu(0).get(&rcu) {
            assert_eq!(mm.stage(), Stage::Ready);
        }
        drop(rcu);
        join([cpu]);
    });
}

fn product<S: Scenario>() {
    explore::<Product>(S::BOUND, None, S::run);
}

/// Tells whether the mutant fails in the scenario.
fn kills<S: Scenario>(mutant: Mutant) -> bool {
    let explored = AssertUnwindSafe(|| explore::<Mutated>(S::MUTANT_BOUND, Some(mutant), S::run));
    let killed = catch_unwind(explored).is_err();
    if killed {
        println!("mutant {mutant}: killed by loom, {}", S::NAME);
    }
    killed
}

macro_rules! scenarios {
    ($($test:ident: $scenario:ident,)+) => {
        $(
            #[test]
            fn $test() {
                product::<$scenario>();
            }
        )+

        /// The mutants' own writing-down of the protocol is right when nothing is wrong in it, so
        /// that a mutant fails for its mutation and for nothing else.
        #[test]
        fn the_mutants_are_right_but_for_their_mutation() {
            $(explore::<Mutated>($scenario::MUTANT_BOUND, None, $scenario::run);)+
        }

        #[test]
        fn every_mutant_is_killed() {
            let survivors: Vec<Mutant> = Mutant::ALL
                .iter()
                .copied()
                .filter(|&mutant| ![$(kills::<$scenario>(mutant)),+].contains(&true))
                .collect();
            assert_eq!(survivors, [], "no scenario kills these");
        }
    };
}

scenarios! {
    fork_and_growth: ForkGrowth,
    exec_and_growth: ExecGrowth,
    attach_and_growth: AttachGrowth,
    clone_vm_and_growth: CloneVmGrowth,
    exit_and_growth: ExitGrowth,
    schedule_exit_and_growth: ScheduleExitGrowth,
    two_forks_and_growth: TwoForksGrowth,
    two_growths_of_one_slot: TwoGrowthsOfOneSlot,
    two_growths_and_fork: TwoGrowthsFork,
    teardown_and_walk: TeardownWalk,
}
