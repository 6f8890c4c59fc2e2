//! execve, exit, wait4.

use super::pidfd::pid_of;
use super::user::{self, path, strings};
use super::{Answer, Call, Failure};
use crate::mm::user::copy_to_user;
use crate::os::init_mm;
use crate::sched::{Patience, sleep_until};
use crate::signal::Signal;
use crate::task::exec::{Program, execute};
use crate::task::exit::{exit_group as end_group, exit_thread};
use crate::task::process::{StopReport, data_of};
use crate::task::{Process, exec};
use alloc::format;
use files::Errno;
use kernel_exec::stack::MAX_ARG_STRLEN;
use kernel_fork::exit::reap;
use kernel_sync::atomic::Ordering;
use kernel_task::process::ExitStatus;

pub(super) fn execve(call: &mut Call<'_>) -> Answer {
    let program = Program {
        path: path(call.arg(0))?,
        argv: strings(call.arg(1), MAX_ARG_STRLEN - 1)?,
        envp: strings(call.arg(2), MAX_ARG_STRLEN - 1)?,
    };
    execute(&call.me, call.frame, &program)?;
    Ok(0)
}

/// `execveat`: a path from a folder's descriptor, or with `AT_EMPTY_PATH` the descriptor itself. As in Linux, the
/// program's path is then one that leads through the descriptor.
pub(super) fn execveat(call: &mut Call<'_>) -> Answer {
    const EMPTY_PATH: u64 = 0x1000;
    const SYMLINK_NOFOLLOW: u64 = 0x100;
    const CURRENT_DIRECTORY: i32 = -100;
    let (fd, flags) = (call.fd(0), call.arg(4));
    if flags & !(EMPTY_PATH | SYMLINK_NOFOLLOW) != 0 {
        return Err(Errno::INVAL.into());
    }
    let mut path = path(call.arg(1))?;
    if path.is_empty() && flags & EMPTY_PATH == 0 {
        return Err(Errno::NOENT.into());
    }
    if path.first() != Some(&b'/') && fd != CURRENT_DIRECTORY {
        call.me.parts().fds().get(fd)?;
        let mut from = format!("/proc/self/fd/{fd}").into_bytes();
        if !path.is_empty() {
            from.push(b'/');
            from.append(&mut path);
        }
        path = from;
    }
    let program = Program {
        path,
        argv: strings(call.arg(2), MAX_ARG_STRLEN - 1)?,
        envp: strings(call.arg(3), MAX_ARG_STRLEN - 1)?,
    };
    execute(&call.me, call.frame, &program)?;
    Ok(0)
}

/// `exit`: this thread only. Not reached again.
pub(super) fn exit(code: u64) -> ! {
    exit_thread(ExitStatus::Exited(code as u8))
}

/// `exit_group`: all threads.
pub(super) fn exit_group(code: u64) -> ! {
    end_group(ExitStatus::Exited(code as u8))
}

const WNOHANG: u64 = 1;
const WUNTRACED: u64 = 2;
const WEXITED: u64 = 4;
const WCONTINUED: u64 = 8;
const WNOWAIT: u64 = 0x0100_0000;
/// Not the children of other threads. Taken for all the same: they are the process's.
const WNOTHREAD: u64 = 1 << 29;
/// All children, whatever signal their ends send.
const WALL: u64 = 1 << 30;
/// Those alone whose ends do not send SIGCHLD.
const WCLONE: u64 = 1 << 31;

/// Which children are waited for.
#[derive(Clone, Copy)]
enum Which {
    Any,
    Pid(u32),
    Group(u32),
}

impl Which {
    fn fits(self, child: &Process, options: u64) -> bool {
        if let Self::Pid(pid) = self
            && child.pid().get() != pid
        {
            return false;
        }
        let Some(data) = data_of(child) else { return false };
        let is_clone = data.exit_signal != Signal::CHLD.number();
        let is_meant = options & WALL != 0 || is_clone == (options & WCLONE != 0);
        is_meant
            && match self {
                Self::Any | Self::Pid(_) => true,
                Self::Group(group) => data.group.load(Ordering::Relaxed) == group,
            }
    }
}

/// A change of a child's.
struct Change {
    pid: u32,
    what: What,
    /// Time on processors of the child and of its own children.
    runtime: u64,
}

enum What {
    Ended(ExitStatus),
    Stopped(Signal),
    Continued,
}

impl What {
    /// The status word of wait4.
    fn status(&self) -> i32 {
        match self {
            Self::Ended(status) => status.to_wait_status(),
            Self::Stopped(signal) => i32::from(signal.number()) << 8 | 0x7f,
            Self::Continued => 0xffff,
        }
    }
}

