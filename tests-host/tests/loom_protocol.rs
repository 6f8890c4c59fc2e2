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

use arch_x86::cached::Cached;
use arch_x86::late::LateInit;
use kernel_sync::Rcu;
use kernel_sync::atomic::{AtomicBool, Ordering};
use loom::thread;
use mm_generic::arch::{ArchPgd, PgdWalk};
use mm_generic::frames::PAGE_SIZE;
use mm_generic::mm::Stage;
use mm_generic::page_tables::PageTables;
use mm_generic::publish::ReadyMm;
use mm_generic::reference::Refusal;
use mm_generic::replacement::{ReplaceError, Replacement};
use mutants::{Mutant, MutantArch};
use tests_host::model::{ModelArch, ModelFrames, ModelRcu, Tiny, World, explore};

type Product = LateInit<Tiny, ModelFrames>;
type Keeping = Cached<Tiny, ModelFrames>;
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
        let grower = on_cpu(world, |world| drop(world.grow(0)));
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
        let grower = on_cpu(world, |world| drop(world.grow(0)));
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
    const BOUND: Option<usize> = Some(5);

    fn run<A: ModelArch>(world: &Arc<World<A>>) {
        drop(world.fork(0));
        let orphan = world.task(0).take_mm().expect("forked just now");
        world.list(1);
        let grower = on_cpu(world, |world| drop(world.grow(0)));
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
        let grower = on_cpu(world, |world| drop(world.grow(0)));
        let child = world.fork_shared(0, world.task(1).mm());
        let last = world.task(1).take_mm();
        world.leave(0);
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
        let grower = on_cpu(world, |world| drop(world.grow(0)));
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
        let grower = on_cpu(world, |world| drop(world.grow(0)));
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
        let grower = on_cpu(world, |world| drop(world.grow(0)));
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
            let _ = world.grow(0);
            world.touch(0);
        });
        let _ = world.grow(0);
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
        let first = on_cpu(world, |world| drop(world.grow(0)));
        let second = on_cpu(world, |world| drop(world.grow(1)));
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
        let grower = on_cpu(world, |world| drop(world.grow(0)));
        drop(world.task(0).take_mm());
        world.leave(0);
        join([grower]);
    }
}

/// A fork and a reclaim: the copy may hold the entry that the walk came too early to take out.
struct ForkReclaim;

impl Scenario for ForkReclaim {
    const NAME: &'static str = "fork x reclaim";
    const BOUND: Option<usize> = Some(4);

    fn run<A: ModelArch>(world: &Arc<World<A>>) {
        let range = world.grow(0);
        let reclaimer = on_cpu(world, |world| world.reclaim(0, range));
        let mm = world.fork(0);
        world.load(0, mm);
        world.glance(0);
        join([reclaimer]);
        world.glance(0);
        world.verify_all();
    }
}

/// An exec and a reclaim; the old mm is loaded, and the CPU has cached the entry.
struct ExecReclaim;

impl Scenario for ExecReclaim {
    const NAME: &'static str = "exec x reclaim";
    const BOUND: Option<usize> = Some(3);

    fn run<A: ModelArch>(world: &Arc<World<A>>) {
        let range = world.grow(0);
        let old = world.fork(0);
        world.load(0, old);
        world.touch(0);
        let reclaimer = on_cpu(world, |world| world.reclaim(0, range));
        let (new, old) = world.exec(0);
        world.load(0, new);
        drop(old);
        world.glance(0);
        join([reclaimer]);
        world.verify_all();
    }
}

/// A kernel thread attaches an mm that the walk does not visit.
struct AttachReclaim;

impl Scenario for AttachReclaim {
    const NAME: &'static str = "attach x reclaim";
    const BOUND: Option<usize> = Some(4);

    fn run<A: ModelArch>(world: &Arc<World<A>>) {
        let range = world.grow(0);
        drop(world.fork(0));
        let orphan = world.task(0).take_mm().expect("forked just now");
        world.list(1);
        let reclaimer = on_cpu(world, |world| world.reclaim(0, range));
        let mm = world.attach(1, orphan);
        world.load(1, mm);
        world.glance(1);
        join([reclaimer]);
        world.verify_all();
    }
}

