//! Exit and wait: who is told, who reaps, what is freed when, and what `wait4` reports.

use kernel_fork::args::CloneArgs;
use kernel_fork::exit::{Reaped, reap};
use kernel_fork::flags::CloneFlags;
use kernel_task::process::ExitStatus;

use super::trace::{Event, ignore_children, logged};
use super::world::{OK, Size, on_four_levels};

#[test]
fn the_status_word_is_that_of_wait4() {
    let words = [
        (ExitStatus::Exited(0), 0),
        (ExitStatus::Exited(42), 0x2a00),
        (ExitStatus::Exited(255), 0xff00),
        (ExitStatus::Killed { signal: 9, core: false }, 9),
        (ExitStatus::Killed { signal: 11, core: true }, 0x8b),
    ];
    for (status, word) in words {
        assert_eq!(status.to_wait_status(), word);
    }
}

#[test]
fn an_exit_frees_the_user_half_at_once_and_the_pid_when_reaped() {
    on_four_levels(Size::default(), |world| {
        let init = world.init();
        let before = world.account();
        let child = world.fork(&init, &CloneArgs::FORK);
        let pid = child.pid();
        let held = world.mm_of(&child).grab();
        let ((), events) = logged(|| world.exit(&child, ExitStatus::Exited(7)));
        assert_eq!(held.users(), 0);
        assert!(held.user().vmas().is_empty());
        let told = Event::Notify { parent: init.pid(), child: pid };
        assert_eq!(events.last(), Some(&told));
        assert!(world.is_listed(pid), "a zombie keeps its pid");
        assert_eq!(child.process().exit_status(), Some(ExitStatus::Exited(7)));
        assert_eq!(world.reap(&init), Some(Reaped { pid, status: ExitStatus::Exited(7) }));
        assert!(!world.is_listed(pid));
        assert_eq!(world.reap(&init), None, "once only");
        assert!(child.process().parent().is_none());
        drop((held, child));
        assert_eq!(world.account(), before);
    });
}

/// The PGD outlives its task on the CPU that has it loaded.
#[test]
fn the_pgd_lives_while_a_cpu_has_it_loaded() {
    on_four_levels(Size::default(), |world| {
        let init = world.init();
        let child = world.fork(&init, &CloneArgs::FORK);
        world.load(1, &child);
        let root = world.mm_of(&child).root();
        world.end_child(&init, &child);
        drop(child);
        let lazy = world.account();
        assert_eq!(world.frames.count(root), 1);
        let grown = world.grow();
        assert!(world.shows(root, grown), "a walker finds it on the CPU");
        world.leave(1);
        assert!(world.account().frames < lazy.frames + 4);
        assert_eq!(world.frames.count(root), 0);
    });
}

#[test]
fn wait_takes_the_child_that_was_asked_for() {
    on_four_levels(Size::default(), |world| {
        let init = world.init();
        let children: Vec<_> = (0..5).map(|_| world.fork(&init, &CloneArgs::FORK)).collect();
        let pids: Vec<_> = children.iter().map(|child| child.pid()).collect();
        for (code, child) in children.iter().enumerate().filter(|(code, _)| code % 2 == 0) {
            world.exit(child, ExitStatus::Exited(code as u8));
        }
        let wait_for = |pid| reap(world.init_mm, init.process(), |child| child.pid() == pid);
        let has = |pid| init.process().has_child(|child| child.pid() == pid);
        // From the middle of the family, alive, from its ends, twice.
        assert_eq!(wait_for(pids[2]).map(|reaped| reaped.status), Some(ExitStatus::Exited(2)));
        assert!(!has(pids[2]), "ECHILD");
        assert_eq!(wait_for(pids[1]), None);
        assert!(has(pids[1]), "it has not exited");
        assert_eq!(wait_for(pids[4]).map(|reaped| reaped.pid), Some(pids[4]));
        assert_eq!(wait_for(pids[4]), None);
        assert_eq!(wait_for(pids[0]).map(|reaped| reaped.pid), Some(pids[0]));
        for alive in [1, 3] {
            world.end_child(&init, &children[alive]);
        }
        assert!(!init.process().has_child(|_| true));
    });
}

