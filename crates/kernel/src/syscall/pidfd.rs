//! pidfd: the calls. The file itself is `crate::pidfd`.

use super::signals::{info_of, own_info, signal, task};
use super::{Answer, Call};
use crate::pidfd::{self, ProcessFile};
use crate::signal::send;
use crate::task::process::leader_of;
use files::{Errno, OpenFlags};
use kernel_task::pid::Pid;

pub(super) fn open(call: &Call<'_>) -> Answer {
    let flags = OpenFlags::from_bits(call.arg(1) as u32).ok_or(Errno::INVAL)?;
    if !OpenFlags::NONBLOCK.contains(flags) || call.arg(0) as i32 <= 0 {
        return Err(Errno::INVAL.into());
    }
    let task = task(call.arg(0))?;
    // A thread has no descriptor of its own.
    if u64::from(task.process().pid().get()) != call.arg(0) {
        return Err(Errno::INVAL.into());
    }
    let file = pidfd::open(task.process().clone(), task.parts().process.clone(), flags);
    Ok(call.me.parts().fds().insert(file, true)? as u64)
}

/// The process that descriptor `fd` stands for.
pub(super) fn pid_of(call: &Call<'_>, fd: i32) -> Result<Pid, Errno> {
    let file = call.me.parts().fds().get(fd)?;
    Ok(file.stream_as::<ProcessFile>().ok_or(Errno::BADF)?.process().pid())
}

pub(super) fn send_signal(call: &Call<'_>) -> Answer {
    if call.arg(3) != 0 {
        return Err(Errno::INVAL.into());
    }
    let file = call.me.parts().fds().get(call.fd(0))?;
    let process = file.stream_as::<ProcessFile>().ok_or(Errno::BADF)?.process();
    let pid = process.pid();
    let info = match call.arg(2) {
        0 => signal(call.arg(1))?.map(|signal| own_info(call, signal)),
        at => info_of(call, call.arg(1), at, u64::from(pid.get()))?,
    };
    let leader = leader_of(pid).filter(|leader| leader.process().ptr_eq(process));
    let leader = leader.ok_or(Errno::SRCH)?;
    if let Some(info) = info {
        send::to_process(&leader, info);
    }
    Ok(0)
}
