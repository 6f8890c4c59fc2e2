//! Thread ids in user memory: `PARENT_SETTID`, `CHILD_SETTID`, `CHILD_CLEARTID`.

use arch_x86::geometry::LongMode;
use kernel_fork::args::CloneArgs;
use kernel_fork::error::ForkError;
use kernel_fork::flags::CloneFlags;
use mm_generic::publish::NewMm;

use super::kernel::Refused;
use super::trace::{Event, Step, failing, logged};
use super::world::{DATA, OK, Size, World, on_four_levels};

/// Where the ids go. Pages that nobody has touched, so that storing needs one.
const PARENT_TID: u64 = DATA.start + 0x2010;
const CHILD_TID: u64 = DATA.start + 0x3ffe;
/// What is there before.
const BEFORE: u32 = 0x5555_5555;

fn set_tid(flags: CloneFlags) -> CloneArgs {
    CloneArgs {
        flags: flags | CloneFlags::PARENT_SETTID | CloneFlags::CHILD_SETTID,
        parent_tid: PARENT_TID,
        child_tid: CHILD_TID,
        ..CloneArgs::FORK
    }
}

fn prepare(world: &World<LongMode>) {
    let init = world.init();
    let mm = world.mm_of(&init);
    for addr in [PARENT_TID, CHILD_TID] {
        world.store(&mm, addr, BEFORE);
    }
}

#[test]
fn a_forked_child_finds_its_id_in_its_own_memory_and_the_parent_in_the_parents() {
    on_four_levels(Size::default(), |world| {
        prepare(world);
        let init = world.init();
        let child = world.fork(&init, &set_tid(CloneFlags::empty()));
        let words = |task| {
            let mm = world.mm_of(task);
            [PARENT_TID, CHILD_TID].map(|addr| world.user_word(&mm, addr))
        };
        assert_eq!(words(&init), [child.pid().get(), BEFORE]);
        // The parent's word was stored after the copy.
        assert_eq!(words(&child), [BEFORE, child.pid().get()]);
        world.end_child(&init, &child);
        assert_eq!(words(&init), [child.pid().get(), BEFORE]);
    });
}

#[test]
fn a_thread_finds_both_in_the_shared_memory() {
    on_four_levels(Size::default(), |world| {
        let init = world.init();
        for flags in [CloneFlags::VM, CloneArgs::THREAD.flags] {
            prepare(world);
            let child = world.fork(&init, &set_tid(flags));
            let mm = world.mm_of(&init);
            for addr in [PARENT_TID, CHILD_TID] {
                assert_eq!(world.user_word(&mm, addr), child.pid().get());
            }
            if child.is_leader() {
                world.end_child(&init, &child);
            } else {
                world.exit(&child, OK);
            }
        }
    });
}

#[test]
fn without_the_flags_nothing_is_stored() {
    on_four_levels(Size::default(), |world| {
        prepare(world);
        let init = world.init();
        let args = CloneArgs { flags: CloneFlags::VM, ..set_tid(CloneFlags::VM) };
        let child = world.fork(&init, &args);
        for addr in [PARENT_TID, CHILD_TID] {
            assert_eq!(world.user_word(&world.mm_of(&init), addr), BEFORE);
        }
        world.end_child(&init, &child);
    });
}

#[test]
fn a_bad_address_is_not_an_error_of_the_fork() {
    on_four_levels(Size::default(), |world| {
        let init = world.init();
        let user_end = 1 << 47;
        for addr in [0, DATA.end, user_end - 2, u64::MAX] {
            let args =
                CloneArgs { parent_tid: addr, child_tid: addr, ..set_tid(CloneFlags::empty()) };
            let child = world.fork(&init, &args);
            world.end_child(&init, &child);
        }
    });
}

/// A thread that could not join its process had left its id in the memory that it would have shared.
#[test]
fn a_fork_that_fails_has_stored_nothing() {
    on_four_levels(Size::default(), |world| {
        prepare(world);
        let child = world.fork(&world.init(), &CloneArgs::FORK);
        kernel_fork::exit::settle_group_exit(&child, OK);
        let failed = world.try_fork(&child, &set_tid(CloneArgs::THREAD.flags)).map(drop);
        assert!(matches!(failed, Err(ForkError::Join(_))));
        let failed =
            failing(Step::Thread, || world.try_fork(&child, &set_tid(CloneFlags::VM)).map(drop));
        assert_eq!(failed, Err(ForkError::Parts(Refused(Step::Thread))));
        for addr in [PARENT_TID, CHILD_TID] {
            assert_eq!(world.user_word(&world.mm_of(&child), addr), BEFORE);
        }
        world.end_child(&world.init(), &child);
    });
}

