//! What goes through sockets: send and receive in all their forms, `read` and `write` among them.
//!
//! A message is one, however many pieces of user memory it comes from or goes to. A stream goes in parts.

use super::descriptor::file;
use super::pieces::{Piece, gather, pieces, room, scatter, total};
use super::socket::{Socket, credentials, deadline, name, patiently, put_name, socket_of, target};
use super::user::{buffer, timespec};
use super::{Answer, Call, Failure};
use crate::cpu::clock;
use crate::mm::user::{copy_from_user, copy_to_user, read_u32, read_u64};
use crate::sched::WaitQueue;
use crate::signal::info::Info;
use crate::signal::{Signal, send};
use crate::task::memory::OpenFile;
use alloc::sync::Arc;
use alloc::vec::Vec;
use files::socket::{Control, Kind, Letter, Target, control_bytes, parse_control};
use files::{Errno, Ready};

/// Bytes of a stream that go through the kernel at once.
const CHUNK: usize = 64 * 1024;

/// No message is longer.
const MAX_MESSAGE: usize = 256 * 1024;

/// Bytes of control messages, at most.
const MAX_CONTROL: usize = 20 * 1024;

const OOB: u32 = 1;
const PEEK: u32 = 2;
const CTRUNC: u32 = 8;
const TRUNC: u32 = 0x20;
const DONTWAIT: u32 = 0x40;
const WAITALL: u32 = 0x100;
const ERRQUEUE: u32 = 0x2000;
const NOSIGNAL: u32 = 0x4000;
const WAITFORONE: u32 = 0x10000;
const CMSG_CLOEXEC: u32 = 0x4000_0000;

/// What is sent, and how.
struct Sent<'a> {
    pieces: &'a [Piece],
    target: Option<Target>,
    letter: Letter<WaitQueue>,
    flags: u32,
}

fn send_message(
    call: &Call<'_>,
    file: &OpenFile,
    socket: &Arc<Socket>,
    mut sent: Sent<'_>,
) -> Answer {
    if sent.flags & OOB != 0 {
        return Err(Errno::OPNOTSUPP.into());
    }
    let is_stream = socket.kind() == Kind::Stream;
    let all = total(sent.pieces);
    if !is_stream && all > MAX_MESSAGE {
        return Err(Errno::MSGSIZE.into());
    }
    let max = if is_stream { CHUNK } else { MAX_MESSAGE };
    let at_once = sent.flags & DONTWAIT != 0;
    let deadline = deadline(call, socket, true);
    let mut done = 0;
    loop {
        let result = gather(sent.pieces, done, max).and_then(|bytes| {
            patiently(file, Ready::OUT, at_once, deadline, || {
                Ok(socket.send(&bytes, sent.target.as_ref(), &mut sent.letter)?)
            })
        });
        match result {
            Ok(len) => done += len,
            Err(_) if done > 0 => return Ok(done as u64),
            Err(failure) => {
                let is_broken = failure == Failure::Errno(Errno::PIPE);
                if is_broken && is_stream && sent.flags & NOSIGNAL == 0 {
                    send::to_thread(&call.me, Info::kernel(Signal::PIPE));
                }
                return Err(failure);
            }
        }
        if !is_stream || done >= all {
            return Ok(done as u64);
        }
    }
}

/// What was received.
struct Got {
    /// Bytes that are in the pieces.
    len: usize,
    /// Bytes of the message.
    full_len: usize,
    letter: Option<Letter<WaitQueue>>,
}

fn receive_message(
    file: &OpenFile,
    socket: &Socket,
    pieces: &[Piece],
    flags: u32,
    deadline: Option<u64>,
) -> Result<Got, Failure> {
    if flags & OOB != 0 {
        return Err(Errno::INVAL.into());
    }
    if flags & ERRQUEUE != 0 {
        // Nothing is ever in there.
        return Err(Errno::AGAIN.into());
    }
    let is_stream = socket.kind() == Kind::Stream;
    let at_once = flags & DONTWAIT != 0;
    let all = total(pieces);
    let max = if is_stream { CHUNK } else { MAX_MESSAGE };
    let mut got = Got { len: 0, full_len: 0, letter: None };
    loop {
        let part = room(pieces, got.len, max).map_err(Failure::from).and_then(|room| {
            let mut bytes = buffer(room)?;
            let received = patiently(file, Ready::IN | Ready::RDHUP, at_once, deadline, || {
                Ok(socket.receive(&mut bytes, flags & PEEK != 0)?)
            })?;
            scatter(pieces, got.len, &bytes[..received.len])?;
            Ok(received)
        });
        let part = match part {
            Ok(part) => part,
            Err(_) if got.len > 0 => return Ok(got),
            Err(failure) => return Err(failure),
        };
        got.len += part.len;
        got.full_len += part.full_len;
        let is_end = part.letter.is_none();
        let has_rights = part.letter.as_ref().is_some_and(|letter| !letter.rights.is_empty());
        got.letter = got.letter.or(part.letter);
        let goes_on = is_stream && flags & WAITALL != 0 && flags & PEEK == 0;
        if !goes_on || is_end || has_rights || got.len >= all {
            return Ok(got);
        }
    }
}

