//! Sending signals: to a thread, a process, a process group.

use super::action::Action;
use super::info::Info;
use super::numbers::{Signal, SignalSet};
use super::pending::Full;
use super::stop;
use crate::os::tasks;
use crate::rcu;
use crate::sched::{Current, State, wake_if};
use crate::task::process::{for_each_thread, leader_of};
use crate::task::publication::without_publications;
use crate::task::{Task, TaskRef};
use files::Errno;
use kernel_sync::atomic::Ordering;
use kernel_task::task::TaskKind;

/// Does what a signal does by being sent; returns whether it is to be kept.
fn prepare(target: &Task, signal: Signal) -> bool {
    if target.kind() == TaskKind::Kernel {
        return false;
    }
    let process = &target.parts().process;
    if SignalSet::STOPS.contains(signal) {
        discard_everywhere(target, SignalSet::of(Signal::CONT));
    } else if signal == Signal::CONT {
        discard_everywhere(target, SignalSet::STOPS);
        stop::go_on(target);
    } else if signal == Signal::KILL {
        // It must not stay stopped, or it would not come to die.
        process.set_stopped(false);
    }
    // What is ignored now may be caught when it is unblocked.
    target.parts().signals.blocked().contains(signal)
        || !target.parts().action(signal).ignores(signal)
}

fn discard_everywhere(target: &Task, signals: SignalSet) {
    target.parts().process.pending.discard(signals);
    for_each_thread(target, |thread| thread.parts().signals.pending.discard(signals));
}

/// Wakes `thread` if `signal` is for it to take.
fn notify(thread: &TaskRef, signal: Signal) -> bool {
    let takes = !thread.parts().signals.blocked().contains(signal);
    if takes {
        let kills = signal == Signal::KILL;
        wake_if(thread, |state| match state {
            State::Interruptible => true,
            State::Killable | State::Stopped => kills,
            _ => false,
        });
    }
    takes
}

/// Sends a signal to one thread. That a real-time signal finds too many waiting is for those to know who queue them.
pub fn to_thread(target: &TaskRef, info: Info) {
    let _ = queue_to_thread(target, info);
}

/// Sends a signal to one thread.
///
/// # Errors
///
/// [`Full`].
pub fn queue_to_thread(target: &TaskRef, info: Info) -> Result<(), Full> {
    if prepare(target, info.signal) {
        target.parts().signals.pending.add(info)?;
        notify(target, info.signal);
        target.parts().process.announce_signal();
    }
    Ok(())
}

/// Sends a signal to the process of `target`, for whichever thread takes it, as [`to_thread`] does.
pub fn to_process(target: &TaskRef, info: Info) {
    let _ = queue_to_process(target, info);
}

/// Sends a signal to the process of `target`, for whichever thread takes it.
///
/// # Errors
///
/// [`Full`].
pub fn queue_to_process(target: &TaskRef, info: Info) -> Result<(), Full> {
    if !prepare(target, info.signal) {
        return Ok(());
    }
    target.parts().process.pending.add(info)?;
    // A fatal one is everybody's business; of the others, one thread takes it.
    let mut taken = false;
    for_each_thread(target, |thread| {
        if !taken || info.signal == Signal::KILL {
            taken |= notify(thread, info.signal);
        }
    });
    target.parts().process.announce_signal();
    Ok(())
}

/// Sends a signal to every process of group `group`.
///
/// # Errors
///
/// [`Errno::SRCH`] when there is none.
pub fn to_group(group: u32, info: Info) -> Result<(), Errno> {
    to_all(info, |leader| leader.parts().process.group.load(Ordering::Relaxed) == group)
}

/// Sends a signal to every process whose leader fits.
///
/// # Errors
///
/// [`Errno::SRCH`] when none does.
pub fn to_all(info: Info, fits: impl Fn(&Task) -> bool) -> Result<(), Errno> {
    without_publications(|| {
        let mut result = Err(Errno::SRCH);
        // One by one, without a list of them: this must not fail for want of memory.
        tasks().pids().for_each(&rcu::read_lock(), &mut |task| {
            if task.is_leader()
                && task.kind() == TaskKind::User
                && fits(task)
                && let Some(target) = leader_of(task.pid())
            {
                to_process(&target, info);
                result = Ok(());
            }
        });
        result
    })
}

/// Sends the running task a signal that it cannot evade: for an instruction that faulted.
pub fn force(me: &Current, info: Info) {
    let parts = me.parts();
    let set = SignalSet::of(info.signal);
    let action = parts.action(info.signal);
    let blocked = parts.signals.blocked();
    if blocked.contains(info.signal) || action.handler == Action::IGNORE {
        // Linux too: back to the default, which is to die.
        parts.handlers().set(info.signal, Action::new());
        parts.signals.set_blocked(blocked.without(set));
    }
    // Exceptions are no real-time signals, and those alone can be too many.
    let _ = parts.signals.pending.add(info);
}
