//! Interval timers: setitimer, getitimer, alarm.

use super::user::{SECOND, put_timeval, timeval};
use super::{Answer, Call, Failure};
use crate::timer::{Setting, Timers, Which};
use files::Errno;

fn which(call: &Call<'_>) -> Result<Which, Errno> {
    Which::new(u64::from(call.arg(0) as u32)).ok_or(Errno::INVAL)
}

/// Writes a `struct itimerval`.
fn put(address: u64, setting: Setting) -> Result<(), Failure> {
    put_timeval(address, setting.interval)?;
    put_timeval(address.wrapping_add(16), setting.left.next_multiple_of(1000))
}

pub(super) fn getitimer(call: &Call<'_>) -> Answer {
    put(call.arg(1), Timers::get(&call.me, which(call)?))?;
    Ok(0)
}

pub(super) fn setitimer(call: &Call<'_>) -> Answer {
    // Without a new setting the timer goes off, as in Linux.
    let setting = match call.arg(1) {
        0 => Setting::default(),
        address => {
            Setting { interval: timeval(address)?, left: timeval(address.wrapping_add(16))? }
        }
    };
    let old = Timers::set(&call.me, which(call)?, setting);
    if call.arg(2) != 0 {
        put(call.arg(2), old)?;
    }
    Ok(0)
}

/// `alarm`: in whole seconds, of which none that is left counts as zero.
pub(super) fn alarm(call: &Call<'_>) -> Answer {
    let left = u64::from(call.arg(0) as u32) * SECOND;
    let old = Timers::set(&call.me, Which::Real, Setting { left, interval: 0 });
    let rounded = (old.left + SECOND / 2) / SECOND;
    Ok(if old.left > 0 { rounded.max(1) } else { 0 })
}
