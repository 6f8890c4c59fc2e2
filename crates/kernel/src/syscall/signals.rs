//! rt_sigaction and what else concerns signals.

use super::{Answer, Call, Failure};
use crate::cpu::clock;
use crate::mm::user::{copy_to_user, read, read_u64};
use crate::os::tasks;
use crate::rcu;
use crate::sched::{Patience, WaitQueue, Woken, sleep_until};
use crate::signal::action::{Action, ActionFlags};
use crate::signal::info::{Details, Info, SI_TKILL, SI_USER};
use crate::signal::{AlternateStack, Signal, SignalSet, restore, send};
use crate::task::TaskRef;
use crate::task::process::task_of;
use files::Errno;
use kernel_sync::atomic::Ordering;
use kernel_task::pid::Pid;
use kernel_task::task::TaskKind;

/// Bytes of a signal set.
const SET_SIZE: u64 = 8;

fn check_size(size: u64) -> Result<(), Errno> {
    if size == SET_SIZE { Ok(()) } else { Err(Errno::INVAL) }
}

pub(super) fn rt_sigaction(call: &Call<'_>) -> Answer {
    check_size(call.arg(3))?;
    let signal = Signal::new(call.arg(0)).ok_or(Errno::INVAL)?;
    let parts = call.me.parts();
    let new = match call.arg(1) {
        0 => None,
        address => {
            let words: [u64; 4] = read_words(address)?;
            let [handler, flags, restorer, mask] = words;
            let flags = ActionFlags::from_bits_retain(flags);
            Some(Action { handler, flags, restorer, mask: SignalSet(mask) })
        }
    };
    if new.is_some() && SignalSet::UNBLOCKABLE.contains(signal) {
        return Err(Errno::INVAL.into());
    }
    let handlers = parts.handlers();
    let old = match new {
        Some(new) => {
            let old = handlers.set(signal, new);
            if new.ignores(signal) {
                parts.signals.pending.discard(SignalSet::of(signal));
                parts.process.pending.discard(SignalSet::of(signal));
            }
            old
        }
        None => handlers.get(signal),
    };
    if call.arg(2) != 0 {
        let words = [old.handler, old.flags.bits(), old.restorer, old.mask.0];
        put_words(call.arg(2), &words)?;
    }
    Ok(0)
}

fn read_words<const N: usize>(address: u64) -> Result<[u64; N], Failure> {
    let mut words = [0; N];
    for (n, word) in words.iter_mut().enumerate() {
        *word = read_u64(address.wrapping_add(8 * n as u64))?;
    }
    Ok(words)
}

fn put_words(address: u64, words: &[u64]) -> Result<(), Failure> {
    for (n, word) in words.iter().enumerate() {
        copy_to_user(address.wrapping_add(8 * n as u64), &word.to_le_bytes())?;
    }
    Ok(())
}

pub(super) fn rt_sigprocmask(call: &Call<'_>) -> Answer {
    check_size(call.arg(3))?;
    let signals = &call.me.parts().signals;
    let old = signals.blocked();
    if call.arg(1) != 0 {
        let set = SignalSet(read_u64(call.arg(1))?);
        signals.set_blocked(match call.arg(0) {
            0 => old.with(set),
            1 => old.without(set),
            2 => set,
            _ => return Err(Errno::INVAL.into()),
        });
    }
    if call.arg(2) != 0 {
        copy_to_user(call.arg(2), &old.0.to_le_bytes())?;
    }
    Ok(0)
}

pub(super) fn rt_sigpending(call: &Call<'_>) -> Answer {
    check_size(call.arg(1))?;
    let parts = call.me.parts();
    let pending = parts.signals.pending.set().with(parts.process.pending.set());
    let pending = pending.and(parts.signals.blocked());
    copy_to_user(call.arg(0), &pending.0.to_le_bytes())?;
    Ok(0)
}

/// `rt_sigreturn`: all registers come from the handler's frame, rax too.
pub(super) fn rt_sigreturn(call: &mut Call<'_>) -> Answer {
    match restore(call.frame) {
        Ok((blocked, stack)) => {
            let signals = &call.me.parts().signals;
            signals.set_blocked(blocked);
            *signals.alternate_stack.lock() = stack;
        }
        Err(_) => send::force(&call.me, Info::kernel(Signal::SEGV)),
    }
    Ok(call.frame.rax)
}

