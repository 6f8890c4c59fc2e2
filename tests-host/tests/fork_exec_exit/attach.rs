//! `kthread_use_mm`: kernel threads in somebody's address space, and when they are refused one.

use arch_x86::geometry::Geometry;
use kernel_fork::args::CloneArgs;
use kernel_task::attach::{AttachError, kthread_unuse_mm};

use super::kernel::cr3;
use super::trace::logged;
use super::world::{OK, Size, World, on_every_geometry, on_four_levels};

#[test]
fn only_kernel_threads_attach_and_detach() {
    on_four_levels(Size::default(), |world| {
        let init = world.init();
        let (pid, mm) = (init.pid(), world.mm_of(&init));
        world.leave(1);
        let error = AttachError::NotKernelThread { pid };
        let (refused, events) = logged(|| world.use_mm(&init, mm.clone()));
        assert_eq!((refused, events), (Err(error), Vec::new()), "nothing has been done");
        assert_eq!(kthread_unuse_mm(&init).map(drop), Err(error));
        assert!(world.mm_of(&init).ptr_eq(&mm), "its own mm is still there");
        assert_eq!(mm.users(), 2, "and the share that was offered is given up");
    });
}

#[test]
fn one_mm_at_a_time() {
    on_four_levels(Size::default(), |world| {
        let init = world.init();
        let child = world.fork(&init, &CloneArgs::FORK);
        let kthread = world.kernel_thread();
        let pid = kthread.pid();
        assert_eq!(kthread_unuse_mm(&kthread).map(drop), Err(AttachError::NotAttached { pid }));
        world.use_mm(&kthread, world.mm_of(&child)).expect("a free kernel thread");
        let root = cr3();
        let (refused, events) = logged(|| world.use_mm(&kthread, world.mm_of(&init)));
        let error = AttachError::AlreadyAttached { pid };
        assert_eq!((refused, events), (Err(error), Vec::new()));
        assert_eq!(cr3(), root);
        let mm = kthread_unuse_mm(&kthread).expect("attached");
        assert!(mm.ptr_eq(&world.mm_of(&child)));
        assert!(kthread.mm().is_none());
        assert_eq!(cr3(), root, "the CPU goes on with it, lazily");
        drop(mm);
        world.exit(&kthread, OK);
        world.end_child(&init, &child);
    });
}

on_every_geometry!(an_mm_without_a_task_that_a_walk_has_missed_is_completed_before_the_load);

/// A driver holds the mm since its owner exited: no task has it, no CPU has it, and the kernel grows.
fn an_mm_without_a_task_that_a_walk_has_missed_is_completed_before_the_load<G: Geometry>(
    world: &'static World<G>,
) {
    let init = world.init();
    let owner = world.fork(&init, &CloneArgs::FORK);
    let mm = world.mm_of(&owner);
    let root = mm.root();
    world.end_child(&init, &owner);
    let grown = world.grow();
    assert_eq!(world.shows(root, grown), !cfg!(feature = "pgd-init-late"), "no walk finds it");
    let kthread = world.kernel_thread();
    world.use_mm(&kthread, mm).expect("a free kernel thread");
    assert!(world.shows(root, grown));
    // What the owner left is there, and can be stored to.
    let mm = world.mm_of(&kthread);
    assert_eq!(world.user_word(&mm, super::world::TOUCHED), 1);
    world.store(&mm, super::world::TOUCHED, 2);
    // From here on walks find it: in the thread, and then on the CPU.
    assert!(world.shows(root, world.grow()));
    drop((mm, kthread_unuse_mm(&kthread).expect("attached")));
    assert!(world.shows(root, world.grow()));
    world.exit(&kthread, OK);
}

#[test]
fn a_kernel_thread_does_not_pass_the_mm_on() {
    on_four_levels(Size::default(), |world| {
        let kthread = world.kernel_thread();
        world.use_mm(&kthread, world.mm_of(&world.init())).expect("a free kernel thread");
        for args in [CloneArgs::FORK, CloneArgs::VFORK] {
            let child = world.fork(&kthread, &args);
            assert!(child.mm().is_none());
            world.end_child(&kthread, &child);
        }
        drop(kthread_unuse_mm(&kthread).expect("attached"));
        world.exit(&kthread, OK);
    });
}

#[test]
fn a_kernel_thread_that_exits_attached_lets_the_mm_go() {
    on_four_levels(Size::default(), |world| {
        let init = world.init();
        let owner = world.fork(&init, &CloneArgs::FORK);
        let kthread = world.kernel_thread();
        world.use_mm(&kthread, world.mm_of(&owner)).expect("a free kernel thread");
        world.end_child(&init, &owner);
        let held = world.mm_of(&kthread).grab();
        assert_eq!(held.users(), 1);
        world.exit(&kthread, OK);
        assert_eq!(held.users(), 0, "the user half is gone");
    });
}