#[test]
fn a_parent_that_ignores_its_children_gets_no_zombies() {
    on_four_levels(Size::default(), |world| {
        let init = world.init();
        let child = world.fork(&init, &CloneArgs::FORK);
        ignore_children(true);
        world.exit(&child, OK);
        ignore_children(false);
        assert!(!world.is_listed(child.pid()));
        assert!(!init.process().has_child(|_| true));
    });
}

#[test]
fn orphans_go_to_the_reaper_dead_or_alive() {
    on_four_levels(Size::default(), |world| {
        let init = world.init();
        let parent = world.fork(&init, &CloneArgs::FORK);
        let own = world.fork(&init, &CloneArgs::FORK);
        let children: Vec<_> = (0..4).map(|_| world.fork(&parent, &CloneArgs::FORK)).collect();
        let dead = &children[1];
        world.exit(dead, ExitStatus::Exited(8));
        let ((), events) = logged(|| world.exit(&parent, OK));
        let told = events
            .iter()
            .filter(|event| matches!(event, Event::Notify { parent, .. } if *parent == init.pid()));
        assert_eq!(told.count(), 2, "of the zombie among the orphans, and of the parent");
        for child in &children {
            let now = child.process().parent().expect("somebody's child");
            assert!(now.ptr_eq(init.process()));
        }
        assert!(!parent.process().has_child(|_| true));
        let is_dead = |child: &kernel_task::process::Process<_>| child.pid() == dead.pid();
        let reaped = reap(world.init_mm, init.process(), is_dead);
        assert_eq!(reaped.map(|reaped| reaped.status), Some(ExitStatus::Exited(8)));
        assert_eq!(world.reap(&init).map(|reaped| reaped.pid), Some(parent.pid()));
        // Neither the reaper's own children nor any orphan is lost.
        for child in children.iter().filter(|child| child.pid() != dead.pid()).chain([&own]) {
            world.end_child(&init, child);
        }
        assert!(!init.process().has_child(|_| true));
    });
}

#[test]
fn living_orphans_are_no_news_for_the_reaper() {
    on_four_levels(Size::default(), |world| {
        let init = world.init();
        let parent = world.fork(&init, &CloneArgs::FORK);
        let child = world.fork(&parent, &CloneArgs::FORK);
        let ((), events) = logged(|| world.exit(&parent, OK));
        let told: Vec<_> =
            events.into_iter().filter(|event| matches!(event, Event::Notify { .. })).collect();
        assert_eq!(told, [Event::Notify { parent: init.pid(), child: parent.pid() }]);
        assert!(world.reap(&init).is_some());
        world.end_child(&init, &child);
    });
}

#[test]
fn a_reaper_that_ignores_its_children_is_left_no_zombie_by_a_dying_parent() {
    on_four_levels(Size::default(), |world| {
        let init = world.init();
        let parent = world.fork(&init, &CloneArgs::FORK);
        let dead = [(); 3].map(|()| world.fork(&parent, &CloneArgs::FORK));
        for child in &dead {
            world.exit(child, OK);
        }
        ignore_children(true);
        world.exit(&parent, OK);
        ignore_children(false);
        assert!(!init.process().has_child(|_| true));
        assert_eq!(world.account().tasks, [init.pid()]);
    });
}

#[test]
fn a_sibling_made_with_clone_parent_is_reaped_by_the_grandparent() {
    on_four_levels(Size::default(), |world| {
        let init = world.init();
        let parent = world.fork(&init, &CloneArgs::FORK);
        let sibling = CloneArgs { flags: CloneFlags::PARENT, ..CloneArgs::FORK };
        let child = world.fork(&parent, &sibling);
        assert!(!parent.process().has_child(|_| true));
        world.exit(&child, OK);
        assert_eq!(world.reap(&parent), None);
        assert_eq!(world.reap(&init).map(|reaped| reaped.pid), Some(child.pid()));
        world.end_child(&init, &parent);
    });
}