/// Looks for a change to report; `None` if there is none yet.
fn look(call: &Call<'_>, which: Which, options: u64) -> Option<Result<Change, Errno>> {
    let process = call.me.process();
    if options & WEXITED != 0 && options & WNOWAIT != 0 {
        let mut change = None;
        process.has_child(|child| {
            let Some(status) = child.exit_status().filter(|_| which.fits(child, options)) else {
                return false;
            };
            let (pid, what) = (child.pid().get(), What::Ended(status));
            change = Some(Ok(Change { pid, what, runtime: 0 }));
            true
        });
        if change.is_some() {
            return change;
        }
    } else if options & WEXITED != 0 {
        let mut runtime = 0;
        // The time is the leader's, which is gone once it is reaped.
        let fits = |child: &Process| {
            let fits = which.fits(child, options);
            if fits && child.exit_status().is_some() {
                runtime = data_of(child).map_or(0, |data| {
                    data.past_runtime.load(Ordering::Relaxed)
                        + data.children_runtime.load(Ordering::Relaxed)
                });
            }
            fits
        };
        if let Some(reaped) = reap(init_mm(), process, fits) {
            let pid = reaped.pid.get();
            call.me.parts().process.children_runtime.fetch_add(runtime, Ordering::Relaxed);
            return Some(Ok(Change { pid, what: What::Ended(reaped.status), runtime }));
        }
    }
    let mut change = None;
    let mut any = false;
    process.has_child(|child| {
        if !which.fits(child, options) {
            return false;
        }
        any = true;
        let Some(data) = data_of(child) else { return false };
        let mut report = data.stop_report.lock();
        let what = match *report {
            Some(StopReport::Stopped(signal)) if options & WUNTRACED != 0 => What::Stopped(signal),
            Some(StopReport::Continued) if options & WCONTINUED != 0 => What::Continued,
            _ => return false,
        };
        if options & WNOWAIT == 0 {
            *report = None;
        }
        change = Some(Change { pid: child.pid().get(), what, runtime: 0 });
        true
    });
    match change {
        Some(change) => Some(Ok(change)),
        None if !any => Some(Err(Errno::CHILD)),
        None => None,
    }
}

/// Waits for a change of a child's; `None` when there is none and the caller does not want to wait.
fn wait(call: &Call<'_>, which: Which, options: u64) -> Result<Option<Change>, Failure> {
    let queue = &call.me.parts().process.child_event;
    if options & WNOHANG != 0 {
        return Ok(look(call, which, options).transpose()?);
    }
    let change = sleep_until(&[queue], Patience::UntilSignal, None, || look(call, which, options))?;
    Ok(Some(change?))
}

pub(super) fn wait4(call: &Call<'_>) -> Answer {
    let options = u64::from(call.arg(2) as u32);
    if options & !(WNOHANG | WUNTRACED | WCONTINUED | WNOTHREAD | WALL | WCLONE) != 0 {
        return Err(Errno::INVAL.into());
    }
    let which = match call.arg(0) as i32 {
        -1 => Which::Any,
        0 => Which::Group(call.me.parts().process.group.load(Ordering::Relaxed)),
        pid if pid > 0 => Which::Pid(pid as u32),
        group => Which::Group(group.unsigned_abs()),
    };
    let Some(change) = wait(call, which, options | WEXITED)? else { return Ok(0) };
    if call.arg(1) != 0 {
        copy_to_user(call.arg(1), &change.what.status().to_le_bytes())?;
    }
    if call.arg(3) != 0 {
        put_usage(call.arg(3), change.runtime)?;
    }
    Ok(u64::from(change.pid))
}

/// Writes a `struct rusage` of which this kernel counts the time only.
pub(super) fn put_usage(address: u64, runtime: u64) -> Result<(), Failure> {
    /// Bytes of the structure.
    const SIZE: usize = 144;
    copy_to_user(address, &[0; SIZE])?;
    user::put_timeval(address, runtime)
}

pub(super) fn waitid(call: &Call<'_>) -> Answer {
    use crate::signal::info::{CLD_CONTINUED, CLD_EXITED, CLD_KILLED, CLD_STOPPED, Details, Info};
    let (id, info_at) = (call.arg(1) as u32, call.arg(2));
    let options = u64::from(call.arg(3) as u32);
    let which = match call.arg(0) {
        0 => Which::Any,
        1 => Which::Pid(id),
        3 => Which::Pid(pid_of(call, id as i32)?.get()),
        2 if id == 0 => Which::Group(call.me.parts().process.group.load(Ordering::Relaxed)),
        2 => Which::Group(id),
        _ => return Err(Errno::INVAL.into()),
    };
    let changes = WEXITED | WUNTRACED | WCONTINUED;
    let known = changes | WNOHANG | WNOWAIT | WNOTHREAD | WALL | WCLONE;
    if options & !known != 0 || options & changes == 0 {
        return Err(Errno::INVAL.into());
    }
    let change = wait(call, which, options)?;
    if info_at == 0 {
        return Ok(0);
    }
    let Some(change) = change else {
        copy_to_user(info_at, &[0; crate::signal::info::SIZE])?;
        return Ok(0);
    };
    let (code, status) = match change.what {
        What::Ended(ExitStatus::Exited(code)) => (CLD_EXITED, i32::from(code)),
        What::Ended(ExitStatus::Killed { signal, .. }) => (CLD_KILLED, i32::from(signal)),
        What::Stopped(signal) => (CLD_STOPPED, i32::from(signal.number())),
        What::Continued => (CLD_CONTINUED, i32::from(Signal::CONT.number())),
    };
    let details = Details::Child { pid: change.pid, uid: 0, status };
    copy_to_user(info_at, &Info { signal: Signal::CHLD, code, details }.to_bytes())?;
    Ok(0)
}

/// `times`: user time and system time are one, in ticks.
pub(super) fn times(call: &Call<'_>) -> Answer {
    const TICK: u64 = user::SECOND / exec::CLOCK_TICKS;
    let parts = call.me.parts();
    if call.arg(0) != 0 {
        let own = parts.process.past_runtime.load(Ordering::Relaxed) + parts.sched.runtime();
        let children = parts.process.children_runtime.load(Ordering::Relaxed);
        user::put_pair(call.arg(0), own / TICK, 0)?;
        user::put_pair(call.arg(0).wrapping_add(16), children / TICK, 0)?;
    }
    Ok(crate::cpu::clock::now() / TICK)
}