/// `read` and `readv` of a socket.
pub(super) fn read(call: &Call<'_>, file: &OpenFile, socket: &Socket, pieces: &[Piece]) -> Answer {
    if total(pieces) == 0 {
        return Ok(0);
    }
    let deadline = deadline(call, socket, false);
    Ok(receive_message(file, socket, pieces, 0, deadline)?.len as u64)
}

/// `write` and `writev` of a socket.
pub(super) fn write(
    call: &Call<'_>,
    file: &OpenFile,
    socket: &Arc<Socket>,
    pieces: &[Piece],
) -> Answer {
    let letter = Letter { credentials: credentials(call), ..Letter::default() };
    send_message(call, file, socket, Sent { pieces, target: None, letter, flags: 0 })
}

/// The destination that is named at `address`, if it is not 0.
fn destination(
    call: &Call<'_>,
    socket: &Socket,
    address: u64,
    len: u64,
) -> Result<Option<Target>, Failure> {
    if address == 0 {
        return Ok(None);
    }
    let name = name(socket, address, len)?;
    Ok(name.map(|name| target(call, name)).transpose()?)
}

fn one_piece(address: u64, len: u64) -> Result<[Piece; 1], Failure> {
    let len = usize::try_from(len).ok().filter(|&len| len <= i64::MAX as usize);
    Ok([Piece::new(address, len.ok_or(Errno::INVAL)?)?])
}

pub(super) fn sendto(call: &Call<'_>) -> Answer {
    let file = file(call, call.fd(0))?;
    let socket = socket_of(&file)?;
    let pieces = one_piece(call.arg(1), call.arg(2))?;
    let target = destination(call, socket, call.arg(4), call.arg(5))?;
    let letter = Letter { credentials: credentials(call), ..Letter::default() };
    let flags = call.arg(3) as u32;
    send_message(call, &file, socket, Sent { pieces: &pieces, target, letter, flags })
}

pub(super) fn recvfrom(call: &Call<'_>) -> Answer {
    let file = file(call, call.fd(0))?;
    let socket = socket_of(&file)?;
    let pieces = one_piece(call.arg(1), call.arg(2))?;
    let flags = call.arg(3) as u32;
    let got = receive_message(&file, socket, &pieces, flags, deadline(call, socket, false))?;
    if call.arg(4) != 0 {
        put_name(call.arg(4), call.arg(5), &sender(socket, &got))?;
    }
    Ok(told_len(&got, flags) as u64)
}

/// Who has sent a message, as `struct sockaddr`: nothing where the peer says it.
fn sender(socket: &Socket, got: &Got) -> Vec<u8> {
    let from = got.letter.as_ref().map(|letter| &letter.from);
    match from {
        Some(from) if *from != files::socket::Name::Unnamed => from.to_bytes(socket.domain()),
        _ => Vec::new(),
    }
}

/// What a call returns: with `MSG_TRUNC`, how long the message was.
fn told_len(got: &Got, flags: u32) -> usize {
    if flags & TRUNC != 0 { got.full_len } else { got.len }
}

/// `struct msghdr`.
struct Header {
    at: u64,
    name: u64,
    name_len: u32,
    pieces: Vec<Piece>,
    control: u64,
    control_len: usize,
}

impl Header {
    /// Bytes of the structure.
    const SIZE: u64 = 56;

    fn read(at: u64) -> Result<Self, Failure> {
        let word = |n: u64| read_u64(at.wrapping_add(8 * n));
        if word(3)? > 1024 {
            return Err(Errno::MSGSIZE.into());
        }
        Ok(Self {
            at,
            name: word(0)?,
            name_len: read_u32(at.wrapping_add(8))?,
            pieces: pieces(word(2)?, word(3)?)?,
            control: word(4)?,
            control_len: usize::try_from(word(5)?).map_err(|_| Errno::INVAL)?,
        })
    }

    /// Writes a 32-bit number `offset` bytes behind the beginning.
    fn put(&self, offset: u64, value: u32) -> Result<(), Failure> {
        Ok(copy_to_user(self.at.wrapping_add(offset), &value.to_le_bytes())?)
    }
}

fn send_header(
    call: &Call<'_>,
    file: &OpenFile,
    socket: &Arc<Socket>,
    at: u64,
    flags: u32,
) -> Answer {
    let header = Header::read(at)?;
    let target = destination(call, socket, header.name, u64::from(header.name_len))?;
    let mut letter = Letter { credentials: credentials(call), ..Letter::default() };
    if header.control_len > 0 {
        if header.control_len > MAX_CONTROL {
            return Err(Errno::NOBUFS.into());
        }
        let mut bytes = buffer(header.control_len)?;
        copy_from_user(&mut bytes, header.control)?;
        let control = parse_control(&bytes)?;
        let fds = call.me.parts().fds();
        let files: Result<Vec<_>, _> = control.rights.iter().map(|&fd| fds.get(fd)).collect();
        letter.rights = socket.rights(files?)?;
        if let Some(claimed) = control.credentials {
            letter.credentials = claimed;
        }
    }
    send_message(call, file, socket, Sent { pieces: &header.pieces, target, letter, flags })
}

