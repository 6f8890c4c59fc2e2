//! Where exactly the hook is called, how often, and what it does to slots that are not its own.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use arch_x86::geometry::{Geometry, LongMode};
use hosted::mmu::MmuKind;
use kernel_fork::args::CloneArgs;
use kernel_sync::Rcu;
use kernel_sync::atomic::Ordering;
use kernel_task::attach::kthread_unuse_mm;
use mm_generic::frames::{Frame, Frames};
use mm_generic::kernel::Kernel;
use mm_generic::mm::Stage;
use mm_generic::publish::{NewMm, NotReady};

use super::kernel::{TestKernel, cr3};
use super::trace::{Event, Step, logged, observed};
use super::world::{OK, Size, Task, World, on_every_geometry, on_four_levels};

/// The hook is compiled in.
const LATE: bool = cfg!(feature = "pgd-init-late");

fn hooks(events: Vec<Event>) -> Vec<Event> {
    let is_hook = |event: &Event| matches!(event, Event::InitLate(_) | Event::Attach(_));
    events.into_iter().filter(is_hook).collect()
}

/// What the hook is expected to be called for, if it is there.
fn expect<const N: usize>(events: [Event; N]) -> Vec<Event> {
    if LATE { events.to_vec() } else { Vec::new() }
}

/// A reference to the task whose mm has this root, as a walker finds it.
fn find<G: Geometry>(world: &World<G>, root: Frame) -> Option<Task<G>> {
    let pids = world.tasks().pids();
    let rcu = <TestKernel<G> as Kernel>::Rcu::read_lock();
    let mut found = None;
    pids.for_each(&rcu, &mut |task| {
        if task.mm().is_some_and(|mm| mm.root() == root) {
            found = pids.get_ref(task.pid(), &rcu);
        }
    });
    found
}

on_every_geometry!(
    fork_calls_the_hook_once_between_publication_and_the_first_run,
    the_first_process_goes_through_the_hook_too,
    exec_calls_the_hook_between_the_tasks_new_mm_and_cr3,
    a_growth_before_the_publication_is_brought_by_the_hook,
    a_growth_before_an_exec_is_brought_by_the_hook,
    a_growth_after_the_publication_is_brought_by_the_walk,
    no_hook_touches_the_user_half,
);

fn fork_calls_the_hook_once_between_publication_and_the_first_run<G: Geometry>(
    world: &'static World<G>,
) {
    let init = world.init();
    let seen = Rc::new(Cell::new(None));
    let note = Rc::clone(&seen);
    let observer = move |event| {
        let Event::InitLate(root) = event else { return };
        let child = find(world, root).expect("walkers find the child");
        assert_eq!(world.mm_of(&child).stage(), Stage::Published);
        let refused = child.mm_to_load().map(drop);
        assert_eq!(refused, Err(NotReady { stage: Stage::Published }), "it cannot run yet");
        note.set(Some(child.pid()));
    };
    let (child, events) = observed(observer, || world.fork(&init, &CloneArgs::FORK));
    let mm = world.mm_of(&child);
    assert_eq!(hooks(events), expect([Event::InitLate(mm.root())]));
    assert_eq!(seen.get(), LATE.then(|| child.pid()));
    assert_eq!(mm.stage(), Stage::Ready);
    drop(mm);
    world.end_child(&init, &child);
}

fn the_first_process_goes_through_the_hook_too<G: Geometry>(world: &'static World<G>) {
    let mm = NewMm::new(world.init_mm).expect("frames enough");
    let root = mm.mm().root();
    let (first, events) = logged(|| world.first(Some(mm)).into_task());
    assert_eq!(hooks(events), expect([Event::InitLate(root)]));
    world.exit(&first, OK);
    drop(first);

    let (kthread, events) = logged(|| world.kernel_thread());
    assert_eq!(hooks(events), [], "no mm, no hook");
    world.exit(&kthread, OK);
}

