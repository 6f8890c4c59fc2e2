//! Sockets: how they are made, named and connected. What they are is in `files::socket`; what goes through them in
//! `message`.

use super::descriptor::{file, put_pair, wait_for};
use super::path;
use super::user::buffer;
use super::{Answer, Call, Failure};
use crate::mm::user::{copy_from_user, copy_to_user, read_u32};
use crate::sched::{WaitQueue, Woken};
use crate::task::memory::OpenFile;
use alloc::sync::Arc;
use alloc::vec::Vec;
use files::socket::{self, Credentials, Domain, Kind, MAX_NAME, Name, Target};
use files::{Errno, OpenFlags, Ready};
use spin::Once;

/// A socket of this kernel.
pub(super) type Socket = socket::Socket<WaitQueue>;

/// Who is called what, for all programs.
fn network() -> &'static Arc<socket::Network<WaitQueue>> {
    static NETWORK: Once<Arc<socket::Network<WaitQueue>>> = Once::new();
    NETWORK.call_once(Arc::default)
}

/// Returns who the caller is.
pub(super) fn credentials(call: &Call<'_>) -> Credentials {
    Credentials { pid: call.me.process().pid().get(), uid: 0, gid: 0 }
}

/// The socket that is a description.
pub(super) fn socket_of(file: &OpenFile) -> Result<&Arc<Socket>, Errno> {
    file.socket().ok_or(Errno::NOTSOCK)
}

/// `SOCK_NONBLOCK` and `SOCK_CLOEXEC`, which are open's.
fn flags(bits: u64) -> Result<OpenFlags, Errno> {
    let known = OpenFlags::NONBLOCK | OpenFlags::CLOEXEC;
    OpenFlags::from_bits(bits as u32).filter(|&flags| known.contains(flags)).ok_or(Errno::INVAL)
}

/// What is asked for in the first two arguments.
fn asked(call: &Call<'_>) -> Result<(Domain, Kind, OpenFlags), Errno> {
    const TYPE: u64 = 0xf;
    let flags = flags(call.arg(1) & !TYPE)?;
    let domain = Domain::new(call.arg(0)).ok_or(Errno::AFNOSUPPORT)?;
    let kind = match (domain, call.arg(1) & TYPE) {
        // SOCK_RAW: of AF_UNIX another word for datagrams.
        (Domain::Unix, 3) => Kind::Datagram,
        (_, kind) => Kind::new(kind).ok_or(Errno::SOCKTNOSUPPORT)?,
    };
    Ok((domain, kind, flags))
}

pub(super) fn socket(call: &Call<'_>) -> Answer {
    let (domain, kind, flags) = asked(call)?;
    let file = socket::open(network(), domain, kind, call.arg(2), flags, credentials(call))?;
    let cloexec = flags.contains(OpenFlags::CLOEXEC);
    Ok(call.me.parts().fds().insert(file, cloexec)? as u64)
}

pub(super) fn socketpair(call: &Call<'_>) -> Answer {
    let (domain, kind, flags) = asked(call)?;
    let pair = socket::pair(network(), domain, kind, flags, credentials(call))?;
    put_pair(call, call.arg(3), pair, flags)
}

/// Reads a `struct sockaddr`; `None` for one of `AF_UNSPEC`.
pub(super) fn name(socket: &Socket, address: u64, len: u64) -> Result<Option<Name>, Failure> {
    let len = len as u32 as usize;
    if len > MAX_NAME {
        return Err(Errno::INVAL.into());
    }
    let mut bytes = [0; MAX_NAME];
    copy_from_user(&mut bytes[..len], address)?;
    Ok(Name::parse(&bytes[..len], socket.domain())?)
}

/// Finds what `name` stands for.
pub(super) fn target(call: &Call<'_>, name: Name) -> Result<Target, Errno> {
    let inode = match &name {
        Name::Path(path) => Some(path::find_socket(call, path)?),
        _ => None,
    };
    Ok(Target { name, inode })
}

/// Writes a `struct sockaddr` to `address`, as much of it as the length at `len_at` allows, and its length there.
pub(super) fn put_name(address: u64, len_at: u64, name: &[u8]) -> Result<(), Failure> {
    let room = read_u32(len_at)?;
    if room > i32::MAX as u32 {
        return Err(Errno::INVAL.into());
    }
    copy_to_user(address, &name[..name.len().min(room as usize)])?;
    copy_to_user(len_at, &(name.len() as u32).to_le_bytes())?;
    Ok(())
}

pub(super) fn bind(call: &Call<'_>) -> Answer {
    let file = file(call, call.fd(0))?;
    let socket = socket_of(&file)?;
    // Old programs mean any address by AF_UNSPEC.
    let name = name(socket, call.arg(1), call.arg(2))?.ok_or(Errno::AFNOSUPPORT)?;
    socket.check_unbound()?;
    let inode = match &name {
        Name::Path(path) => Some(path::make_socket(call, path)?),
        _ => None,
    };
    socket.bind(Target { name, inode })?;
    Ok(0)
}