fn clear_tid(flags: CloneFlags) -> CloneArgs {
    CloneArgs {
        flags: flags | CloneFlags::CHILD_SETTID | CloneFlags::CHILD_CLEARTID,
        child_tid: CHILD_TID,
        ..CloneArgs::FORK
    }
}

fn futexes(events: &[Event]) -> Vec<Event> {
    events.iter().copied().filter(|event| matches!(event, Event::WakeFutex(_))).collect()
}

#[test]
fn a_thread_that_exits_clears_its_id_and_wakes_who_joins_it() {
    on_four_levels(Size::default(), |world| {
        let init = world.init();
        let thread = world.fork(&init, &clear_tid(CloneArgs::THREAD.flags));
        let mm = world.mm_of(&init);
        assert_eq!(world.user_word(&mm, CHILD_TID), thread.pid().get());
        let ((), events) = logged(|| world.exit(&thread, OK));
        assert_eq!(world.user_word(&mm, CHILD_TID), 0);
        assert_eq!(futexes(&events), [Event::WakeFutex(CHILD_TID)]);
    });
}

#[test]
fn without_the_flag_or_after_it_was_unset_nothing_is_cleared() {
    on_four_levels(Size::default(), |world| {
        let init = world.init();
        let mm = world.mm_of(&init);
        world.store(&mm, CHILD_TID, BEFORE);
        let args = CloneArgs { flags: CloneArgs::THREAD.flags, ..clear_tid(CloneFlags::empty()) };
        let thread = world.fork(&init, &args);
        let ((), events) = logged(|| world.exit(&thread, OK));
        assert_eq!(futexes(&events), []);
        let thread = world.fork(&init, &clear_tid(CloneArgs::THREAD.flags));
        thread.set_clear_child_tid(0);
        let ((), events) = logged(|| world.exit(&thread, OK));
        assert_eq!(futexes(&events), []);
        assert_eq!(world.user_word(&mm, CHILD_TID), thread.pid().get());
    });
}

#[test]
fn the_last_user_of_an_mm_clears_nothing_for_nobody_looks() {
    on_four_levels(Size::default(), |world| {
        let init = world.init();
        let child = world.fork(&init, &clear_tid(CloneFlags::empty()));
        let held = world.mm_of(&child).grab();
        let ((), events) = logged(|| world.exit(&child, OK));
        assert_eq!(futexes(&events), []);
        assert_eq!(held.users(), 0);
        drop(held);
        assert!(world.reap(&init).is_some());
    });
}

#[test]
fn an_exec_clears_the_id_in_the_old_mm() {
    on_four_levels(Size::default(), |world| {
        let init = world.init();
        // A process of its own on init's mm, so that exec has one thread and the mm another user.
        let child = world.fork(&init, &clear_tid(CloneFlags::VM));
        world.load(1, &child);
        let mm = world.mm_of(&init);
        assert_eq!(world.user_word(&mm, CHILD_TID), child.pid().get());
        let new = NewMm::new(world.init_mm).expect("frames enough");
        let exec = || world.exec(&child, new).expect("one user thread");
        let (old, events) = logged(exec);
        assert_eq!(world.user_word(&mm, CHILD_TID), 0);
        assert_eq!(futexes(&events), [Event::WakeFutex(CHILD_TID)]);
        drop(old);
        // Once only: the address meant the old mm.
        let ((), events) = logged(|| world.end_child(&init, &child));
        assert_eq!(futexes(&events), []);
    });
}

#[test]
fn a_bad_address_to_clear_is_the_programs_own_affair() {
    on_four_levels(Size::default(), |world| {
        let init = world.init();
        let args = CloneArgs { child_tid: u64::MAX - 1, ..clear_tid(CloneArgs::THREAD.flags) };
        let thread = world.fork(&init, &args);
        world.exit(&thread, OK);
    });
}