fn exec_calls_the_hook_between_the_tasks_new_mm_and_cr3<G: Geometry>(world: &'static World<G>) {
    let task = world.fork(&world.init(), &CloneArgs::FORK);
    world.load(1, &task);
    let old_root = world.mm_of(&task).root();
    let new = NewMm::new(world.init_mm).expect("frames enough");
    let root = new.mm().root();
    let running = task.clone();
    let observer = move |event| {
        if let Event::InitLate(hooked) | Event::Load(hooked) = event {
            assert_eq!(hooked, root);
            let mm = world.mm_of(&running);
            assert_eq!(mm.root(), root, "the task has the new mm");
            let stage =
                if matches!(event, Event::Load(_)) { Stage::Ready } else { Stage::Published };
            assert_eq!(mm.stage(), stage);
            assert_eq!(cr3(), Some(old_root), "the CPU translates through the old one");
            let rcu = <TestKernel<G> as Kernel>::Rcu::read_lock();
            let loaded = world.loaded(1).get(&rcu).expect("an mm is loaded");
            assert_eq!(loaded.root(), old_root, "and walkers find that there");
        }
    };
    let exec = || world.exec(&task, new).expect("one user thread");
    let (old, mut events) = observed(observer, exec);
    events.retain(|event| !matches!(event, Event::WakeVfork(_)));
    let mut expected = expect([Event::InitLate(root)]);
    expected.push(Event::Load(root));
    assert_eq!(events, expected);
    assert_eq!(cr3(), Some(root));
    drop(old);
    world.end_child(&world.init(), &task);
}

#[test]
fn a_process_on_its_parents_mm_is_attached_and_a_thread_is_nothing_new() {
    on_four_levels(Size::default(), |world| {
        let init = world.init();
        let root = world.mm_of(&init).root();
        let found = Rc::new(Cell::new(0));
        let count = Rc::clone(&found);
        let observer = move |event| {
            if let Event::Attach(_) = event {
                let mut users = 0;
                let rcu = <TestKernel<LongMode> as Kernel>::Rcu::read_lock();
                world.tasks().pids().for_each(&rcu, &mut |task| {
                    users += usize::from(task.mm().is_some_and(|mm| mm.root() == root));
                });
                count.set(users);
            }
        };
        let (child, events) = observed(observer, || world.fork(&init, &CloneArgs::VFORK));
        assert_eq!(hooks(events), expect([Event::Attach(root)]));
        assert_eq!(found.get(), if LATE { 2 } else { 0 }, "init and the child are on the list");

        let (thread, events) = logged(|| world.fork(&child, &CloneArgs::THREAD));
        assert_eq!(hooks(events), []);
        world.exit(&thread, OK);
        world.end_child(&init, &child);
    });
}

#[test]
fn a_kernel_thread_that_uses_an_mm_goes_through_the_hook_before_the_load() {
    on_four_levels(Size::default(), |world| {
        let kthread = world.kernel_thread();
        let mm = world.mm_of(&world.init());
        let root = mm.root();
        world.leave(1);
        let user = kthread.clone();
        let observer = move |event| {
            if let Event::Attach(_) | Event::Load(_) = event {
                assert_eq!(world.mm_of(&user).root(), root, "walkers find the mm in the thread");
                assert_ne!(cr3(), Some(root), "the CPU does not have it yet");
            }
        };
        let attach = || world.use_mm(&kthread, mm);
        let (attached, events) = observed(observer, attach);
        assert_eq!(attached, Ok(()));
        let mut expected = expect([Event::Attach(root)]);
        expected.push(Event::Load(root));
        assert_eq!(events, expected);
        drop(kthread_unuse_mm(&kthread).expect("attached just now"));
        world.exit(&kthread, OK);
    });
}