/// P1 makes P2 with `CLONE_VM`, in a place that the walk has passed, and exits.
struct CloneVmReclaim;

impl Scenario for CloneVmReclaim {
    const NAME: &'static str = "CLONE_VM and exit x reclaim";
    const BOUND: Option<usize> = Some(3);

    fn run<A: ModelArch>(world: &Arc<World<A>>) {
        let range = world.grow(0);
        let mm = world.fork(1);
        world.load(0, mm);
        world.touch(0);
        let reclaimer = on_cpu(world, |world| world.reclaim(0, range));
        let child = world.fork_shared(0, world.task(1).mm());
        let last = world.task(1).take_mm();
        world.leave(0);
        drop(last);
        world.load(1, child);
        world.glance(1);
        join([reclaimer]);
        world.verify_all();
    }
}

/// A task exits and its CPU goes on with the PGD, lazily, and with what it has cached.
struct ExitReclaim;

impl Scenario for ExitReclaim {
    const NAME: &'static str = "exit and lazy TLB x reclaim";
    const BOUND: Option<usize> = None;

    fn run<A: ModelArch>(world: &Arc<World<A>>) {
        let range = world.grow(0);
        let mm = world.fork(0);
        world.load(0, mm);
        world.touch(0);
        let reclaimer = on_cpu(world, |world| world.reclaim(0, range));
        drop(world.task(0).take_mm());
        world.glance(0);
        join([reclaimer]);
        world.verify_all();
    }
}

/// A fork and a replacement; the address is used all the time.
struct ForkReplace;

impl Scenario for ForkReplace {
    const NAME: &'static str = "fork x replace";
    const BOUND: Option<usize> = Some(4);

    fn run<A: ModelArch>(world: &Arc<World<A>>) {
        let mut range = world.grow(0);
        let replacer = on_cpu(world, move |world| {
            world.replace(0, &mut range, Replacement::Move).expect("the sole owner");
        });
        let mm = world.fork(0);
        world.load(0, mm);
        world.touch(0);
        join([replacer]);
        world.touch(0);
        world.verify_all();
    }
}

/// An exec and a replacement; the address is used all the time.
struct ExecReplace;

impl Scenario for ExecReplace {
    const NAME: &'static str = "exec x replace";
    const BOUND: Option<usize> = Some(3);

    fn run<A: ModelArch>(world: &Arc<World<A>>) {
        let mut range = world.grow(0);
        let old = world.fork(0);
        world.load(0, old);
        world.touch(0);
        let replacer = on_cpu(world, move |world| {
            world.replace(0, &mut range, Replacement::Move).expect("the sole owner");
        });
        let (new, old) = world.exec(0);
        world.touch(0);
        world.load(0, new);
        drop(old);
        world.touch(0);
        join([replacer]);
        world.verify_all();
    }
}

/// A kernel thread attaches an mm that the replacement's walk does not visit.
struct AttachReplace;

impl Scenario for AttachReplace {
    const NAME: &'static str = "attach x replace";
    const BOUND: Option<usize> = Some(4);

    fn run<A: ModelArch>(world: &Arc<World<A>>) {
        let mut range = world.grow(0);
        drop(world.fork(0));
        let orphan = world.task(0).take_mm().expect("forked just now");
        world.list(1);
        let replacer = on_cpu(world, move |world| {
            world.replace(0, &mut range, Replacement::Move).expect("the sole owner");
        });
        let mm = world.attach(1, orphan);
        world.load(1, mm);
        world.touch(1);
        join([replacer]);
        world.verify_all();
    }
}

/// A reclaim, and a growth of the same slot by a CPU that has the old entry cached.
struct ReclaimGrowth;

impl Scenario for ReclaimGrowth {
    const NAME: &'static str = "reclaim x growth";
    const BOUND: Option<usize> = Some(4);

