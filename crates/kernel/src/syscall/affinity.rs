//! On which processors a task may run, and where it does.

use super::signals::task;
use super::{Answer, Call};
use crate::cpu::area::cpu_index;
use crate::cpu::mask::CpuMask;
use crate::cpu::smp;
use crate::mm::user::{copy_from_user, copy_to_user};
use crate::sched::set_affinity;
use crate::task::TaskRef;
use files::Errno;

/// The thread that argument 0 means, 0 being the caller.
fn thread(call: &Call<'_>) -> Result<TaskRef, Errno> {
    match call.arg(0) {
        0 => Ok(TaskRef::clone(&call.me)),
        tid => task(tid),
    }
}

/// `sched_setaffinity`. Processors that are not up do not count; at least one must be left.
pub(super) fn sched_setaffinity(call: &Call<'_>) -> Answer {
    let mut bytes = [0; 8];
    // A longer set names processors that this kernel cannot have.
    let len = call.arg(1).min(bytes.len() as u64) as usize;
    copy_from_user(&mut bytes[..len], call.arg(2))?;
    let allowed = CpuMask::from_bits(u64::from_le_bytes(bytes)).and(smp::online());
    let task = thread(call)?;
    if allowed.is_empty() {
        return Err(Errno::INVAL.into());
    }
    set_affinity(&task, allowed);
    Ok(0)
}

/// `sched_getaffinity`.
pub(super) fn sched_getaffinity(call: &Call<'_>) -> Answer {
    let (size, address) = (call.arg(1), call.arg(2));
    if size < 8 || !size.is_multiple_of(8) {
        return Err(Errno::INVAL.into());
    }
    let allowed = thread(call)?.parts().sched.allowed().and(smp::online());
    copy_to_user(address, &allowed.bits().to_le_bytes())?;
    Ok(8)
}

/// `getcpu`: processor and node, each if asked for. There is one node.
pub(super) fn getcpu(call: &Call<'_>) -> Answer {
    for (address, number) in [(call.arg(0), cpu_index() as u32), (call.arg(1), 0)] {
        if address != 0 {
            copy_to_user(address, &number.to_le_bytes())?;
        }
    }
    Ok(0)
}
