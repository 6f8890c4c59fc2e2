//! `exec_mmap`: the point of no return. Refused, it leaves everything as it was; done, the old mm goes last.

use std::cell::Cell;
use std::rc::Rc;

use arch_x86::geometry::LongMode;
use hosted::mmu::Access;
use kernel_exec::exec_mmap::ExecMmapError;
use kernel_fork::args::CloneArgs;
use kernel_fork::exit::Reaped;
use kernel_task::process::ExitStatus;
use mm_generic::mm::MmUser;
use mm_generic::publish::NewMm;

use super::kernel::{TestKernel, cr3};
use super::trace::{Event, logged, observed};
use super::world::{OK, Size, TOUCHED, Task, World, on_four_levels};

type Old = Option<MmUser<TestKernel<LongMode>>>;

/// Gives `task` an empty mm on CPU 1.
fn exec(world: &World<LongMode>, task: &Task<LongMode>) -> Result<Old, ExecMmapError> {
    let new = NewMm::new(world.init_mm).expect("frames enough");
    world.exec(task, new)
}

#[test]
fn kernel_threads_do_not_exec() {
    on_four_levels(Size::default(), |world| {
        let kthread = world.kernel_thread();
        let before = world.account();
        let error = ExecMmapError::KernelThread { pid: kthread.pid() };
        assert_eq!(exec(world, &kthread).map(drop), Err(error));
        assert!(kthread.mm().is_none());
        assert_eq!(world.account(), before, "the new mm is dropped");
        world.exit(&kthread, OK);
    });
}

#[test]
fn a_process_with_other_threads_keeps_its_mm() {
    on_four_levels(Size::default(), |world| {
        let init = world.init();
        let task = world.fork(&init, &CloneArgs::FORK);
        world.load(1, &task);
        let thread = world.fork(&task, &CloneArgs::THREAD);
        let root = world.mm_of(&task).root();
        let before = world.account();
        for caller in [&task, &thread] {
            let (refused, events) = logged(|| exec(world, caller).map(drop));
            let error = ExecMmapError::OtherThreads { pid: task.pid(), threads: 2 };
            assert_eq!(refused, Err(error));
            let done = |event: &Event| matches!(event, Event::Load(_) | Event::InitLate(_));
            assert!(!events.iter().any(done));
            assert_eq!(world.mm_of(caller).root(), root);
        }
        assert_eq!(cr3(), Some(root));
        assert_eq!(world.account(), before);
        // Refused is not forbidden.
        world.exit(&thread, OK);
        drop(exec(world, &task).expect("one thread is left"));
        assert_ne!(world.mm_of(&task).root(), root);
        world.end_child(&init, &task);
    });
}

/// Until CR3 holds the new root, the CPU translates through the old one: its pages must be there.
#[test]
fn the_old_mm_goes_last() {
    on_four_levels(Size::default(), |world| {
        let init = world.init();
        let task = world.fork(&init, &CloneArgs::FORK);
        world.load(1, &task);
        let root = world.mm_of(&task).root();
        let loads = Rc::new(Cell::new(0));
        let count = Rc::clone(&loads);
        let observer = move |event| {
            if let Event::Load(_) | Event::InitLate(_) = event {
                assert_eq!(world.user_bytes(root, TOUCHED, 1), [1]);
                count.set(count.get() + 1);
            }
        };
        let (old, _) = observed(observer, || exec(world, &task));
        assert_eq!(loads.get(), if cfg!(feature = "pgd-init-late") { 2 } else { 1 });
        let old = old.expect("one user thread").expect("a user task has an mm");
        // Returned to be dropped where that may take its time.
        assert_eq!(world.user_bytes(root, TOUCHED, 1), [1]);
        assert_eq!(old.root(), root);
        let held = old.grab();
        drop(old);
        assert!(world.translate(root, TOUCHED, Access::USER_READ).is_err());
        drop(held);
        let (_, events) = logged(|| world.settle());
        assert_eq!(events, [Event::PgdFree(root)]);
        world.end_child(&init, &task);
    });
}

#[test]
fn a_task_execs_again_and_again() {
    on_four_levels(Size::default(), |world| {
        let init = world.init();
        let task = world.fork(&init, &CloneArgs::FORK);
        world.load(1, &task);
        drop(exec(world, &task).expect("one user thread"));
        let before = world.account();
        for _ in 0..100 {
            drop(exec(world, &task).expect("one user thread"));
            assert_eq!(cr3(), Some(world.mm_of(&task).root()));
        }
        assert_eq!(world.account(), before);
        world.end_child(&init, &task);
    });
}

/// The leader may be gone; the last thread is then the process.
#[test]
fn the_last_thread_execs_after_its_leader_died() {
    on_four_levels(Size::default(), |world| {
        let init = world.init();
        let leader = world.fork(&init, &CloneArgs::FORK);
        let thread = world.fork(&leader, &CloneArgs::THREAD);
        world.exit(&leader, OK);
        world.load(1, &thread);
        drop(exec(world, &thread).expect("one thread is left"));
        let root = world.mm_of(&thread).root();
        assert!(world.shows(root, world.grow()));
        // Not on the CPU either: the walk finds it behind the dead leader.
        world.leave(1);
        assert!(world.shows(root, world.grow()));
        // The thread is the process now, and speaks for it.
        let status = ExitStatus::Exited(7);
        world.exit(&thread, status);
        assert_eq!(world.reap(&init), Some(Reaped { pid: leader.pid(), status }));
    });
}

#[test]
fn an_exec_in_a_shared_mm_leaves_it_to_the_others() {
    on_four_levels(Size::default(), |world| {
        let init = world.init();
        let child = world.fork(&init, &CloneArgs::VFORK);
        world.load(1, &child);
        let old = exec(world, &child).expect("one user thread").expect("init's");
        assert!(old.ptr_eq(&world.mm_of(&init)));
        drop(old);
        assert_eq!(world.mm_of(&init).users(), 2);
        assert_eq!(world.user_bytes(world.mm_of(&init).root(), TOUCHED, 1), [1]);
        assert_eq!(world.mm_of(&child).users(), 2);
        world.end_child(&init, &child);
    });
}