    fn run<A: ModelArch>(world: &Arc<World<A>>) {
        let range = world.grow(0);
        let mm = world.fork(0);
        world.load(0, mm);
        world.touch(0);
        let reclaimer = on_cpu(world, |world| world.reclaim(0, range));
        let _ = world.grow_page(0, 1);
        join([reclaimer]);
        world.verify_all();
    }
}

/// A reclaim, a growth of the same slot, and a fork.
struct ReclaimGrowthFork;

impl Scenario for ReclaimGrowthFork {
    const NAME: &'static str = "reclaim x growth x fork";
    const BOUND: Option<usize> = Some(2);

    fn run<A: ModelArch>(world: &Arc<World<A>>) {
        let range = world.grow(0);
        let reclaimer = on_cpu(world, |world| world.reclaim(0, range));
        let grower = on_cpu(world, |world| drop(world.grow_page(0, 1)));
        let mm = world.fork(0);
        world.load(0, mm);
        world.glance(0);
        join([reclaimer, grower]);
        world.verify_all();
    }
}

/// A reclaim and another growth of the slot, into the frame that the first table had, while an mm is made.
struct SameFrameFork;

impl Scenario for SameFrameFork {
    const NAME: &'static str = "fork x reclaim and growth into the same frame";
    const BOUND: Option<usize> = Some(3);

    fn run<A: ModelArch>(world: &Arc<World<A>>) {
        let range = world.grow(0);
        let updater = on_cpu(world, |world| {
            world.reclaim(0, range);
            let _ = world.grow(0);
        });
        let mm = world.fork(0);
        world.load(0, mm);
        world.glance(0);
        join([updater]);
        world.verify_all();
    }
}

/// The same while a kernel thread attaches an mm that holds the first table's entry.
struct SameFrameAttach;

impl Scenario for SameFrameAttach {
    const NAME: &'static str = "attach x reclaim and growth into the same frame";
    const BOUND: Option<usize> = Some(4);

    fn run<A: ModelArch>(world: &Arc<World<A>>) {
        let range = world.grow(0);
        drop(world.fork(0));
        let orphan = world.task(0).take_mm().expect("forked just now");
        world.list(1);
        let updater = on_cpu(world, |world| {
            world.reclaim(0, range);
            let _ = world.grow(0);
        });
        let mm = world.attach(1, orphan);
        world.load(1, mm);
        world.glance(1);
        join([updater]);
        world.verify_all();
    }
}

/// A reclaim whose walk comes late: the slot has been grown into and reclaimed again since, by walks that an mm was published behind.
///
/// The late walker must not bring what the slot held in between. That takes a value which late init leaves as it was, and that is none; so the walks
/// are called by themselves here, for one mm, with the first entry gone already.
struct LateWalker;

/// An mm as a walk sees it.
struct Place<P> {
    pgd: P,
    is_published: AtomicBool,
}

// SAFETY: the only mm, from its publication on.
unsafe impl<P> PgdWalk<P> for Place<P> {
    fn for_each_pgd(&self, visit: &mut dyn FnMut(&P)) {
        if self.is_published.load(Ordering::Acquire) {
            visit(&self.pgd);
        }
    }
}

impl Scenario for LateWalker {
    const NAME: &'static str = "late walk x growth and reclaim x publication";
    const BOUND: Option<usize> = Some(3);

