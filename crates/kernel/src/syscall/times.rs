//! Clocks and sleeps.

use super::user::{put_timespec, put_timeval, timespec};
use super::{Answer, Call, Failure};
use crate::cpu::clock;
use crate::mm::user::copy_to_user;
use crate::sched::{Patience, WaitQueue, Woken, sleep_until};
use crate::time;
use files::Errno;
use kernel_sync::atomic::Ordering;

const NANOSECONDS: u64 = 1_000_000_000;

/// Reads a clock, in nanoseconds.
fn read_clock(call: &Call<'_>, clock: u64) -> Result<u64, Errno> {
    Ok(match clock {
        // REALTIME, REALTIME_COARSE, TAI
        0 | 5 | 11 => time::boot_seconds() * NANOSECONDS + clock::now(),
        // MONOTONIC, its raw and coarse forms, BOOTTIME
        1 | 4 | 6 | 7 => clock::now(),
        // PROCESS_CPUTIME_ID, THREAD_CPUTIME_ID
        2 => {
            let parts = call.me.parts();
            parts.process.past_runtime.load(Ordering::Relaxed) + parts.sched.runtime_now()
        }
        3 => call.me.parts().sched.runtime_now(),
        _ => return Err(Errno::INVAL),
    })
}

pub(super) fn clock_gettime(call: &Call<'_>) -> Answer {
    put_timespec(call.arg(1), read_clock(call, call.arg(0))?)?;
    Ok(0)
}

pub(super) fn clock_getres(call: &Call<'_>) -> Answer {
    read_clock(call, call.arg(0))?;
    if call.arg(1) != 0 {
        put_timespec(call.arg(1), 1)?;
    }
    Ok(0)
}

pub(super) fn gettimeofday(call: &Call<'_>) -> Answer {
    if call.arg(0) != 0 {
        put_timeval(call.arg(0), time::boot_seconds() * NANOSECONDS + clock::now())?;
    }
    if call.arg(1) != 0 {
        copy_to_user(call.arg(1), &[0; 8])?;
    }
    Ok(0)
}

pub(super) fn time_(call: &Call<'_>) -> Answer {
    let seconds = time::boot_seconds() + clock::now() / NANOSECONDS;
    if call.arg(0) != 0 {
        copy_to_user(call.arg(0), &seconds.to_le_bytes())?;
    }
    Ok(seconds)
}

pub(super) fn nanosleep(call: &Call<'_>) -> Answer {
    let deadline = call.deadline_after(timespec(call.arg(0))?);
    sleep_with_rest(call, deadline, call.arg(1))
}

pub(super) fn clock_nanosleep(call: &Call<'_>) -> Answer {
    const ABSOLUTE: u64 = 1;
    let time = timespec(call.arg(2))?;
    if call.arg(1) & ABSOLUTE == 0 {
        return match call.arg(0) {
            0 | 1 | 7 => sleep_with_rest(call, call.deadline_after(time), call.arg(3)),
            _ => Err(Errno::INVAL.into()),
        };
    }
    let deadline = match call.arg(0) {
        0 => time::since_boot(time),
        1 | 7 => time,
        _ => return Err(Errno::INVAL.into()),
    };
    if sleep(deadline) { Ok(0) } else { Err(Failure::InterruptedByHandler) }
}

/// Sleeps until `deadline`; returns whether it came. A signal ends the sleep, too.
fn sleep(deadline: u64) -> bool {
    let no_queue: [&WaitQueue; 0] = [];
    let woken = sleep_until(&no_queue, Patience::UntilSignal, Some(deadline), || None::<()>);
    woken == Err(Woken::Deadline)
}

/// Sleeps until `deadline`; a signal ends it, and the rest goes to `left`.
fn sleep_with_rest(call: &Call<'_>, deadline: u64, left: u64) -> Answer {
    if sleep(deadline) {
        return Ok(0);
    }
    if left != 0 {
        put_timespec(left, deadline.saturating_sub(clock::now()))?;
    }
    Err(call.interrupted_before(deadline))
}
