//! What the system says about itself, and limits.

use super::process::put_usage;
use super::user::put_pair;
use super::{Answer, Call};
use crate::cpu::clock;
use crate::layout::PAGE_SIZE;
use crate::mm::frames;
use crate::mm::user::{copy_to_user, read_u64};
use crate::os::tasks;
use crate::rcu;
use crate::task::limits::{self, COUNT};
use crate::uname::UNAME;
use files::Errno;
use files::abi;
use kernel_sync::atomic::Ordering;

pub(super) fn uname(call: &Call<'_>) -> Answer {
    copy_to_user(call.arg(0), &abi::uname(UNAME))?;
    Ok(0)
}

/// `sysinfo`
pub(super) fn sysinfo(call: &Call<'_>) -> Answer {
    /// Bytes of `struct sysinfo`.
    const SIZE: usize = 112;
    let stats = frames::stats();
    let mut count = 0_u16;
    tasks().pids().for_each(&rcu::read_lock(), &mut |_| count = count.saturating_add(1));
    let mut bytes = [0; SIZE];
    let mut put = |at: usize, value: u64| bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
    put(0, clock::now() / 1_000_000_000);
    // Loads at 8, 16, 24: not counted.
    put(32, stats.total as u64 * PAGE_SIZE);
    put(40, stats.free as u64 * PAGE_SIZE);
    put(80, u64::from(count));
    // mem_unit, in 32 bits.
    put(104, 1);
    copy_to_user(call.arg(0), &bytes)?;
    Ok(0)
}

pub(super) fn getrusage(call: &Call<'_>) -> Answer {
    let parts = call.me.parts();
    let runtime = match call.arg(0) as i32 {
        0 => parts.process.past_runtime.load(Ordering::Relaxed) + parts.sched.runtime_now(),
        -1 => parts.process.children_runtime.load(Ordering::Relaxed),
        1 => parts.sched.runtime_now(),
        _ => return Err(Errno::INVAL.into()),
    };
    put_usage(call.arg(1), runtime)?;
    Ok(0)
}

/// Reads and sets a limit of the caller's process: `new` and `old` are addresses, or 0.
fn limit(call: &Call<'_>, resource: u64, new: u64, old: u64) -> Answer {
    let resource = usize::try_from(resource).ok().filter(|&resource| resource < COUNT);
    let resource = resource.ok_or(Errno::INVAL)?;
    let new = match new {
        0 => None,
        address => Some([read_u64(address)?, read_u64(address.wrapping_add(8))?]),
    };
    let process = &call.me.parts().process;
    let before = process.limits.lock().0[resource];
    if let Some([soft, hard]) = new {
        if soft > hard {
            return Err(Errno::INVAL.into());
        }
        if resource == limits::NOFILE {
            if hard > files::MAX_LIMIT as u64 {
                return Err(Errno::PERM.into());
            }
            call.me.parts().fds().set_limit(soft as usize);
        }
        process.limits.lock().0[resource] = [soft, hard];
    }
    if old != 0 {
        put_pair(old, before[0], before[1])?;
    }
    Ok(0)
}

pub(super) fn prlimit64(call: &Call<'_>) -> Answer {
    let pid = call.arg(0) as u32;
    if pid != 0 && pid != call.me.process().pid().get() {
        return Err(Errno::PERM.into());
    }
    limit(call, call.arg(1), call.arg(2), call.arg(3))
}

pub(super) fn getrlimit(call: &Call<'_>) -> Answer {
    if call.arg(1) == 0 {
        return Err(Errno::FAULT.into());
    }
    limit(call, call.arg(0), 0, call.arg(1))
}

pub(super) fn setrlimit(call: &Call<'_>) -> Answer {
    if call.arg(1) == 0 {
        return Err(Errno::FAULT.into());
    }
    limit(call, call.arg(0), call.arg(1), 0)
}
