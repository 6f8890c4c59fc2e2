//! The list of mms, in every interleaving that loom explores within the bounds below.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p kernel-task --release --test mm_list_loom -- --test-threads=1`
//!
//! Two CPUs with three preemptions for the store-buffering, and with two where a whole life is in it. Each model is run as the product does it and in wrong orders, which must fail.
#![cfg(loom)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use kernel_sync::atomic::{AtomicUsize, Ordering, fence};
use kernel_sync::{Callback, explore, smp_mb};
use kernel_task::epoch::EpochDomain;
use kernel_task::mm_list::{MmList, MmPlace};
use loom::cell::UnsafeCell;
use loom::thread;

/// Explores `model`, and says whether it holds.
fn holds(preemptions: usize, model: impl Fn() + Send + Sync + 'static) -> bool {
    catch_unwind(AssertUnwindSafe(|| explore(Some(preemptions), model))).is_ok()
}

/// What stands for an mm: whether it has the slot, and, for loom to watch, its memory.
struct ToyMm {
    slot: AtomicUsize,
    memory: UnsafeCell<bool>,
}

// SAFETY: loom watches the accesses to `memory`.
unsafe impl Sync for ToyMm {}
// SAFETY: as above.
unsafe impl Send for ToyMm {}

impl ToyMm {
    fn new() -> Self {
        Self { slot: AtomicUsize::new(0), memory: UnsafeCell::new(true) }
    }
}

/// A list, an mm and a reference slot that live as long as an execution does.
struct World {
    list: *mut MmList<ToyMm>,
    mm: ToyMm,
    reference: AtomicUsize,
    domain: EpochDomain,
}

// SAFETY: the pointer is a shared reference in all but name.
unsafe impl Send for World {}
// SAFETY: as above.
unsafe impl Sync for World {}

impl World {
    fn new() -> Arc<Self> {
        let list = MmList::try_new(1, || 0).expect("heap");
        Arc::new(Self {
            list: Box::into_raw(Box::new(list)),
            mm: ToyMm::new(),
            reference: AtomicUsize::new(0),
            domain: EpochDomain::new(),
        })
    }

    fn list(&self) -> &'static MmList<ToyMm> {
        // SAFETY: the models drop all places before the world.
        unsafe { &*self.list }
    }

    fn place(&self) -> MmPlace<ToyMm> {
        self.list().place().expect("heap")
    }

    fn join(&self, place: &MmPlace<ToyMm>) {
        // SAFETY: the world outlives the execution's walks.
        unsafe { place.join(&self.mm) };
    }

    /// A walk in a section of `cpu`'s.
    fn walk(&self, visit: &mut dyn FnMut(&ToyMm)) {
        // SAFETY: the callers hold a guard, or nothing leaves.
        unsafe { self.list().for_each(visit) };
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: made by `Box::into_raw`, and no place is left.
            drop(unsafe { Box::from_raw(self.list) });
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Fork {
    AsIs,
    /// The mm joins after the barrier.
    JoinsLate,
    /// The barrier after the join is acquire-release only.
    WeakBarrier,
    /// There is none.
    NoBarrier,
}

/// Publication and growth: one of the two sees the other.
fn fork_and_growth(fork: Fork) {
    let world = World::new();
    let grower = {
        let world = Arc::clone(&world);
        thread::spawn(move || {
            world.reference.store(1, Ordering::Release);
            smp_mb();
            world.walk(&mut |mm| mm.slot.store(1, Ordering::Release));
        })
    };
    let place = world.place();
    if fork != Fork::JoinsLate {
        world.join(&place);
    }
    match fork {
        Fork::AsIs | Fork::JoinsLate => smp_mb(),
        Fork::WeakBarrier => fence(Ordering::AcqRel),
        Fork::NoBarrier => {}
    }
    let seen = world.reference.load(Ordering::Acquire);
    if fork == Fork::JoinsLate {
        world.join(&place);
    }
    grower.join().expect("no panic");
    assert!(seen == 1 || world.mm.slot.load(Ordering::Acquire) == 1, "the slot is lost");
    place.leave();
    drop(place);
}

/// A walk while the mm leaves and is freed after its grace period; `leaves_first` is how the product does it.
fn exit_and_walk(leaves_first: bool) {
    let world = World::new();
    let place = world.place();
    world.join(&place);
    let walker = {
        let world = Arc::clone(&world);
        thread::spawn(move || {
            let cpu = world.domain.register();
            let guard = cpu.read_lock();
            world.walk(&mut |mm| {
                // SAFETY: the mm is freed after this section, if it was found.
                mm.memory.with(|memory| assert!(unsafe { *memory }, "visited after it was freed"));
            });
            drop(guard);
        })
    };
    let cpu = world.domain.register();
    let free = {
        let world = Arc::clone(&world);
        // SAFETY: nobody can find the mm any more, and the sections that had have ended.
        move || world.mm.memory.with_mut(|memory| unsafe { *memory = false })
    };
    if leaves_first {
        place.leave();
    }
    cpu.call_rcu(Callback::try_new(free).expect("heap"));
    (0..3).for_each(|_| cpu.flush());
    if !leaves_first {
        place.leave();
    }
    drop(place);
    walker.join().expect("no panic");
    drop(cpu);
}

/// Two CPUs reserve, join and give back on one stack: no slot is had twice.
fn two_cpus_one_stack() {
    let world = World::new();
    let life = |world: &World| {
        let (mm, place) = (ToyMm::new(), world.place());
        // SAFETY: nobody walks meanwhile but for addresses.
        unsafe { place.join(&mm) };
        let mut seen = 0;
        world.walk(&mut |found| seen += usize::from(std::ptr::eq(found, &mm)));
        assert_eq!(seen, 1, "another has the slot");
        place.leave();
        drop(place);
        drop(mm);
    };
    let other = {
        let world = Arc::clone(&world);
        thread::spawn(move || life(&world))
    };
    life(&world);
    other.join().expect("no panic");
}

#[test]
fn an_mm_that_joins_is_seen_or_sees() {
    assert!(holds(3, || fork_and_growth(Fork::AsIs)));
}

#[test]
fn joining_after_the_barrier_or_without_it_is_noticed() {
    assert!(!holds(3, || fork_and_growth(Fork::JoinsLate)));
    assert!(!holds(3, || fork_and_growth(Fork::WeakBarrier)));
    assert!(!holds(3, || fork_and_growth(Fork::NoBarrier)));
}

#[test]
fn an_mm_that_left_is_not_visited_when_it_is_freed() {
    assert!(holds(2, || exit_and_walk(true)));
}

#[test]
fn leaving_after_the_grace_period_is_noticed() {
    assert!(!holds(2, || exit_and_walk(false)));
}

#[test]
fn no_slot_is_had_twice() {
    assert!(holds(2, two_cpus_one_stack));
}
