//! Descriptors: what they refer to, how new ones are handed out, and waiting for the file behind one.

use super::{Answer, Call};
use crate::mm::user::copy_to_user;
use crate::sched::{Current, Patience, Woken, sleep_until};
use crate::task::memory::OpenFile;
use alloc::sync::Arc;
use files::{Caller, Errno, OpenFlags, Ready};
use kernel_sync::atomic::Ordering;

/// Returns on whose behalf `me` acts.
pub(super) fn caller(me: &Current) -> Caller {
    let process = &me.parts().process;
    Caller {
        pid: me.process().pid().get(),
        group: process.group.load(Ordering::Relaxed),
        session: process.session.load(Ordering::Relaxed),
    }
}

/// Returns the description behind descriptor `fd`.
pub(super) fn file(call: &Call<'_>, fd: i32) -> Result<Arc<OpenFile>, Errno> {
    call.me.parts().fds().get(fd)
}

/// Sleeps until one of `events` comes up on `file`.
pub(super) fn wait_for(file: &OpenFile, events: Ready, deadline: Option<u64>) -> Result<(), Woken> {
    let Some(queue) = file.queue() else { return Ok(()) };
    let ready = || file.poll().intersects(events).then_some(());
    sleep_until(&[queue], Patience::UntilSignal, deadline, ready)
}

/// Gives two files descriptors and writes these to `address`.
pub(super) fn put_pair(
    call: &Call<'_>,
    address: u64,
    (first, second): (Arc<OpenFile>, Arc<OpenFile>),
    flags: OpenFlags,
) -> Answer {
    let fds = call.me.parts().fds();
    let cloexec = flags.contains(OpenFlags::CLOEXEC);
    let first = fds.insert(first, cloexec)?;
    let second = match fds.insert(second, cloexec) {
        Ok(second) => second,
        Err(errno) => {
            let _ = fds.close(first);
            return Err(errno.into());
        }
    };
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&first.to_le_bytes());
    bytes[4..].copy_from_slice(&second.to_le_bytes());
    if let Err(error) = copy_to_user(address, &bytes) {
        let _ = fds.close(first);
        let _ = fds.close(second);
        return Err(error.into());
    }
    Ok(0)
}