/// The parts of the thread are copied between `pgd_alloc` and the publication.
fn a_growth_before_the_publication_is_brought_by_the_hook<G: Geometry>(world: &'static World<G>) {
    let init = world.init();
    let grown = Rc::new(Cell::new(None));
    let grow = Rc::clone(&grown);
    let fresh = Rc::new(Cell::new(None));
    let observer = move |event| match event {
        Event::PgdAlloc(root) => fresh.set(Some(root)),
        Event::Copy(Step::Thread) => {
            let page = world.grow();
            let root = fresh.get().expect("copied before");
            // The locked scheme registers a PGD from its birth on; the walk finds none that is not published.
            assert_eq!(world.shows(root, page), !LATE);
            grow.set(Some(page));
        }
        _ => {}
    };
    let (child, _) = observed(observer, || world.fork(&init, &CloneArgs::FORK));
    let page = grown.get().expect("grown in between");
    assert!(world.shows(world.mm_of(&child).root(), page));
    assert!(world.shows(world.mm_of(&init).root(), page));
    world.end_child(&init, &child);
}

fn a_growth_before_an_exec_is_brought_by_the_hook<G: Geometry>(world: &'static World<G>) {
    let task = world.fork(&world.init(), &CloneArgs::FORK);
    world.load(1, &task);
    let new = NewMm::new(world.init_mm).expect("frames enough");
    let root = new.mm().root();
    let page = world.grow();
    assert_eq!(world.shows(root, page), !LATE);
    drop(world.exec(&task, new).expect("one user thread"));
    assert!(world.shows(root, page));
    world.end_child(&world.init(), &task);
}

fn a_growth_after_the_publication_is_brought_by_the_walk<G: Geometry>(world: &'static World<G>) {
    let init = world.init();
    let grown = Rc::new(Cell::new(None));
    let grow = Rc::clone(&grown);
    let observer = move |event| {
        if let Event::InitLate(root) = event {
            let page = world.grow();
            assert!(world.shows(root, page), "the walk has found the new mm");
            grow.set(Some(page));
        }
    };
    let (child, _) = observed(observer, || world.fork(&init, &CloneArgs::FORK));
    assert_eq!(grown.get().is_some(), LATE);
    if let Some(page) = grown.get() {
        assert!(world.shows(world.mm_of(&child).root(), page));
    }
    world.end_child(&init, &child);
}

/// Every word of the top-level table below the boundary.
fn user_slots<G: Geometry>(world: &World<G>, root: Frame) -> Vec<u64> {
    let words = match world.kind {
        MmuKind::TwoLevel => {
            let table = world.frames.table32(root).iter();
            table.map(|word| u64::from(word.load(Ordering::Relaxed))).collect::<Vec<_>>()
        }
        _ => world.frames.table64(root).iter().map(|word| word.load(Ordering::Relaxed)).collect(),
    };
    words[..G::BOUNDARY].to_vec()
}

fn no_hook_touches_the_user_half<G: Geometry>(world: &'static World<G>) {
    let init = world.init();
    let published = Rc::new(RefCell::new(Vec::new()));
    let note = Rc::clone(&published);
    let observer = move |event| match event {
        Event::Copy(Step::Thread) => {
            world.grow();
        }
        Event::InitLate(root) => *note.borrow_mut() = user_slots(world, root),
        _ => {}
    };
    let (child, _) = observed(observer, || world.fork(&init, &CloneArgs::FORK));
    let root = world.mm_of(&child).root();
    let slots = user_slots(world, root);
    assert!(slots.iter().any(|&word| word != 0), "the child has pages");
    if LATE {
        assert_eq!(*published.borrow(), slots);
    }
    assert_eq!(world.user_bytes(root, super::world::TOUCHED, 2), [1, 0]);
    // Attached anew, with a slot to be filled.
    world.grow();
    let kthread = world.kernel_thread();
    let before = user_slots(world, root);
    world.use_mm(&kthread, world.mm_of(&child)).expect("a free thread");
    assert_eq!(user_slots(world, root), before);
    drop(kthread_unuse_mm(&kthread).expect("attached just now"));
    world.exit(&kthread, OK);
    world.end_child(&init, &child);
}