    fn run<A: ModelArch>(world: &Arc<World<A>>) {
        let arch = world.init_mm().arch();
        let slots = arch.kernel_slots().expect("PGDs have copies");
        let first = arch.kernel_half().first;
        let range = arch.kernel_half().range(first, PAGE_SIZE).expect("a page of the kernel half");
        let grow = move || arch.populate_kernel(range).expect("frames enough");
        let retire = move || {
            let mut retired = slots.reserve_retired(range).expect("heap enough");
            // SAFETY: grown just before, and used by nobody; freed when all walks have ended.
            unsafe { slots.retire(range, &mut retired) };
            retired
        };
        grow();
        let older = retire();
        let pgd = arch.pgd_alloc().expect("frames enough");
        let place = Arc::new(Place { pgd, is_published: AtomicBool::new(false) });
        let sync =
            |place: Arc<Place<A::Pgd>>| move || arch.sync_global_pgds(range, &*place, &mut || {});
        let walker = thread::spawn(sync(Arc::clone(&place)));
        let walk = sync(Arc::clone(&place));
        let updater = thread::spawn(move || {
            grow();
            walk();
            let newer = retire();
            walk();
            newer
        });
        place.is_published.store(true, Ordering::Release);
        arch.pgd_init_late(&place.pgd);
        walker.join().expect("no panic in a thread of the model");
        let newer = updater.join().expect("no panic in a thread of the model");
        // SAFETY: `place` holds the PGD.
        let held = unsafe { arch.slots().entry_of(arch.root(&place.pgd), 0) };
        assert_eq!(held, 0, "the PGD holds an entry that was reclaimed");
        let place = Arc::into_inner(place).expect("both walkers have ended");
        // SAFETY: no CPU has loaded the PGD, all walks have ended, and nothing holds the tables.
        unsafe {
            arch.pgd_free(place.pgd);
            slots.free_retired(older);
            slots.free_retired(newer);
        }
    }
}

/// Two tasks that an mm may be found through.
struct TwoPlaces<P> {
    pgd: P,
    first: AtomicBool,
    second: AtomicBool,
}

// SAFETY: the only mm, wherever it is.
unsafe impl<P> PgdWalk<P> for TwoPlaces<P> {
    fn for_each_pgd(&self, visit: &mut dyn FnMut(&P)) {
        for place in [&self.first, &self.second] {
            if place.load(Ordering::Acquire) {
                visit(&self.pgd);
            }
        }
    }
}

/// A walk that came by the first place before anything was there.
struct SecondPlace<P>(Arc<TwoPlaces<P>>);

// SAFETY: as above.
unsafe impl<P> PgdWalk<P> for SecondPlace<P> {
    fn for_each_pgd(&self, visit: &mut dyn FnMut(&P)) {
        if self.0.second.load(Ordering::Acquire) {
            visit(&self.0.pgd);
        }
    }
}

/// A walker is held up in a PGD with an entry that is reclaimed meanwhile; late init leaves the slot as that walker has found it, none, so that
/// its exchange will succeed; and the mm goes `on` from its task, so that the reclaim's walk may miss it. The walks are called by themselves, as in
/// [`LateWalker`].
fn behind_a_late_walker<A: ModelArch>(
    world: &Arc<World<A>>,
    on: impl FnOnce(&A, &TwoPlaces<A::Pgd>),
    last: impl FnOnce(&A, A::Pgd) -> A::Pgd,
) {
    let arch = world.init_mm().arch();
    let slots = arch.kernel_slots().expect("PGDs have copies");
    let first = arch.kernel_half().first;
    let range = arch.kernel_half().range(first, PAGE_SIZE).expect("a page of the kernel half");
    let grow = move || arch.populate_kernel(range).expect("frames enough");
    let retire = move || {
        let mut retired = slots.reserve_retired(range).expect("heap enough");
        // SAFETY: grown just before, and used by nobody; freed when all walks have ended.
        unsafe { slots.retire(range, &mut retired) };
        retired
    };
    grow();
    let older = retire();
    let pgd = arch.pgd_alloc().expect("frames enough");
    let places =
        Arc::new(TwoPlaces { pgd, first: AtomicBool::new(false), second: AtomicBool::new(false) });
    let sync = |places: &Arc<TwoPlaces<A::Pgd>>| {
        let places = Arc::clone(places);
        move || arch.sync_global_pgds(range, &*places, &mut || {})
    };
    grow();
    sync(&places)();
    places.second.store(true, Ordering::Release);
    let second = SecondPlace(Arc::clone(&places));
    let walker = thread::spawn(move || arch.sync_global_pgds(range, &second, &mut || {}));
    let walk = sync(&places);
    let reclaimer = thread::spawn(move || {
        let newer = retire();
        walk();
        newer
    });
    arch.pgd_init_late(&places.pgd);
    on(arch, &places);
    walker.join().expect("no panic in a thread of the model");
    let newer = reclaimer.join().expect("no panic in a thread of the model");
    let places = Arc::into_inner(places).expect("both walkers have ended");
    let pgd = last(arch, places.pgd);
    // SAFETY: the PGD is this thread's.
    let held = unsafe { arch.slots().entry_of(arch.root(&pgd), 0) };
    assert_eq!(held, 0, "the PGD holds an entry that was reclaimed");
    // SAFETY: no CPU has loaded the PGD, all walks have ended, and nothing holds the tables.
    unsafe {
        arch.pgd_free(pgd);
        slots.free_retired(older);
        slots.free_retired(newer);
    }
}

