//! Stopping a process and letting it go on: job control.

use super::action::ActionFlags;
use super::info::{CLD_CONTINUED, CLD_STOPPED, Details, Info};
use super::numbers::Signal;
use super::send;
use crate::sched::{Current, State, sleep_stopped, wake_if};
use crate::task::Task;
use crate::task::process::{StopReport, for_each_thread, leader_of};

/// Stops the process of the running task, which took `signal`.
pub(super) fn stop(me: &Current, signal: Signal) {
    let process = &me.parts().process;
    {
        let mut report = process.stop_report.lock();
        if !process.set_stopped(true) {
            *report = Some(StopReport::Stopped(signal));
        }
    }
    tell_parent(me, CLD_STOPPED, signal);
    // The other threads stop when they come by, which those that sleep shall do now.
    for_each_thread(me, |thread| {
        wake_if(thread, |state| state == State::Interruptible);
    });
    wait_while_stopped(me);
}

/// Sleeps as long as the running task's process is stopped.
pub(super) fn wait_while_stopped(me: &Current) {
    let parts = me.parts();
    sleep_stopped(|| (!parts.process.is_stopped() || parts.is_killed()).then_some(()));
}

/// Lets the process of `target` go on, if it is stopped.
pub(super) fn go_on(target: &Task) {
    let process = &target.parts().process;
    let was_stopped = {
        let mut report = process.stop_report.lock();
        let was_stopped = process.set_stopped(false);
        if was_stopped {
            *report = Some(StopReport::Continued);
        }
        was_stopped
    };
    for_each_thread(target, |thread| {
        wake_if(thread, |state| state == State::Stopped);
    });
    if was_stopped {
        tell_parent(target, CLD_CONTINUED, Signal::CONT);
    }
}

fn tell_parent(task: &Task, code: i32, signal: Signal) {
    let Some(parent) = task.process().parent() else { return };
    let Some(leader) = leader_of(parent.pid()) else { return };
    let wants = !leader.parts().action(Signal::CHLD).flags.contains(ActionFlags::NOCLDSTOP);
    if wants {
        let pid = task.process().pid().get();
        let status = i32::from(signal.number());
        let details = Details::Child { pid, uid: 0, status };
        send::to_process(&leader, Info { signal: Signal::CHLD, code, details });
    }
    leader.parts().process.child_event.wake_all();
}
