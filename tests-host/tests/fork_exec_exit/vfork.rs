//! `vfork`: the parent sleeps until the child lets the shared mm go, by exec or by exit.

use kernel_exec::exec_mmap::ExecMmapError;
use kernel_fork::args::CloneArgs;
use mm_generic::publish::NewMm;

use super::trace::{Event, logged};
use super::world::{OK, Size, on_four_levels};

#[test]
fn the_parent_is_woken_by_the_childs_exec_and_not_before() {
    on_four_levels(Size::default(), |world| {
        let init = world.init();
        let child = world.fork(&init, &CloneArgs::VFORK);
        let pid = child.pid();
        world.load(1, &child);
        assert!(!child.has_released_mm());
        let new = NewMm::new(world.init_mm).expect("frames enough");
        let exec = || world.exec(&child, new);
        let (old, events) = logged(exec);
        assert!(child.has_released_mm());
        assert_eq!(events[0], Event::WakeVfork(pid), "before the child goes on in its own mm");
        let old = old.expect("one user thread").expect("a user task has an mm");
        assert!(old.ptr_eq(&world.mm_of(&init)), "the parent's mm lives on");
        drop(old);
        assert_eq!(world.user_bytes(world.mm_of(&init).root(), super::world::TOUCHED, 1), [1]);
        world.end_child(&init, &child);
    });
}

#[test]
fn the_parent_is_woken_by_the_childs_exit() {
    on_four_levels(Size::default(), |world| {
        let init = world.init();
        let child = world.fork(&init, &CloneArgs::VFORK);
        let ((), events) = logged(|| world.exit(&child, OK));
        assert_eq!(events[0], Event::WakeVfork(child.pid()));
        assert!(child.has_released_mm());
        assert!(world.reap(&init).is_some());
    });
}

#[test]
fn an_exec_that_is_refused_wakes_nobody() {
    on_four_levels(Size::default(), |world| {
        let init = world.init();
        let child = world.fork(&init, &CloneArgs::VFORK);
        let thread = world.fork(&child, &CloneArgs::THREAD);
        let new = NewMm::new(world.init_mm).expect("frames enough");
        let exec = || world.exec(&child, new).map(drop);
        let (refused, events) = logged(exec);
        let error = ExecMmapError::OtherThreads { pid: child.pid(), threads: 2 };
        assert_eq!(refused, Err(error));
        assert!(!events.iter().any(|event| matches!(event, Event::WakeVfork(_))));
        assert!(!child.has_released_mm());
        world.exit(&thread, OK);
        world.end_child(&init, &child);
    });
}

/// As a kernel waits: the flag, and not the wake, says that it is over.
#[test]
fn a_parent_on_another_cpu_sees_what_the_child_stored_before() {
    on_four_levels(Size::default(), |world| {
        let init = world.init();
        for word in 2..200 {
            let child = world.fork(&init, &CloneArgs::VFORK);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    world.on_cpu(|| {
                        let mm = world.mm_of(&child);
                        world.store(&mm, super::world::TOUCHED, word);
                        drop(mm);
                        world.exit(&child, OK);
                    });
                });
                while !child.has_released_mm() {
                    std::thread::yield_now();
                }
                assert_eq!(world.user_word(&world.mm_of(&init), super::world::TOUCHED), word);
            });
            assert!(world.reap(&init).is_some());
            world.quiesce();
        }
        world.store(&world.mm_of(&init), super::world::TOUCHED, 1);
    });
}