pub(super) fn listen(call: &Call<'_>) -> Answer {
    let file = file(call, call.fd(0))?;
    socket_of(&file)?.listen(call.arg(1) as i32, credentials(call))?;
    Ok(0)
}

/// When a receiver, or with `sends` a sender, has waited long enough.
pub(super) fn deadline(call: &Call<'_>, socket: &Socket, sends: bool) -> Option<u64> {
    socket.timeout(sends).map(|timeout| call.deadline_after(timeout))
}

/// Does `work`, and waits for `events` on `file` as long as there is nothing to do, unless the description or `at_once`
/// does not allow that.
pub(super) fn patiently<T>(
    file: &OpenFile,
    events: Ready,
    at_once: bool,
    deadline: Option<u64>,
    mut work: impl FnMut() -> Result<T, Failure>,
) -> Result<T, Failure> {
    loop {
        match work() {
            Err(Failure::Errno(Errno::AGAIN))
                if !at_once && !file.flags().contains(OpenFlags::NONBLOCK) => {}
            result => return result,
        }
        match wait_for(file, events | Ready::ERR | Ready::HUP, deadline) {
            Ok(()) => {}
            Err(Woken::Deadline) => return Err(Errno::AGAIN.into()),
            // With a time limit, the call is not made again.
            Err(Woken::Signal) if deadline.is_some() => return Err(Errno::INTR.into()),
            Err(Woken::Signal) => return Err(Failure::Interrupted),
        }
    }
}

pub(super) fn connect(call: &Call<'_>) -> Answer {
    let file = file(call, call.fd(0))?;
    let socket = socket_of(&file)?;
    let name = name(socket, call.arg(1), call.arg(2))?;
    let target = name.map(|name| target(call, name)).transpose()?;
    let at_once = file.flags().contains(OpenFlags::NONBLOCK);
    let deadline = deadline(call, socket, true);
    // Unconnected, it is hung up: what is waited for is a place in the queue.
    loop {
        match socket.connect(target.as_ref(), credentials(call), at_once) {
            Err(Errno::AGAIN) if !at_once => {
                wait_for(&file, Ready::OUT, deadline).map_err(|woken| match woken {
                    Woken::Deadline => Failure::Errno(Errno::AGAIN),
                    Woken::Signal => Failure::Interrupted,
                })?;
            }
            result => {
                result?;
                return Ok(0);
            }
        }
    }
}

/// `accept4`, and with no flags `accept`.
pub(super) fn accept(call: &Call<'_>, bits: u64) -> Answer {
    let flags = flags(bits)?;
    let listener = file(call, call.fd(0))?;
    let socket = socket_of(&listener)?;
    let deadline = deadline(call, socket, false);
    let file = patiently(&listener, Ready::IN, false, deadline, || Ok(socket.accept(flags)?))?;
    if call.arg(1) != 0 {
        let peer: Vec<u8> = socket_of(&file)?.peer_name().unwrap_or_else(|_| {
            // Gone again already.
            Name::Unnamed.to_bytes(socket.domain())
        });
        put_name(call.arg(1), call.arg(2), &peer)?;
    }
    let cloexec = flags.contains(OpenFlags::CLOEXEC);
    Ok(call.me.parts().fds().insert(file, cloexec)? as u64)
}

pub(super) fn shutdown(call: &Call<'_>) -> Answer {
    let file = file(call, call.fd(0))?;
    socket_of(&file)?.shutdown(call.arg(1))?;
    Ok(0)
}

pub(super) fn getsockname(call: &Call<'_>) -> Answer {
    let file = file(call, call.fd(0))?;
    put_name(call.arg(1), call.arg(2), &socket_of(&file)?.name())?;
    Ok(0)
}

pub(super) fn getpeername(call: &Call<'_>) -> Answer {
    let file = file(call, call.fd(0))?;
    put_name(call.arg(1), call.arg(2), &socket_of(&file)?.peer_name()?)?;
    Ok(0)
}

pub(super) fn setsockopt(call: &Call<'_>) -> Answer {
    /// No option is longer.
    const MAX: i32 = 256;
    let file = file(call, call.fd(0))?;
    let socket = socket_of(&file)?;
    let len = call.arg(4) as i32;
    if len < 0 {
        return Err(Errno::INVAL.into());
    }
    let mut value = buffer(len.min(MAX) as usize)?;
    copy_from_user(&mut value, call.arg(3))?;
    socket.set_option(call.arg(1) as u32, call.arg(2) as u32, &value)?;
    Ok(0)
}

pub(super) fn getsockopt(call: &Call<'_>) -> Answer {
    let file = file(call, call.fd(0))?;
    let socket = socket_of(&file)?;
    let room = read_u32(call.arg(4))? as i32;
    if room < 0 {
        return Err(Errno::INVAL.into());
    }
    let value = socket.option(call.arg(1) as u32, call.arg(2) as u32)?;
    let len = value.len().min(room as usize);
    copy_to_user(call.arg(3), &value[..len])?;
    copy_to_user(call.arg(4), &(len as u32).to_le_bytes())?;
    Ok(0)
}