/// The mm gets another task, behind the walk. The attach must look at the slots, whatever the stamp says.
struct MovedMm;

impl Scenario for MovedMm {
    const NAME: &'static str = "late walk x reclaim x publication and attach";
    const BOUND: Option<usize> = Some(3);

    fn run<A: ModelArch>(world: &Arc<World<A>>) {
        let attach = |arch: &A, places: &TwoPlaces<A::Pgd>| {
            places.first.store(true, Ordering::Release);
            arch.pgd_attach(&places.pgd);
            places.second.store(false, Ordering::Release);
        };
        behind_a_late_walker(world, attach, |_, pgd| pgd);
    }
}

/// The mm ends, and its PGD is kept for another one, whose late init finds the stamp current.
struct KeptBehindWalker;

impl Scenario for KeptBehindWalker {
    const NAME: &'static str =
        "late walk x reclaim x publication and exit, and a fork with the same PGD";
    const BOUND: Option<usize> = Some(3);

    fn run<A: ModelArch>(world: &Arc<World<A>>) {
        let exit = |_: &A, places: &TwoPlaces<A::Pgd>| {
            places.second.store(false, Ordering::Release);
        };
        behind_a_late_walker(world, exit, |arch, pgd| {
            // SAFETY: no walker is left, and no CPU has loaded it.
            unsafe { arch.pgd_free(pgd) };
            let pgd = arch.pgd_alloc().expect("frames enough");
            arch.pgd_init_late(&pgd);
            pgd
        });
    }
}

/// The PGD of an mm that is gone lies in the cache while the kernel grows, and a fork takes it.
struct KeptGrowth;

impl Scenario for KeptGrowth {
    const NAME: &'static str = "fork with a kept PGD x growth";
    const BOUND: Option<usize> = Some(4);

    fn run<A: ModelArch>(world: &Arc<World<A>>) {
        drop(world.fork(0));
        drop(world.task(0).take_mm());
        let grower = on_cpu(world, |world| drop(world.grow(0)));
        let mm = world.fork(1);
        world.load(0, mm);
        world.touch(0);
        join([grower]);
        world.touch(0);
    }
}

/// The PGD goes into the cache and out again while walks may be at it: exit and fork beside a growth.
struct ExitKeptGrowth;

impl Scenario for ExitKeptGrowth {
    const NAME: &'static str = "exit, and fork with the kept PGD, x growth";
    const BOUND: Option<usize> = Some(4);

    fn run<A: ModelArch>(world: &Arc<World<A>>) {
        drop(world.fork(0));
        let grower = on_cpu(world, |world| drop(world.grow(0)));
        drop(world.task(0).take_mm());
        let mm = world.fork(1);
        world.load(0, mm);
        world.touch(0);
        join([grower]);
        world.touch(0);
    }
}

/// The kept PGD holds an entry that is reclaimed, and whose frame is a table again when the fork takes it.
struct KeptReclaimGrowth;

impl Scenario for KeptReclaimGrowth {
    const NAME: &'static str = "fork with a kept PGD x reclaim and growth into the same frame";
    const BOUND: Option<usize> = Some(3);

    fn run<A: ModelArch>(world: &Arc<World<A>>) {
        let range = world.grow(0);
        drop(world.fork(0));
        drop(world.task(0).take_mm());
        let updater = on_cpu(world, |world| {
            world.reclaim(0, range);
            let _ = world.grow(0);
        });
        let mm = world.fork(1);
        world.load(0, mm);
        world.glance(0);
        join([updater]);
        world.verify_all();
    }
}

