//! Every rule of `clone(2)` on what goes together, and what each flag shares.

use kernel_fork::args::CloneArgs;
use kernel_fork::error::ForkError;
use kernel_fork::flags::{CloneFlags, FlagsError, NSIG};
use kernel_task::task::TaskKind;

use super::trace::logged;
use super::world::{OK, Size, on_four_levels};

/// The flags that a rule names, and two that none does.
const RULED: [CloneFlags; 14] = [
    CloneFlags::VM,
    CloneFlags::FS,
    CloneFlags::FILES,
    CloneFlags::SIGHAND,
    CloneFlags::PIDFD,
    CloneFlags::PARENT,
    CloneFlags::THREAD,
    CloneFlags::NEWNS,
    CloneFlags::SYSVSEM,
    CloneFlags::DETACHED,
    CloneFlags::NEWIPC,
    CloneFlags::NEWUSER,
    CloneFlags::NEWPID,
    CloneFlags::CLEAR_SIGHAND,
];

/// The section ERRORS of `clone(2)`, EINVAL, sentence by sentence.
fn is_einval(flags: CloneFlags) -> bool {
    let has = |flag| flags.contains(flag);
    let both = |one, other| has(one) && has(other);
    // "Both CLONE_SIGHAND and CLONE_CLEAR_SIGHAND were specified."
    both(CloneFlags::SIGHAND, CloneFlags::CLEAR_SIGHAND)
        // "CLONE_SIGHAND was specified, but CLONE_VM was not."
        || has(CloneFlags::SIGHAND) && !has(CloneFlags::VM)
        // "CLONE_THREAD was specified, but CLONE_SIGHAND was not."
        || has(CloneFlags::THREAD) && !has(CloneFlags::SIGHAND)
        // "Both CLONE_FS and CLONE_NEWNS were specified."
        || both(CloneFlags::FS, CloneFlags::NEWNS)
        // "Both CLONE_NEWUSER and CLONE_FS were specified."
        || both(CloneFlags::NEWUSER, CloneFlags::FS)
        // "Both CLONE_NEWIPC and CLONE_SYSVSEM were specified."
        || both(CloneFlags::NEWIPC, CloneFlags::SYSVSEM)
        // "CLONE_NEWPID and CLONE_NEWUSER, and one (or both) of CLONE_THREAD ..."
        || both(CloneFlags::NEWPID, CloneFlags::THREAD)
        || both(CloneFlags::NEWUSER, CloneFlags::THREAD)
        // "CLONE_PIDFD was specified together with CLONE_DETACHED", "... with CLONE_THREAD".
        || both(CloneFlags::PIDFD, CloneFlags::DETACHED)
        || both(CloneFlags::PIDFD, CloneFlags::THREAD)
}

#[test]
fn each_combination_is_refused_or_shares_what_it_says() {
    on_four_levels(Size::default(), |world| {
        let init = world.init();
        let parent = world.fork(&init, &CloneArgs::FORK);
        let mut legal = 0;
        for chosen in 0..1_u32 << RULED.len() {
            let flags: CloneFlags = RULED
                .iter()
                .enumerate()
                .filter(|(bit, _)| chosen >> bit & 1 != 0)
                .map(|(_, &flag)| flag)
                .collect();
            let args = CloneArgs { flags, ..CloneArgs::FORK };
            let (made, events) = logged(|| world.try_fork(&parent, &args));
            if is_einval(flags) {
                assert!(matches!(made, Err(ForkError::Flags(_))), "{flags:?}");
                assert_eq!(events, [], "{flags:?}: refused before anything is done");
                continue;
            }
            legal += 1;
            let child = made.expect("room enough");
            let shares = |flag| flags.contains(flag);
            assert_eq!(child.kind(), TaskKind::User);
            assert_eq!(child.parts().args, args, "the kernel's parts are told what to share");
            assert_eq!(
                world.mm_of(&child).ptr_eq(&world.mm_of(&parent)),
                shares(CloneFlags::VM),
                "{flags:?}"
            );
            let is_thread = shares(CloneFlags::THREAD);
            assert_eq!(child.process().ptr_eq(parent.process()), is_thread, "{flags:?}");
            assert_eq!(child.is_leader(), !is_thread, "{flags:?}");
            let above = if shares(CloneFlags::PARENT) || is_thread { &init } else { &parent };
            let parents = child.process().parent().expect("not the first process");
            assert!(parents.ptr_eq(above.process()), "{flags:?}");
            if is_thread {
                world.exit(&child, OK);
            } else {
                world.end_child(above, &child);
            }
            world.quiesce();
        }
        assert!(legal > 1000, "only {legal} combinations are legal");
        world.end_child(&init, &parent);
    });
}

