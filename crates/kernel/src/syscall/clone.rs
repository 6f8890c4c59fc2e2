//! fork, vfork, clone, clone3.

use super::{Answer, Call, Failure};
use crate::layout::USER_END;
use crate::mm::user::read_u64;
use crate::task::fork;
use files::Errno;
use kernel_fork::args::CloneArgs;
use kernel_fork::flags::CloneFlags;

fn make(call: &Call<'_>, args: &CloneArgs) -> Answer {
    if args.flags.contains(CloneFlags::SETTLS) && args.tls >= USER_END {
        return Err(Errno::PERM.into());
    }
    fork(&call.me, args)?.map(u64::from).ok_or(Failure::SignalFirst)
}

pub(super) fn fork_(call: &Call<'_>) -> Answer {
    make(call, &CloneArgs::FORK)
}

pub(super) fn vfork(call: &Call<'_>) -> Answer {
    make(call, &CloneArgs::VFORK)
}

pub(super) fn clone(call: &Call<'_>) -> Answer {
    let [flags, stack, parent_tid, child_tid, tls] = core::array::from_fn(|n| call.arg(n));
    let args = CloneArgs::from_clone(flags, stack, parent_tid, child_tid, tls);
    make(call, &args.map_err(|_| Errno::INVAL)?)
}

/// `clone3`: a structure of 64-bit fields, of which newer programs pass more.
pub(super) fn clone3(call: &Call<'_>) -> Answer {
    /// Fields: flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls.
    const FIELDS: usize = 8;
    let (address, size) = (call.arg(0), call.arg(1));
    if size < 8 * FIELDS as u64 {
        return Err(Errno::INVAL.into());
    }
    if size > 4096 {
        return Err(Errno::TOOBIG.into());
    }
    let mut fields = [0; FIELDS];
    for (n, field) in fields.iter_mut().enumerate() {
        *field = read_u64(address.wrapping_add(8 * n as u64))?;
    }
    // What this kernel does not know must be zero.
    for at in (8 * FIELDS as u64..size).step_by(8) {
        if read_u64(address.wrapping_add(at))? != 0 {
            return Err(Errno::TOOBIG.into());
        }
    }
    let [flags, _pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls] = fields;
    let flags = CloneFlags::from_clone3(flags).map_err(|_| Errno::INVAL)?;
    let exit_signal = u8::try_from(exit_signal).map_err(|_| Errno::INVAL)?;
    if (stack == 0) != (stack_size == 0) {
        return Err(Errno::INVAL.into());
    }
    let stack = stack.checked_add(stack_size).ok_or(Errno::INVAL)?;
    let args = CloneArgs { flags, exit_signal, stack, tls, parent_tid, child_tid };
    args.check_clone3().map_err(|_| Errno::INVAL)?;
    make(call, &args)
}