/// `rt_sigsuspend`: another mask until a handler has been called.
pub(super) fn rt_sigsuspend(call: &Call<'_>) -> Answer {
    check_size(call.arg(1))?;
    let mask = SignalSet(read_u64(call.arg(0))?);
    call.me.parts().signals.block_for_now(mask);
    pause()
}

/// Sleeps until a handler is to be called.
pub(super) fn pause() -> Answer {
    let no_queue: [&WaitQueue; 0] = [];
    let woken = sleep_until(&no_queue, Patience::UntilSignal, None, || None::<()>);
    debug_assert!(woken.is_err(), "nothing but a signal ends this sleep");
    Err(Failure::InterruptedByHandler)
}

/// `rt_sigtimedwait`: takes a blocked signal without a handler.
pub(super) fn rt_sigtimedwait(call: &Call<'_>) -> Answer {
    check_size(call.arg(3))?;
    let wanted = SignalSet(read_u64(call.arg(0))?).without(SignalSet::UNBLOCKABLE);
    let deadline = match call.arg(2) {
        0 => None,
        address => Some(clock::now().saturating_add(super::user::timespec(address)?)),
    };
    let parts = call.me.parts();
    let take =
        || parts.signals.pending.take_of(wanted).or_else(|| parts.process.pending.take_of(wanted));
    // For as long as it waits, these signals are to wake the task.
    let blocked = parts.signals.blocked();
    parts.signals.set_blocked(blocked.without(wanted));
    let no_queue: [&WaitQueue; 0] = [];
    let taken = sleep_until(&no_queue, Patience::UntilSignal, deadline, take);
    parts.signals.set_blocked(blocked);
    let info = match taken {
        Ok(info) => info,
        Err(woken) => match (take(), woken) {
            (Some(info), _) => info,
            (None, Woken::Deadline) => return Err(Errno::AGAIN.into()),
            (None, Woken::Signal) => return Err(Errno::INTR.into()),
        },
    };
    if call.arg(1) != 0 {
        copy_to_user(call.arg(1), &info.to_bytes())?;
    }
    Ok(u64::from(info.signal.number()))
}

pub(super) fn sigaltstack(call: &Call<'_>) -> Answer {
    const ON_STACK: u64 = 1;
    const DISABLE: u64 = 2;
    const AUTODISARM: u64 = 1 << 31;
    /// Smallest stack (`MINSIGSTKSZ`).
    const MIN_SIZE: u64 = 2048;
    let signals = &call.me.parts().signals;
    let old = *signals.alternate_stack.lock();
    let on_it = old.size > 0 && old.contains(call.frame.rsp);
    if call.arg(0) != 0 {
        let [start, flags, size] = read_words(call.arg(0))?;
        let flags = flags & 0xffff_ffff & !AUTODISARM;
        if on_it {
            return Err(Errno::PERM.into());
        }
        let new = match flags {
            DISABLE => AlternateStack::default(),
            0 | ON_STACK if size < MIN_SIZE => return Err(Errno::NOMEM.into()),
            0 | ON_STACK => AlternateStack { start, size },
            _ => return Err(Errno::INVAL.into()),
        };
        *signals.alternate_stack.lock() = new;
    }
    if call.arg(1) != 0 {
        let flags = match (old.size, on_it) {
            (0, _) => DISABLE,
            (_, true) => ON_STACK,
            (_, false) => 0,
        };
        put_words(call.arg(1), &[old.start, flags, old.size])?;
    }
    Ok(0)
}

/// Returns the task with id `pid`.
pub(super) fn task(pid: u64) -> Result<TaskRef, Errno> {
    let pid = Pid::new(pid as u32).ok_or(Errno::SRCH)?;
    task_of(pid).ok_or(Errno::SRCH)
}

/// Returns the signal of an argument; `None` for 0, which only checks.
pub(super) fn signal(number: u64) -> Result<Option<Signal>, Errno> {
    match number {
        0 => Ok(None),
        number => Signal::new(number).map(Some).ok_or(Errno::INVAL),
    }
}

fn info(call: &Call<'_>, signal: Signal, code: i32) -> Info {
    let pid = call.me.process().pid().get();
    Info { signal, code, details: Details::Sender { pid, uid: 0, value: 0 } }
}

