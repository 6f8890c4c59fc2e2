//! timerfd: the calls. The file itself is `files::timerfd`; `crate::timer` rings it.

use super::user::{put_timespec, timespec};
use super::{Answer, Call, Failure};
use crate::cpu::clock;
use crate::sched::WaitQueue;
use crate::task::memory::OpenFile;
use crate::{time, timer};
use alloc::sync::Arc;
use files::timerfd::{self, Setting, Timer};
use files::{Errno, OpenFlags};

pub(super) fn create(call: &Call<'_>) -> Answer {
    // REALTIME, MONOTONIC, BOOTTIME, and the last two as alarms. Nobody sets the clock, so a timer need not know which.
    if !matches!(call.arg(0), 0 | 1 | 7..=9) {
        return Err(Errno::INVAL.into());
    }
    let flags = OpenFlags::from_bits(call.arg(1) as u32).ok_or(Errno::INVAL)?;
    if !(OpenFlags::CLOEXEC | OpenFlags::NONBLOCK).contains(flags) {
        return Err(Errno::INVAL.into());
    }
    let realtime = matches!(call.arg(0), 0 | 8);
    let file = timerfd::open(clock::now, realtime, flags);
    let cloexec = flags.contains(OpenFlags::CLOEXEC);
    Ok(call.me.parts().fds().insert(file, cloexec)? as u64)
}

fn timer_of(file: &OpenFile) -> Result<&Arc<Timer<WaitQueue>>, Errno> {
    file.timer().ok_or(Errno::INVAL)
}

/// Writes a `struct itimerspec`.
fn put(address: u64, left: Setting) -> Result<(), Failure> {
    put_timespec(address, left.interval)?;
    put_timespec(address.wrapping_add(16), left.due)
}

pub(super) fn set(call: &Call<'_>) -> Answer {
    const ABSOLUTE: u64 = 1;
    /// A timer of the time of day is cancelled when that is set, which nobody can.
    const CANCEL_ON_SET: u64 = 2;
    let flags = u64::from(call.arg(1) as u32);
    if flags & !(ABSOLUTE | CANCEL_ON_SET) != 0 {
        return Err(Errno::INVAL.into());
    }
    let (interval, value) = (timespec(call.arg(2))?, timespec(call.arg(2).wrapping_add(16))?);
    let file = call.me.parts().fds().get(call.fd(0))?;
    let timer = timer_of(&file)?;
    let due = match value {
        0 => 0,
        value if flags & ABSOLUTE == 0 => clock::now().saturating_add(value),
        // What has passed is due at once, and 0 would be off.
        value if timer.is_realtime() => time::since_boot(value).max(1),
        value => value,
    };
    let old = timer::set_file(timer, Setting { due, interval });
    if call.arg(3) != 0 {
        put(call.arg(3), old)?;
    }
    Ok(0)
}

pub(super) fn get(call: &Call<'_>) -> Answer {
    let file = call.me.parts().fds().get(call.fd(0))?;
    put(call.arg(1), timer_of(&file)?.get())?;
    Ok(0)
}
