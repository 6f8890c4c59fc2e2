//! Who a task is: process, thread, group, session, user.

use super::descriptor::caller;
use super::signals::task;
use super::{Answer, Call};
use crate::layout::USER_END;
use crate::mm::user::{copy_to_user, read};
use crate::os::tasks;
use crate::rcu;
use crate::task::NAME_SIZE;
use crate::task::process::visible_pid;
use crate::task::segments::Segments;
use files::Errno;
use kernel_sync::atomic::Ordering;

pub(super) fn getpid(call: &Call<'_>) -> Answer {
    Ok(u64::from(call.me.process().pid().get()))
}

pub(super) fn gettid(call: &Call<'_>) -> Answer {
    Ok(u64::from(visible_pid(&call.me).get()))
}

pub(super) fn getppid(call: &Call<'_>) -> Answer {
    Ok(call.me.process().parent().map_or(0, |parent| u64::from(parent.pid().get())))
}

/// The process that an argument means, 0 being the caller's.
fn leader(call: &Call<'_>, pid: u64) -> Result<crate::task::TaskRef, Errno> {
    let pid = if pid as u32 == 0 { u64::from(call.me.process().pid().get()) } else { pid };
    let leader = task(pid)?;
    if u64::from(leader.process().pid().get()) == u64::from(pid as u32) {
        Ok(leader)
    } else {
        Err(Errno::SRCH)
    }
}

pub(super) fn getpgid(call: &Call<'_>, pid: u64) -> Answer {
    Ok(u64::from(leader(call, pid)?.parts().process.group.load(Ordering::Relaxed)))
}

pub(super) fn getsid(call: &Call<'_>) -> Answer {
    Ok(u64::from(leader(call, call.arg(0))?.parts().process.session.load(Ordering::Relaxed)))
}

/// Tells whether a process of `session` is in `group`.
pub(super) fn group_exists(group: u32, session: u32) -> bool {
    let mut found = false;
    tasks().pids().for_each(&rcu::read_lock(), &mut |task| {
        let process = &task.parts().process;
        found |= task.is_leader()
            && process.group.load(Ordering::Relaxed) == group
            && process.session.load(Ordering::Relaxed) == session;
    });
    found
}

pub(super) fn setpgid(call: &Call<'_>) -> Answer {
    let target = leader(call, call.arg(0))?;
    let me = caller(&call.me);
    let pid = target.pid().get();
    let group = match call.arg(1) as i32 {
        0 => pid,
        group if group > 0 => group as u32,
        _ => return Err(Errno::INVAL.into()),
    };
    let is_child = target.process().parent().is_some_and(|parent| parent.pid().get() == me.pid);
    if pid != me.pid && !is_child {
        return Err(Errno::SRCH.into());
    }
    let process = &target.parts().process;
    if pid != me.pid && process.has_executed.load(Ordering::Relaxed) {
        return Err(Errno::ACCES.into());
    }
    let session = process.session.load(Ordering::Relaxed);
    // A leader of a session stays where it is, and groups do not spread over sessions.
    if session == pid || session != me.session || (group != pid && !group_exists(group, session)) {
        return Err(Errno::PERM.into());
    }
    process.group.store(group, Ordering::Relaxed);
    Ok(0)
}

pub(super) fn setsid(call: &Call<'_>) -> Answer {
    let me = caller(&call.me);
    if me.group == me.pid {
        return Err(Errno::PERM.into());
    }
    let process = &call.me.parts().process;
    process.group.store(me.pid, Ordering::Relaxed);
    process.session.store(me.pid, Ordering::Relaxed);
    Ok(u64::from(me.pid))
}

/// `getresuid` and `getresgid`: everybody is root.
pub(super) fn get_three_ids(call: &Call<'_>) -> Answer {
    for n in 0..3 {
        copy_to_user(call.arg(n), &0_u32.to_le_bytes())?;
    }
    Ok(0)
}

pub(super) fn set_tid_address(call: &Call<'_>) -> Answer {
    call.me.set_clear_child_tid(call.arg(0));
    gettid(call)
}

pub(super) fn arch_prctl(call: &Call<'_>) -> Answer {
    const SET_GS: u64 = 0x1001;
    const SET_FS: u64 = 0x1002;
    const GET_FS: u64 = 0x1003;
    const GET_GS: u64 = 0x1004;
    let argument = call.arg(1);
    let what = call.arg(0);
    // Not the kernel's half: the sign of GS.base tells whose it is (`cpu/area.rs`).
    if matches!(what, SET_FS | SET_GS) && argument >= USER_END {
        return Err(Errno::PERM.into());
    }
    match what {
        SET_FS => Segments::set_fs_base(argument),
        SET_GS => Segments::set_gs_base(argument),
        GET_FS => copy_to_user(argument, &Segments::save().fs_base.to_le_bytes())?,
        GET_GS => copy_to_user(argument, &Segments::save().gs_base.to_le_bytes())?,
        _ => return Err(Errno::INVAL.into()),
    }
    Ok(0)
}

pub(super) fn prctl(call: &Call<'_>) -> Answer {
    let parts = call.me.parts();
    match call.arg(0) {
        // PR_SET_NAME, PR_GET_NAME
        15 => {
            let mut name: [u8; NAME_SIZE] = [0; NAME_SIZE];
            let bytes = super::user::string(call.arg(1), 4096, Errno::INVAL)?;
            let len = bytes.len().min(NAME_SIZE - 1);
            name[..len].copy_from_slice(&bytes[..len]);
            parts.set_name(name);
        }
        16 => copy_to_user(call.arg(1), &parts.name())?,
        // PR_SET_PDEATHSIG and PR_SET_DUMPABLE: accepted, without effect. PR_GET_DUMPABLE, PR_SET_NO_NEW_PRIVS.
        1 | 4 | 38 => {}
        3 => return Ok(1),
        _ => return Err(Errno::INVAL.into()),
    }
    Ok(0)
}

/// `capget`: root has all of them.
pub(super) fn capget(call: &Call<'_>) -> Answer {
    const VERSION_3: u32 = 0x2008_0522;
    let header: [u8; 4] = read(call.arg(0))?;
    if u32::from_le_bytes(header) != VERSION_3 {
        copy_to_user(call.arg(0), &VERSION_3.to_le_bytes())?;
        return Err(Errno::INVAL.into());
    }
    if call.arg(1) != 0 {
        copy_to_user(call.arg(1), &[0xff; 24])?;
    }
    Ok(0)
}

/// `sched_getparam`: the priority of everybody is 0.
pub(super) fn sched_getparam(call: &Call<'_>) -> Answer {
    copy_to_user(call.arg(1), &0_u32.to_le_bytes())?;
    Ok(0)
}

pub(super) fn get_robust_list(call: &Call<'_>) -> Answer {
    let list = match call.arg(0) as u32 {
        0 => call.me.parts().robust_list.load(Ordering::Relaxed),
        pid => task(u64::from(pid))?.parts().robust_list.load(Ordering::Relaxed),
    };
    copy_to_user(call.arg(1), &list.to_le_bytes())?;
    copy_to_user(call.arg(2), &24_u64.to_le_bytes())?;
    Ok(0)
}