/// What a signal says that the caller sends by kill(2).
pub(super) fn own_info(call: &Call<'_>, signal: Signal) -> Info {
    info(call, signal, SI_USER)
}

pub(super) fn kill(call: &Call<'_>) -> Answer {
    let target = call.arg(0) as i32;
    let signal = signal(call.arg(1))?;
    if target > 0 {
        let task = task(target as u64)?;
        if task.process().pid().get() != target as u32 {
            return Err(Errno::SRCH.into());
        }
        if let Some(signal) = signal {
            send::to_process(&task, info(call, signal, SI_USER));
        }
        return Ok(0);
    }
    let own = call.me.process().pid();
    let own_group = call.me.parts().process.group.load(Ordering::Relaxed);
    let group = match target {
        0 => Some(own_group),
        -1 => None,
        group => Some(group.unsigned_abs()),
    };
    let fits = |leader: &crate::task::Task| match group {
        Some(group) => leader.parts().process.group.load(Ordering::Relaxed) == group,
        // Everybody but oneself.
        None => leader.process().pid() != own,
    };
    match signal {
        Some(signal) => send::to_all(info(call, signal, SI_USER), fits)?,
        None => {
            let mut any = false;
            tasks().pids().for_each(&rcu::read_lock(), &mut |task| {
                any |= task.is_leader() && task.kind() == TaskKind::User && fits(task);
            });
            if !any {
                return Err(Errno::SRCH.into());
            }
        }
    }
    Ok(0)
}

pub(super) fn tkill(call: &Call<'_>) -> Answer {
    send_to_thread(call, None, call.arg(0), call.arg(1))
}

pub(super) fn tgkill(call: &Call<'_>) -> Answer {
    send_to_thread(call, Some(call.arg(0)), call.arg(1), call.arg(2))
}

fn send_to_thread(call: &Call<'_>, process: Option<u64>, thread: u64, number: u64) -> Answer {
    let task = task(thread)?;
    if process.is_some_and(|process| u64::from(task.process().pid().get()) != process) {
        return Err(Errno::SRCH.into());
    }
    if let Some(signal) = signal(number)? {
        send::to_thread(&task, info(call, signal, SI_TKILL));
    }
    Ok(0)
}

/// `rt_sigqueueinfo`: kill with a value.
pub(super) fn rt_sigqueueinfo(call: &Call<'_>) -> Answer {
    let info = info_of(call, call.arg(1), call.arg(2), call.arg(0))?;
    let task = task(call.arg(0))?;
    if let Some(info) = info {
        send::queue_to_process(&task, info).map_err(|_| Errno::AGAIN)?;
    }
    Ok(0)
}

/// `rt_tgsigqueueinfo`: tgkill with a value.
pub(super) fn rt_tgsigqueueinfo(call: &Call<'_>) -> Answer {
    let info = info_of(call, call.arg(2), call.arg(3), call.arg(0))?;
    let task = task(call.arg(1))?;
    if u64::from(task.process().pid().get()) != u64::from(call.arg(0) as u32) {
        return Err(Errno::SRCH.into());
    }
    if let Some(info) = info {
        send::queue_to_thread(&task, info).map_err(|_| Errno::AGAIN)?;
    }
    Ok(0)
}

/// Reads a `siginfo_t` that is meant for process `target`.
pub(super) fn info_of(
    call: &Call<'_>,
    number: u64,
    at: u64,
    target: u64,
) -> Result<Option<Info>, Failure> {
    let bytes: [u8; 32] = read(at)?;
    let (mut code, mut value) = ([0; 4], [0; 8]);
    code.copy_from_slice(&bytes[8..12]);
    value.copy_from_slice(&bytes[24..32]);
    let code = i32::from_le_bytes(code);
    let pid = call.me.process().pid().get();
    // To others nobody may pretend to be the kernel, or kill(2).
    if (code >= 0 || code == SI_TKILL) && target as u32 != pid {
        return Err(Errno::PERM.into());
    }
    let Some(signal) = signal(number)? else { return Ok(None) };
    let details = Details::Sender { pid, uid: 0, value: u64::from_le_bytes(value) };
    Ok(Some(Info { signal, code, details }))
}
