//! timer_create and its kin. The timers themselves are in `crate::posix_timer`.

use super::user::{put_timespec, timespec};
use super::{Answer, Call, Failure};
use crate::cpu::clock;
use crate::mm::user::{copy_to_user, read_u32, read_u64};
use crate::posix_timer::{Left, PosixTimer, Told};
use crate::signal::Signal;
use crate::time;
use alloc::sync::Arc;
use files::Errno;
use kernel_task::pid::Pid;

pub(super) fn create(call: &Call<'_>) -> Answer {
    const SIGNAL: u32 = 0;
    const NONE: u32 = 1;
    const THREAD: u32 = 2;
    const THREAD_ID: u32 = 4;
    let realtime = match call.arg(0) as i32 {
        // REALTIME, and as an alarm.
        0 | 8 => true,
        // MONOTONIC, BOOTTIME, and as an alarm.
        1 | 7 | 9 => false,
        // Of a process's or a thread's own time.
        2 | 3 => return Err(Errno::OPNOTSUPP.into()),
        _ => return Err(Errno::INVAL.into()),
    };
    let process = Told::Process(call.me.process().pid());
    let (told, signal, value) = match call.arg(1) {
        0 => (process, Signal::ALRM, None),
        at => {
            let (value, number) = (read_u64(at)?, read_u32(at.wrapping_add(8))?);
            let told = match read_u32(at.wrapping_add(12))? {
                NONE => Told::Nobody,
                SIGNAL | THREAD => process,
                THREAD_ID => {
                    let pid = Pid::new(read_u32(at.wrapping_add(16))?).ok_or(Errno::INVAL)?;
                    let task = super::signals::task(u64::from(pid.get()));
                    let is_own =
                        task.is_ok_and(|task| task.process().pid() == call.me.process().pid());
                    if !is_own {
                        return Err(Errno::INVAL.into());
                    }
                    Told::Thread(pid)
                }
                _ => return Err(Errno::INVAL.into()),
            };
            let signal = Signal::new(u64::from(number));
            let signal = match told {
                Told::Nobody => signal.unwrap_or(Signal::ALRM),
                _ => signal.ok_or(Errno::INVAL)?,
            };
            (told, signal, Some(value))
        }
    };
    let timers = &call.me.parts().process.posix_timers;
    let id = timers.create(told, signal, value, realtime).ok_or(Errno::AGAIN)?;
    if let Err(error) = copy_to_user(call.arg(2), &id.to_le_bytes()) {
        timers.delete(id);
        return Err(error.into());
    }
    Ok(0)
}

fn timer(call: &Call<'_>) -> Result<Arc<PosixTimer>, Errno> {
    call.me.parts().process.posix_timers.get(call.arg(0) as i32).ok_or(Errno::INVAL)
}

/// Writes a `struct itimerspec`.
fn put(address: u64, left: Left) -> Result<(), Failure> {
    put_timespec(address, left.interval)?;
    put_timespec(address.wrapping_add(16), left.left)
}

pub(super) fn set_time(call: &Call<'_>) -> Answer {
    const ABSOLUTE: u64 = 1;
    let timer = timer(call)?;
    let (interval, value) = (timespec(call.arg(2))?, timespec(call.arg(2).wrapping_add(16))?);
    let due = match value {
        0 => 0,
        value if call.arg(1) & ABSOLUTE == 0 => clock::now().saturating_add(value),
        // What has passed is due at once, and 0 would be off.
        value if timer.realtime => time::since_boot(value).max(1),
        value => value,
    };
    let old = timer.set(due, interval);
    if call.arg(3) != 0 {
        put(call.arg(3), old)?;
    }
    Ok(0)
}

pub(super) fn get_time(call: &Call<'_>) -> Answer {
    put(call.arg(1), timer(call)?.left())?;
    Ok(0)
}

pub(super) fn get_overrun(call: &Call<'_>) -> Answer {
    Ok(timer(call)?.overrun() as u64)
}

pub(super) fn delete(call: &Call<'_>) -> Answer {
    let was_there = call.me.parts().process.posix_timers.delete(call.arg(0) as i32);
    if was_there { Ok(0) } else { Err(Errno::INVAL.into()) }
}
