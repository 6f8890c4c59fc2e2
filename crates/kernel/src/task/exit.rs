//! The ends of tasks, and waiting for them.

use super::process::{Ending, wake_ending};
use super::{ProcessRef, reaper, robust};
use crate::file_locks;
use crate::os::{init_mm, loaded_here};
use crate::sched::{Current, current, leave_for_good};
use crate::signal::info::Info;
use crate::signal::{Signal, send};
use crate::terminal;
use kernel_fork::exit::{exit, settle_group_exit};
use kernel_sync::atomic::Ordering;
use kernel_task::process::ExitStatus;

/// Ends the running task.
///
/// What the functions on its stack own is never dropped: the callers own nothing.
pub fn exit_thread(status: ExitStatus) -> ! {
    #[cfg(feature = "storm")]
    crate::storm::before_exit();
    let me = current();
    let parts = me.parts();
    // Before the parent is told: who reads from a pipe that this task has written to learns of its end.
    drop(parts.replace_files(None));
    let process = parts.process.clone();
    robust::release(&me);
    if process.is_successor(&me) {
        // The reference would keep this task for ever, and with it its process.
        process.set_successor(None);
    }
    if me.process().live_threads() == 1 {
        file_locks::exit(me.process().pid().get());
        leave_terminal(&me);
    }
    process.past_runtime.fetch_add(parts.sched.runtime(), Ordering::Relaxed);
    if me.mm().is_some_and(|mm| mm.users() <= 2) {
        // Nobody else has the mm (one share is the task's, one this look's), and this processor will not need it again.
        // While it is loaded, every batch of its frames would cost a flush.
        // SAFETY: this processor's, and kernel code is not preempted.
        unsafe { loaded_here().leave_mm(init_mm()) };
    }
    let reaper: ProcessRef = reaper::reaper().unwrap_or_else(|| me.process().clone());
    exit(init_mm(), &me, status, &reaper);
    // An execve of another thread waits for this.
    process.child_event.wake_all();
    drop(process);
    drop(reaper);
    leave_for_good()
}

/// Ends the running task's process: all of its threads, this one at once.
pub fn exit_group(status: ExitStatus) -> ! {
    let me = current();
    if me.parts().process.set_ending(Ending::Everybody) {
        settle_group_exit(&me, status);
        wake_ending(&me);
    }
    exit_thread(status)
}

/// If the running task leads a session, its terminal is free again, and who is left there hears of it.
fn leave_terminal(me: &Current) {
    let pid = me.process().pid().get();
    if me.parts().process.session.load(Ordering::Relaxed) != pid {
        return;
    }
    if let Some(raised) = terminal::get().and_then(|terminal| terminal.hang_up(pid)) {
        for signal in [Signal::HUP, Signal::CONT] {
            // Nobody may be left.
            let _ = send::to_group(raised.group, Info::kernel(signal));
        }
    }
}