pub(super) fn sendmsg(call: &Call<'_>) -> Answer {
    let file = file(call, call.fd(0))?;
    send_header(call, &file, socket_of(&file)?, call.arg(1), call.arg(2) as u32)
}

fn receive_header(
    call: &Call<'_>,
    file: &OpenFile,
    socket: &Socket,
    at: u64,
    flags: u32,
    deadline: Option<u64>,
) -> Answer {
    const NAME_LEN_AT: u64 = 8;
    const CONTROL_LEN_AT: u64 = 40;
    const FLAGS_AT: u64 = 48;
    let header = Header::read(at)?;
    let got = receive_message(file, socket, &header.pieces, flags, deadline)?;
    if header.name != 0 {
        let name = sender(socket, &got);
        copy_to_user(header.name, &name[..name.len().min(header.name_len as usize)])?;
        header.put(NAME_LEN_AT, name.len() as u32)?;
    }
    let mut told = if got.full_len > got.len { TRUNC } else { 0 };
    let (control, is_cut) = receive_control(call, socket, &got, header.control_len, flags)?;
    copy_to_user(header.control, &control)?;
    if is_cut {
        told |= CTRUNC;
    }
    told |= flags & CMSG_CLOEXEC;
    copy_to_user(at.wrapping_add(CONTROL_LEN_AT), &(control.len() as u64).to_le_bytes())?;
    header.put(FLAGS_AT, told)?;
    Ok(told_len(&got, flags) as u64)
}

/// Makes the control messages for what was received, for `room` bytes; the descriptors in them are the caller's.
fn receive_control(
    call: &Call<'_>,
    socket: &Socket,
    got: &Got,
    room: usize,
    flags: u32,
) -> Result<(Vec<u8>, bool), Errno> {
    let Some(letter) = &got.letter else { return Ok((Vec::new(), false)) };
    let credentials = socket.wants_credentials().then_some(letter.credentials);
    let files = letter.rights.files();
    let most = Control::most_rights(room, credentials.is_some());
    let fds = call.me.parts().fds();
    let mut rights = Vec::new();
    let mut is_cut = files.len() > most;
    for file in files.iter().take(most) {
        match fds.insert(file.clone(), flags & CMSG_CLOEXEC != 0) {
            Ok(fd) => rights.push(fd),
            Err(_) => {
                is_cut = true;
                break;
            }
        }
    }
    let (bytes, cut_too) = control_bytes(&rights, credentials, room);
    Ok((bytes, is_cut || cut_too))
}

pub(super) fn recvmsg(call: &Call<'_>) -> Answer {
    let file = file(call, call.fd(0))?;
    let socket = socket_of(&file)?;
    let deadline = deadline(call, socket, false);
    receive_header(call, &file, socket, call.arg(1), call.arg(2) as u32, deadline)
}

/// Bytes of `struct mmsghdr`: a header, and the length that was sent or received.
const MANY_SIZE: u64 = 64;

pub(super) fn sendmmsg(call: &Call<'_>) -> Answer {
    let file = file(call, call.fd(0))?;
    let socket = socket_of(&file)?;
    let count = u64::from((call.arg(2) as u32).min(1024));
    for n in 0..count {
        let at = call.arg(1).wrapping_add(MANY_SIZE * n);
        match send_header(call, &file, socket, at, call.arg(3) as u32) {
            Ok(len) => {
                copy_to_user(at.wrapping_add(Header::SIZE), &(len as u32).to_le_bytes())?;
            }
            Err(_) if n > 0 => return Ok(n),
            Err(failure) => return Err(failure),
        }
    }
    Ok(count)
}

pub(super) fn recvmmsg(call: &Call<'_>) -> Answer {
    let file = file(call, call.fd(0))?;
    let socket = socket_of(&file)?;
    let count = u64::from((call.arg(2) as u32).min(1024));
    let mut flags = call.arg(3) as u32;
    let last = match call.arg(4) {
        0 => None,
        at => Some(clock::now().saturating_add(timespec(at)?)),
    };
    for n in 0..count {
        let at = call.arg(1).wrapping_add(MANY_SIZE * n);
        let deadline = deadline(call, socket, false);
        match receive_header(call, &file, socket, at, flags & !WAITFORONE, deadline) {
            Ok(len) => {
                copy_to_user(at.wrapping_add(Header::SIZE), &(len as u32).to_le_bytes())?;
            }
            Err(_) if n > 0 => return Ok(n),
            Err(failure) => return Err(failure),
        }
        if flags & WAITFORONE != 0 {
            flags |= DONTWAIT;
        }
        // As in Linux: looked at after a message, and no limit for one that does not come.
        if last.is_some_and(|last| clock::now() >= last) {
            return Ok(n + 1);
        }
    }
    Ok(count)
}
