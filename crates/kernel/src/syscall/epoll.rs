//! epoll: the calls. The set itself is `files::epoll`.

use super::poll::with_mask;
use super::user::timespec;
use super::{Answer, Call, Failure};
use crate::mm::user::{copy_to_user, read};
use crate::sched::{Patience, Woken, sleep_until};
use files::epoll::{self, EVENT_SIZE, Event};
use files::{Errno, OpenFlags};

pub(super) fn create(call: &Call<'_>, flags: u64) -> Answer {
    let flags = OpenFlags::from_bits(flags as u32).ok_or(Errno::INVAL)?;
    if !OpenFlags::CLOEXEC.contains(flags) {
        return Err(Errno::INVAL.into());
    }
    let cloexec = flags.contains(OpenFlags::CLOEXEC);
    Ok(call.me.parts().fds().insert(epoll::open(), cloexec)? as u64)
}

pub(super) fn control(call: &Call<'_>) -> Answer {
    const ADD: u64 = 1;
    const DEL: u64 = 2;
    const MOD: u64 = 3;
    let operation = call.arg(1);
    // As in Linux, the event is read before anything is checked, unless there is none.
    let event = if operation == DEL {
        None
    } else {
        Some(Event::from_bytes(read::<EVENT_SIZE>(call.arg(3))?))
    };
    let fds = call.me.parts().fds();
    let (set, fd) = (fds.get(call.fd(0))?, call.fd(2));
    let file = fds.get(fd)?;
    // Before the set is looked at, as in Linux: a file that cannot be watched is refused by anything.
    if file.queue().is_none() {
        return Err(Errno::PERM.into());
    }
    let set = set.epoll().ok_or(Errno::INVAL)?;
    match (operation, event) {
        (ADD, Some(event)) => set.add(fd, &file, event)?,
        (MOD, Some(event)) => set.modify(fd, &file, event)?,
        (DEL, None) => set.remove(fd, &file)?,
        _ => return Err(Errno::INVAL.into()),
    }
    Ok(0)
}

fn wait_until(call: &Call<'_>, deadline: Option<u64>) -> Answer {
    /// Most events in one call.
    const MAX: i32 = i32::MAX / EVENT_SIZE as i32;
    /// Most of them that go through the kernel at once.
    const CHUNK: usize = 1024;
    let max = call.arg(2) as i32;
    if max <= 0 || max > MAX {
        return Err(Errno::INVAL.into());
    }
    let file = call.me.parts().fds().get(call.fd(0))?;
    let set = file.epoll().ok_or(Errno::INVAL)?;
    let max = (max as usize).min(CHUNK);
    let ready = sleep_until(&[set.wait_queue()], Patience::UntilSignal, deadline, || {
        let ready = set.take_ready(max);
        (!ready.is_empty()).then_some(ready)
    });
    match ready {
        Ok(ready) => {
            for (n, event) in ready.iter().enumerate() {
                let at = call.arg(1).wrapping_add((EVENT_SIZE * n) as u64);
                copy_to_user(at, &event.to_bytes())?;
            }
            Ok(ready.len() as u64)
        }
        Err(Woken::Deadline) => Ok(0),
        // Not made again once a handler has been called, not even with SA_RESTART.
        Err(Woken::Signal) => Err(match deadline {
            None => Failure::InterruptedByHandler,
            Some(deadline) => call.interrupted_before(deadline),
        }),
    }
}

/// The deadline that a number of milliseconds stands for; none for a negative one.
fn milliseconds(call: &Call<'_>) -> Option<u64> {
    u64::try_from(call.arg(3) as i32).ok().map(|ms| call.deadline_after(ms * 1_000_000))
}

pub(super) fn wait(call: &Call<'_>) -> Answer {
    wait_until(call, milliseconds(call))
}

pub(super) fn pwait(call: &Call<'_>) -> Answer {
    let deadline = milliseconds(call);
    with_mask(call, call.arg(4), call.arg(5), || wait_until(call, deadline))
}

/// `epoll_pwait2`: the time is a `struct timespec`.
pub(super) fn pwait2(call: &Call<'_>) -> Answer {
    let deadline = match call.arg(3) {
        0 => None,
        at => Some(call.deadline_after(timespec(at)?)),
    };
    with_mask(call, call.arg(4), call.arg(5), || wait_until(call, deadline))
}
