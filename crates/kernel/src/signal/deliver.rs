//! On the way back to user mode: giving way, dying, stopping, and calling signal handlers.

use super::action::{Action, ActionFlags};
use super::frame;
use super::info::Info;
use super::numbers::{DefaultAction, Signal, SignalSet};
use super::{send, stop};
use crate::cpu::trap::TrapFrame;
use crate::cpu::vectors;
use crate::rcu;
use crate::sched::{Current, current, schedule, should_give_way};
use crate::task::exit;
use crate::timer;
use kernel_task::process::ExitStatus;
use x86_64::instructions::interrupts;

/// What a system call that a signal interrupted leaves in `rax`, as a negative number. No program sees
/// these: they are resolved here.
pub mod restart {
    /// To be made again, unless a handler without SA_RESTART was called (`ERESTARTSYS`).
    pub const UNLESS_HANDLER_SAYS: i64 = -512;
    /// To be made again (`ERESTARTNOINTR`).
    pub const ALWAYS: i64 = -513;
    /// To be made again, unless any handler was called (`ERESTARTNOHAND`).
    pub const UNLESS_HANDLER: i64 = -514;
    /// As [`UNLESS_HANDLER`], with the deadline that it had (`ERESTART_RESTARTBLOCK`).
    pub const UNTIL_DEADLINE: i64 = -516;
}

/// Does what is to be done before the running task goes back to user mode with `frame`. Comes back
/// with interrupts off, or not at all.
#[inline]
pub fn before_user_mode(frame: &mut TrapFrame) {
    interrupts::disable();
    while has_work() {
        interrupts::enable();
        work(frame);
        interrupts::disable();
    }
    if is_interrupted_call(frame) {
        // No handler has been called, or it would have been resolved: the call goes on as if nothing had
        // been.
        restart_call(frame);
        current().parts().signals.restore_blocked();
    }
}

#[inline]
fn has_work() -> bool {
    should_give_way() || current().parts().has_signal()
}

fn work(frame: &mut TrapFrame) {
    if should_give_way() {
        rcu::quiesce();
        schedule();
        let me = current();
        if me.parts().process.timers.counts_own_time() {
            timer::check_own_time(&me);
        }
    }
    let me = current();
    let parts = me.parts();
    if parts.is_ending() {
        exit::exit_thread(ExitStatus::Exited(0));
    }
    if parts.process.is_stopped() {
        return stop::wait_while_stopped(&me);
    }
    let blocked = parts.signals.blocked();
    let info = parts.signals.pending.take(blocked).or_else(|| parts.process.pending.take(blocked));
    let Some(info) = info else {
        return;
    };
    let action = parts.action(info.signal);
    if action.is_caught() {
        call_handler(&me, frame, info, action);
    } else {
        default(&me, frame, info, action);
    }
}

#[inline]
fn is_interrupted_call(frame: &TrapFrame) -> bool {
    let result = frame.rax as i64;
    frame.vector == vectors::SYSCALL
        && matches!(
            result,
            restart::UNLESS_HANDLER_SAYS
                | restart::ALWAYS
                | restart::UNLESS_HANDLER
                | restart::UNTIL_DEADLINE
        )
}

/// Makes the program repeat its system call.
fn restart_call(frame: &mut TrapFrame) {
    /// Bytes of the SYSCALL instruction.
    const SYSCALL_LEN: u64 = 2;
    frame.rax = frame.error;
    frame.rip -= SYSCALL_LEN;
    frame.vector = frame::NOT_A_CALL;
}

fn call_handler(me: &Current, frame: &mut TrapFrame, info: Info, action: Action) {
    if is_interrupted_call(frame) {
        let again = match frame.rax as i64 {
            restart::ALWAYS => true,
            restart::UNLESS_HANDLER_SAYS => action.flags.contains(ActionFlags::RESTART),
            _ => false,
        };
        if again {
            restart_call(frame);
        } else {
            frame.rax = files::Errno::INTR.to_return() as u64;
        }
    }
    let parts = me.parts();
    // A sleep of the handler's own is a new one.
    parts.signals.forget_deadline();
    let mask = parts.signals.take_mask_for_handler();
    if frame::build(parts, frame, info, action, mask).is_err() {
        // No room for the frame: the program cannot be told, and dies of it.
        parts.handlers().set(Signal::SEGV, Action::new());
        return send::force(me, Info::kernel(Signal::SEGV));
    }
    let mut blocked = parts.signals.blocked().with(action.mask);
    if !action.flags.contains(ActionFlags::NODEFER) {
        blocked = blocked.with(SignalSet::of(info.signal));
    }
    parts.signals.set_blocked(blocked);
    if action.flags.contains(ActionFlags::RESETHAND) {
        parts.handlers().set(info.signal, Action::new());
    }
}

/// Acts on a signal without a handler.
fn default(me: &Current, frame: &mut TrapFrame, info: Info, action: Action) {
    let ignored = action.handler == Action::IGNORE;
    match info.signal.default_action() {
        _ if ignored && info.signal != Signal::KILL && info.signal != Signal::STOP => {}
        DefaultAction::Ignore | DefaultAction::Continue => {}
        DefaultAction::Stop => stop::stop(me, info.signal),
        DefaultAction::Terminate | DefaultAction::Core => {
            let status = ExitStatus::Killed { signal: info.signal.number(), core: false };
            log::debug!("task {} dies of {info:?}\n{frame}", me.pid());
            exit::exit_group(status);
        }
    }
}