#[test]
fn the_first_process_has_no_siblings() {
    on_four_levels(Size::default(), |world| {
        let args = CloneArgs { flags: CloneFlags::PARENT, ..CloneArgs::FORK };
        let refused = world.try_fork(&world.init(), &args).map(drop);
        assert_eq!(refused, Err(ForkError::Flags(FlagsError::SiblingOfReaper)));
    });
}

#[test]
fn exit_signals_are_checked() {
    on_four_levels(Size::default(), |world| {
        let args = CloneArgs { exit_signal: NSIG + 1, ..CloneArgs::FORK };
        let refused = world.try_fork(&world.init(), &args).map(drop);
        let error = FlagsError::BadExitSignal { signal: NSIG + 1 };
        assert_eq!(refused, Err(ForkError::Flags(error)));
    });
    let with = |flag, exit_signal| CloneArgs {
        flags: CloneArgs::THREAD.flags | flag,
        exit_signal,
        ..CloneArgs::FORK
    };
    for flag in [CloneFlags::THREAD, CloneFlags::PARENT] {
        assert_eq!(with(flag, 0).check_clone3(), Ok(()));
        // The rule for THREAD is looked at first, and these arguments have it.
        let error = FlagsError::ExitSignalWith { signal: 17, flag: CloneFlags::THREAD };
        assert_eq!(with(flag, 17).check_clone3(), Err(error));
        // clone(2) ignores the signal of a thread.
        assert_eq!(with(flag, 17).check(), Ok(()));
    }
    let sibling = CloneArgs { flags: CloneFlags::PARENT, ..CloneArgs::FORK };
    let error = FlagsError::ExitSignalWith { signal: 17, flag: CloneFlags::PARENT };
    assert_eq!(sibling.check_clone3(), Err(error));
}

#[test]
fn the_word_of_clone_is_taken_apart() {
    let args = CloneArgs::from_clone(0x3d_0f00, 1, 2, 3, 4).expect("what glibc passes");
    let CloneArgs { flags, exit_signal, stack, tls, parent_tid, child_tid } = args;
    assert_eq!(flags.bits(), 0x3d_0f00);
    assert_eq!((exit_signal, stack, parent_tid, child_tid, tls), (0, 1, 2, 3, 4));
    let error = FlagsError::Unknown { bits: 1 << 40 };
    assert_eq!(CloneArgs::from_clone(1 << 40 | 17, 0, 0, 0, 0), Err(error));
}

#[test]
fn a_kernel_thread_makes_kernel_threads_and_nothing_else() {
    on_four_levels(Size::default(), |world| {
        let kthreadd = world.kernel_thread();
        for flags in [CloneFlags::empty(), CloneFlags::VM] {
            let child = world.fork(&kthreadd, &CloneArgs { flags, ..CloneArgs::FORK });
            assert_eq!(child.kind(), TaskKind::Kernel);
            assert!(child.mm().is_none() && child.mm_to_load().expect("nothing to load").is_none());
            world.end_child(&kthreadd, &child);
        }
        let refused = world.try_fork(&kthreadd, &CloneArgs::THREAD).map(drop);
        assert_eq!(refused, Err(ForkError::NoMm { pid: kthreadd.pid() }));
        let pid = kthreadd.pid();
        world.exit(&kthreadd, OK);
        assert!(!world.is_listed(pid), "nobody waits for it");
    });
}

#[test]
fn an_exiting_task_forks_no_more() {
    on_four_levels(Size::default(), |world| {
        let child = world.fork(&world.init(), &CloneArgs::FORK);
        drop(child.take_mm());
        let before = world.account();
        for args in [CloneArgs::FORK, CloneArgs::VFORK, CloneArgs::THREAD] {
            let refused = world.try_fork(&child, &args).map(drop);
            assert_eq!(refused, Err(ForkError::NoMm { pid: child.pid() }));
            assert_eq!(world.account(), before);
        }
        world.end_child(&world.init(), &child);
    });
}
