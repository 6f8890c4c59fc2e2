//! The order in which `copy_process` makes the parts of a task, and its reverse when one of them fails.

use kernel_fork::args::CloneArgs;
use kernel_fork::error::ForkError;
use kernel_task::pid::PidError;
use kernel_task::process::JoinError;

use super::kernel::Refused;
use super::trace::{Event, Step, failing, logged};
use super::world::{OK, Size, World, on_four_levels};
use arch_x86::geometry::LongMode;
use mm_generic::frames::Frame;

/// The copies up to and including the signals, the pgd (if `root`), and the copies after it.
fn copies(root: Option<Frame>) -> Vec<Event> {
    let mut copies = Step::ALL.map(Event::Copy).to_vec();
    if let Some(root) = root {
        copies.insert(5, Event::PgdAlloc(root));
    }
    copies
}

/// The reverse of what was made up to `step`.
fn undo(made: &[Step]) -> impl Iterator<Item = Event> {
    made.iter().rev().map(|&step| Event::Drop(step))
}

#[test]
fn the_parts_are_copied_in_linuxs_order() {
    on_four_levels(Size::default(), |world| {
        let init = world.init();
        let (child, events) = logged(|| world.fork(&init, &CloneArgs::FORK));
        let root = world.mm_of(&child).root();
        let mut expected = copies(Some(root));
        expected.push(Event::Assemble);
        if cfg!(feature = "pgd-init-late") {
            expected.push(Event::InitLate(root));
        }
        assert_eq!(events, expected);

        let (thread, events) = logged(|| world.fork(&child, &CloneArgs::THREAD));
        let mut expected = copies(None);
        expected.push(Event::Assemble);
        assert_eq!(events, expected);
        world.exit(&thread, OK);
        world.end_child(&init, &child);
    });
}

#[test]
fn a_part_that_fails_undoes_those_before_it_in_reverse() {
    on_four_levels(Size::default(), |world| {
        let init = world.init();
        for args in [CloneArgs::FORK, CloneArgs::VFORK, CloneArgs::THREAD] {
            for (number, &step) in Step::ALL.iter().enumerate() {
                let before = world.account();
                let (failed, mut events) =
                    logged(|| failing(step, || world.try_fork(&init, &args).map(drop)));
                assert_eq!(failed, Err(ForkError::Parts(Refused(step))));
                // The PGD goes a grace period later, and so is not in the list.
                events.retain(|event| !matches!(event, Event::PgdAlloc(_)));
                let made = &Step::ALL[..number];
                let expected: Vec<Event> =
                    made.iter().map(|&step| Event::Copy(step)).chain(undo(made)).collect();
                assert_eq!(events, expected);
                assert_nothing_is_left(world, &before);
            }
        }
    });
}

fn assert_nothing_is_left(world: &World<LongMode>, before: &super::world::Account) {
    assert_eq!(world.account(), *before);
    let init = world.init();
    assert!(!init.process().has_child(|_| true), "a child of init");
    assert_eq!(init.process().live_threads(), 1);
    assert_eq!(world.mm_of(&init).users(), 2, "init's share and the one just taken");
}

#[test]
fn without_a_pid_all_that_was_copied_is_undone() {
    on_four_levels(Size::default(), |world| {
        let init = world.init();
        let pids = world.tasks().pids();
        let mut held = Vec::new();
        while let Ok(reservation) = pids.alloc(0) {
            held.push(reservation);
        }
        let error = PidError::Exhausted { limit: world.size.pids };
        for args in [CloneArgs::FORK, CloneArgs::VFORK, CloneArgs::THREAD] {
            let before = world.account();
            let (failed, mut events) = logged(|| world.try_fork(&init, &args).map(drop));
            assert_eq!(failed, Err(ForkError::Pid(error)));
            events.retain(|event| !matches!(event, Event::PgdAlloc(_)));
            let made = &Step::ALL[..5];
            let expected: Vec<Event> =
                made.iter().map(|&step| Event::Copy(step)).chain(undo(made)).collect();
            assert_eq!(events, expected);
            assert_nothing_is_left(world, &before);
        }
        drop(held);
    });
}

#[test]
fn a_cpu_that_does_not_exist_is_an_error_and_not_a_panic() {
    on_four_levels(Size::default(), |world| {
        let before = world.account();
        let cpus = world.size.cpus;
        let failed = kernel_fork::copy_process::copy_process(
            world.init_mm,
            &world.init(),
            &CloneArgs::FORK,
            cpus,
        );
        let error = ForkError::Pid(PidError::NoSuchCpu { cpu: cpus, cpus });
        assert_eq!(failed.map(drop), Err(error));
        assert_nothing_is_left(world, &before);
    });
}

/// The last thing that can fail, after the parts are one.
#[test]
fn a_process_that_ends_takes_no_threads() {
    on_four_levels(Size::default(), |world| {
        let child = world.fork(&world.init(), &CloneArgs::FORK);
        kernel_fork::exit::settle_group_exit(&child, OK);
        let before = world.account();
        let (failed, events) = logged(|| world.try_fork(&child, &CloneArgs::THREAD).map(drop));
        let error = JoinError::Exiting { pid: child.pid() };
        assert_eq!(failed, Err(ForkError::Join(error)));
        assert_eq!(events.last(), Some(&Event::Assemble));
        assert_eq!(
            world.mm_of(&child).users(),
            2,
            "the share that the thread was to have is given up"
        );
        // The task goes a grace period later, as every task does, and its parts with it.
        let (after, events) = logged(|| world.account());
        assert_eq!(after, before);
        assert_eq!(events, undo(&Step::ALL).collect::<Vec<_>>());
        world.end_child(&world.init(), &child);
    });
}