/// The kept PGD holds an entry that is replaced; the address is used all the time.
struct KeptReplace;

impl Scenario for KeptReplace {
    const NAME: &'static str = "fork with a kept PGD x replace";
    const BOUND: Option<usize> = Some(4);

    fn run<A: ModelArch>(world: &Arc<World<A>>) {
        let mut range = world.grow(0);
        drop(world.fork(0));
        drop(world.task(0).take_mm());
        let replacer = on_cpu(world, move |world| {
            world.replace(0, &mut range, Replacement::Move).expect("the sole owner");
        });
        let mm = world.fork(1);
        world.load(0, mm);
        world.touch(0);
        join([replacer]);
        world.verify_all();
    }
}

/// A program of the kernel's looks an address up in the tables, in a read-side section, as a fault handler or a dump does; it is no owner of the range.
struct LookUpReclaim;

impl Scenario for LookUpReclaim {
    const NAME: &'static str = "look-up x reclaim";
    const BOUND: Option<usize> = None;

    fn run<A: ModelArch>(world: &Arc<World<A>>) {
        let range = world.grow(0);
        let start = range.start();
        let reclaimer = on_cpu(world, |world| world.reclaim(0, range));
        let rcu = ModelRcu::read_lock();
        let arch = world.init_mm().arch();
        // SAFETY: the reference PGD; its tables outlive this section.
        let found = unsafe { arch.tables().lookup(arch.reference_root(), start) };
        assert!(found.is_none(), "nothing is mapped there");
        drop(rcu);
        join([reclaimer]);
    }
}

/// Two kernel threads attach one mm that holds the entry of a table that is gone, and whose frame comes back.
struct TwoAttaches;

impl Scenario for TwoAttaches {
    const NAME: &'static str = "two attaches x growth into the same frame";
    const BOUND: Option<usize> = Some(2);

    fn run<A: ModelArch>(world: &Arc<World<A>>) {
        let range = world.grow(0);
        drop(world.fork(0));
        let orphan = world.task(0).take_mm().expect("forked just now");
        world.list(1);
        world.reclaim(0, range);
        let grower = on_cpu(world, |world| drop(world.grow(0)));
        let share = orphan.clone();
        let other = on_cpu(world, |world| {
            let mm = world.attach(0, share);
            world.load(0, mm);
            world.touch(0);
        });
        let mm = world.attach(1, orphan);
        world.load(1, mm);
        world.touch(1);
        join([grower, other]);
        world.verify_all();
    }
}

/// A replacement and a growth of the same slot, which helps.
struct ReplaceGrowth;

impl Scenario for ReplaceGrowth {
    const NAME: &'static str = "replace x growth";
    const BOUND: Option<usize> = Some(4);

    fn run<A: ModelArch>(world: &Arc<World<A>>) {
        let mut range = world.grow(0);
        let mm = world.fork(0);
        world.load(0, mm);
        world.touch(0);
        let replacer =
            on_cpu(world, move |world| match world.replace(0, &mut range, Replacement::Move) {
                Ok(()) | Err(ReplaceError::Refused(Refusal::NotSoleOwner { .. })) => {}
                Err(error) => panic!("{error}"),
            });
        let _ = world.grow_page(0, 1);
        join([replacer]);
        world.verify_all();
    }
}

/// Two reclaims of ranges in one slot: the entry goes with the second, whichever that is.
struct TwoReclaims;

impl Scenario for TwoReclaims {
    const NAME: &'static str = "two reclaims of one slot";
    const BOUND: Option<usize> = Some(3);

    fn run<A: ModelArch>(world: &Arc<World<A>>) {
        let (first, second) = (world.grow_page(0, 0), world.grow_page(0, 1));
        let mm = world.fork(0);
        world.load(0, mm);
        world.touch(0);
        let reclaimer = on_cpu(world, |world| world.reclaim_share(0, first));
        world.reclaim_share(0, second);
        world.glance(0);
        join([reclaimer]);
        world.verify_all();
        assert!(!world.init_mm().arch().slots().reference().is_populated(0));
    }
}

