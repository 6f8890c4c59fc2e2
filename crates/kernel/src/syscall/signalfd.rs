//! signalfd: the calls. The file itself is `crate::signalfd`.

use super::{Answer, Call};
use crate::mm::user::read_u64;
use crate::signal::SignalSet;
use crate::signalfd::{self, SignalFile};
use files::{Errno, OpenFlags};

/// `signalfd4`, and with no flags `signalfd`.
pub(super) fn signalfd(call: &Call<'_>, bits: u64) -> Answer {
    let flags = OpenFlags::from_bits(bits as u32).ok_or(Errno::INVAL)?;
    if !(OpenFlags::CLOEXEC | OpenFlags::NONBLOCK).contains(flags) || call.arg(2) != 8 {
        return Err(Errno::INVAL.into());
    }
    let mask = SignalSet(read_u64(call.arg(1))?);
    let fds = call.me.parts().fds();
    if call.fd(0) != -1 {
        let file = fds.get(call.fd(0))?;
        file.stream_as::<SignalFile>().ok_or(Errno::INVAL)?.set_mask(mask);
        return Ok(u64::from(call.fd(0) as u32));
    }
    let file = signalfd::open(mask, call.me.parts().process.clone(), flags);
    Ok(fds.insert(file, flags.contains(OpenFlags::CLOEXEC))? as u64)
}
