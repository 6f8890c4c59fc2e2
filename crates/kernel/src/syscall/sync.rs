//! futex.

use super::user::timespec;
use super::{Answer, Call, Failure};
use crate::futex;
use crate::os::Os;
use crate::sched::Woken;
use crate::time;
use files::Errno;
use mm_generic::mm::MmUser;

const PRIVATE: u64 = 128;
const CLOCK_REALTIME: u64 = 256;

pub(super) fn futex(call: &Call<'_>) -> Answer {
    let (address, operation) = (call.arg(0), call.arg(1));
    let private = operation & PRIVATE != 0;
    let value = call.arg(2) as u32;
    let count = call.arg(2) as i32;
    let count = usize::try_from(count).map_err(|_| Errno::INVAL);
    let mm = || -> Result<MmUser<Os>, Errno> { call.me.mm().ok_or(Errno::FAULT) };
    match operation & !(PRIVATE | CLOCK_REALTIME) {
        // WAIT: a relative timeout.
        0 => {
            let deadline = match call.arg(3) {
                0 => None,
                at => Some(call.deadline_after(timespec(at)?)),
            };
            match (wait(call, private, value, deadline, futex::ANY), deadline) {
                (Err(Failure::InterruptedByHandler), Some(deadline)) => {
                    Err(call.interrupted_before(deadline))
                }
                (answer, _) => answer,
            }
        }
        // WAIT_BITSET: an absolute one, by either clock.
        9 => {
            let deadline = match call.arg(3) {
                0 => None,
                at if operation & CLOCK_REALTIME != 0 => Some(time::since_boot(timespec(at)?)),
                at => Some(timespec(at)?),
            };
            wait(call, private, value, deadline, call.arg(5) as u32)
        }
        // WAKE, WAKE_BITSET
        1 => Ok(futex::wake_at(&*mm()?, address, private, count?, futex::ANY) as u64),
        10 => {
            let bits = call.arg(5) as u32;
            if bits == 0 {
                return Err(Errno::INVAL.into());
            }
            Ok(futex::wake_at(&*mm()?, address, private, count?, bits) as u64)
        }
        // REQUEUE, CMP_REQUEUE
        operation @ (3 | 4) => {
            let move_count = usize::try_from(call.arg(3) as i32).map_err(|_| Errno::INVAL)?;
            let expected = (operation == 4).then_some(call.arg(5) as u32);
            let words = (address, call.arg(4));
            let counts = (count?, move_count);
            Ok(futex::requeue(&*mm()?, words, private, counts, expected)? as u64)
        }
        _ => Err(Errno::NOSYS.into()),
    }
}

fn wait(call: &Call<'_>, private: bool, value: u32, deadline: Option<u64>, bits: u32) -> Answer {
    match futex::wait(&call.me, call.arg(0), private, value, deadline, bits)? {
        Ok(()) => Ok(0),
        Err(Woken::Deadline) => Err(Errno::TIMEDOUT.into()),
        Err(Woken::Signal) if deadline.is_none() => Err(Failure::Interrupted),
        Err(Woken::Signal) => Err(Failure::InterruptedByHandler),
    }
}

/// `membarrier`: each processor that runs the program passes a barrier.
pub(super) fn membarrier(call: &Call<'_>) -> Answer {
    const QUERY: u64 = 0;
    const GLOBAL: u64 = 1;
    const PRIVATE_EXPEDITED: u64 = 1 << 3;
    const REGISTER_PRIVATE_EXPEDITED: u64 = 1 << 4;
    if call.arg(1) != 0 {
        return Err(Errno::INVAL.into());
    }
    match call.arg(0) {
        QUERY => Ok(GLOBAL | PRIVATE_EXPEDITED | REGISTER_PRIVATE_EXPEDITED),
        REGISTER_PRIVATE_EXPEDITED => Ok(0),
        GLOBAL | PRIVATE_EXPEDITED => {
            // An interrupt that is answered orders as a barrier does, and a flush is one.
            crate::cpu::tlb::shoot_down(
                crate::cpu::smp::online(),
                crate::cpu::tlb::Flush::NotGlobal,
            );
            Ok(0)
        }
        _ => Err(Errno::INVAL.into()),
    }
}