/// A large page split and put together again: its entry comes back.
struct ThereAndBack;

impl Scenario for ThereAndBack {
    const NAME: &'static str = "fork x split and collapse";
    const BOUND: Option<usize> = Some(3);

    fn run<A: ModelArch>(world: &Arc<World<A>>) {
        let mut range = world.grow_whole(0);
        world.map_all(0, &range);
        world.replace(0, &mut range, Replacement::Collapse).expect("uniform");
        let replacer = on_cpu(world, move |world| {
            world.replace(0, &mut range, Replacement::Split).expect("a large page");
            world.replace(0, &mut range, Replacement::Collapse).expect("uniform");
        });
        let mm = world.fork(0);
        world.load(0, mm);
        world.touch(0);
        join([replacer]);
        world.verify_all();
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

/// A CPU that finds an mm ready and loads it, without a hook of its own, has what late init brought: the orderings of `Mm::stage`.
#[test]
fn a_ready_mm_is_loaded_complete() {
    explore::<Product>(None, None, |world| {
        let forker = on_cpu(world, |world| drop(world.fork_around(0, || drop(world.grow(0)))));
        let found = world.task(0).try_mm();
        if let Some(mm) = &found
            && let Ok(mm) = ReadyMm::of(mm)
        {
            world.load(1, mm);
            world.touch(1);
        }
        drop(found);
        join([forker]);
    });
}

/// The locked scheme on the same scenarios, under every bound that is theirs.
mod locked {
    use super::*;

    #[test]
    fn a_growth_leaves_its_slot_synced() {
        explore::<Locked>(None, None, |world| {
            let arch = world.init_mm().arch();
            let first = arch.kernel_half().first;
            let page = arch.kernel_half().range(first, PAGE_SIZE).expect("aligned");
            assert!(!arch.is_synced(page));
            let _ = world.grow(0);
            assert!(arch.is_synced(page));
        });
    }

    type Locked = arch_x86::locked::Locked<Tiny, ModelFrames>;

    macro_rules! scenarios {
        ($($test:ident: $scenario:ident,)+) => {
            $(
                #[test]
                fn $test() {
                    explore::<Locked>($scenario::BOUND, None, $scenario::run);
                }
            )+
        };
    }

    scenarios! {
        fork_and_growth: ForkGrowth,
        two_growths_of_one_slot: TwoGrowthsOfOneSlot,
        fork_and_reclaim: ForkReclaim,
        exit_and_reclaim: ExitReclaim,
        fork_and_replace: ForkReplace,
        reclaim_and_growth: ReclaimGrowth,
    }
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
        fn every_mutant_of_growth_is_killed() {
            let survivors: Vec<Mutant> = Mutant::ALL
                .iter()
                .copied()
                // The one of the cache has a scenario of its own, below.
                .filter(|mutant| !mutant.needs_updates() && *mutant != Mutant::KeptStampRenewed)
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

/// What replace and reclaim do.
macro_rules! updates {
    ($($test:ident: $scenario:ident,)+) => {
        $(
            #[test]
            fn $test() {
                product::<$scenario>();
            }
        )+
    };
}

updates! {
    fork_and_reclaim: ForkReclaim,
    exec_and_reclaim: ExecReclaim,
    attach_and_reclaim: AttachReclaim,
    clone_vm_and_reclaim: CloneVmReclaim,
    exit_and_reclaim: ExitReclaim,
    fork_and_replace: ForkReplace,
    exec_and_replace: ExecReplace,
    attach_and_replace: AttachReplace,
    reclaim_and_growth: ReclaimGrowth,
    reclaim_and_growth_and_fork: ReclaimGrowthFork,
    fork_and_the_same_frame: SameFrameFork,
    attach_and_the_same_frame: SameFrameAttach,
    late_walk_and_growth_and_reclaim_and_publication: LateWalker,
    late_walk_and_reclaim_and_publication_and_attach: MovedMm,
    two_attaches_and_the_same_frame: TwoAttaches,
    replace_and_growth: ReplaceGrowth,
    two_reclaims_of_one_slot: TwoReclaims,
    split_and_collapse_and_fork: ThereAndBack,
    look_up_and_reclaim: LookUpReclaim,
}

/// What PGDs that are kept for other mms meet.
macro_rules! kept {
    ($($test:ident: $scenario:ident,)+) => {
        mod kept_pgds {
            $(
                #[test]
                fn $test() {
                    use super::Scenario;
                    super::explore::<super::Keeping>(super::$scenario::BOUND, None, super::$scenario::run);
                }
            )+
        }
    };
}

kept! {
    growth: KeptGrowth,
    exit_and_growth: ExitKeptGrowth,
    reclaim_and_growth: KeptReclaimGrowth,
    replace: KeptReplace,
    late_walk_and_reclaim: KeptBehindWalker,
}

/// Mutants that need more than growth to show, each in the scenario that kills it soonest.
macro_rules! killed {
    ($($test:ident: $mutant:ident in $scenario:ident,)+) => {
        $(
            #[test]
            fn $test() {
                assert!(kills::<$scenario>(Mutant::$mutant), "{} survives", Mutant::$mutant);
            }
        )+

        #[test]
        fn every_mutant_of_updates_has_a_scenario() {
            let tested = [$(Mutant::$mutant),+];
            let lacks = |mutant: &&Mutant| mutant.needs_updates() && !tested.contains(mutant);
            assert_eq!(Mutant::ALL.iter().find(lacks), None);
        }

        /// As for the mutants of growth, with fewer preemptions: what must be right here is the writing-down.
        #[test]
        fn the_mutants_update_rightly_but_for_their_mutation() {
            explore::<Mutated>(Some(1), None, ForkReclaim::run);
            explore::<Mutated>(Some(1), None, ForkReplace::run);
            explore::<Mutated>(Some(1), None, SameFrameAttach::run);
            explore::<Mutated>(Some(1), None, ReclaimGrowth::run);
        }
    };
}

/// Named so that `cargo xtask mutants` can run what kills and leave out what explores.
mod mutants_of_updates {
    use super::*;

    killed! {
        late_fills_only_none_is_killed: LateFillsOnlyNone in ForkReclaim,
        complete_by_comparison_is_killed: CompleteByComparison in SameFrameFork,
        complete_by_store_is_killed: CompleteByStore in SameFrameFork,
        reference_before_mark_is_killed: ReferenceBeforeMark in SameFrameFork,
        mark_barrier_gone_is_killed: MarkBarrierGone in SameFrameFork,
        late_populated_only_is_killed: LatePopulatedOnly in ExecReclaim,
        walk_fills_only_none_is_killed: WalkFillsOnlyNone in ExitReclaim,
        walk_skips_empty_is_killed: WalkSkipsEmpty in ExitReclaim,
        found_barrier_gone_is_killed: FoundBarrierGone in LateWalker,
        walk_without_lock_is_killed: WalkWithoutLock in SameFrameAttach,
        attach_without_lock_is_killed: AttachWithoutLock in SameFrameAttach,
        stamp_after_walk_is_killed: StampAfterWalk in ReclaimGrowth,
        flush_left_out_is_killed: FlushLeftOut in ExitReclaim,
        helper_does_not_flush_is_killed: HelperDoesNotFlush in ReclaimGrowth,
        helper_flushes_own_range_is_killed: HelperFlushesOwnRange in ReclaimGrowth,
        flush_before_walk_is_killed: FlushBeforeWalk in ExitReclaim,
        tables_freed_before_walk_is_killed: TablesFreedBeforeWalk in ExitReclaim,
        tables_freed_before_flush_is_killed: TablesFreedBeforeFlush in ExitReclaim,
        the_cpus_are_walked_in_a_reclaim_too: CpuWalkLeftOut in ExitReclaim,
        tables_freed_after_flush_is_killed: TablesFreedAfterFlush in LookUpReclaim,
        attach_by_stamp_is_killed: AttachByStamp in MovedMm,
        kept_stamp_renewed_is_killed: KeptStampRenewed in KeptGrowth,
        kept_stamp_trusted_is_killed: KeptStampTrusted in KeptBehindWalker,
    }
}
