//! Descriptors and what goes through them: read, write, lseek, dup, pipe, fcntl, ioctl.

use super::descriptor::{caller, file, put_pair, wait_for};
use super::pieces::{Piece, pieces};
use super::user::buffer;
use super::{Answer, Call, Failure, locks, message};
use crate::cpu::clock;
use crate::mm::frames;
use crate::mm::user::{self, copy_from_user, copy_to_user, read_u32};
use crate::sched::{Current, Woken};
use crate::signal::action::Action;
use crate::signal::info::Info;
use crate::signal::{Signal, send};
use crate::task::memory::OpenFile;
use crate::terminal;
use files::ioctl::Request;
use files::tty::Access;
use files::{Errno, OpenFlags, Ready, Seals};

/// Bytes that go through the kernel at once. More than PIPE_BUF, so that what has to be written in one
/// piece is.
const CHUNK: usize = 64 * 1024;

/// The same while memory is scarce, when no large buffer is to be had.
const SMALL_CHUNK: usize = 4 * 1024 - 96;

/// Returns how many bytes go through the kernel at once now.
pub(super) fn chunk() -> usize {
    if frames::is_scarce() { SMALL_CHUNK } else { CHUNK }
}

/// Checks that the caller may use a terminal now; otherwise it is sent a signal.
fn check_foreground(me: &Current, file: &OpenFile, access: Access) -> Result<(), Failure> {
    let Some(raised) = file.tty().and_then(|tty| tty.background(&caller(me), access)) else {
        return Ok(());
    };
    let parts = me.parts();
    let signal = Signal::new(raised.signal as u64).ok_or(Errno::IO)?;
    let evades =
        parts.signals.blocked().contains(signal) || parts.action(signal).handler == Action::IGNORE;
    if evades {
        return if access == Access::Read { Err(Errno::IO.into()) } else { Ok(()) };
    }
    terminal::send(raised);
    Err(Failure::Interrupted)
}

/// Reads into `buffer`, waiting if need be.
pub(super) fn read_some(
    me: &Current,
    file: &OpenFile,
    buffer: &mut [u8],
) -> Result<usize, Failure> {
    check_foreground(me, file, Access::Read)?;
    // A terminal may be set to return nothing after some time.
    let timing = file.tty().and_then(|tty| tty.read_timing()).filter(|timing| timing.least == 0);
    let deadline = timing.map(|timing| clock::now() + u64::from(timing.tenths) * 100_000_000);
    loop {
        match file.read(buffer) {
            Err(Errno::AGAIN) if !file.flags().contains(OpenFlags::NONBLOCK) => {
                match wait_for(file, Ready::IN | Ready::HUP | Ready::ERR, deadline) {
                    Err(Woken::Deadline) => return Ok(0),
                    result => result?,
                }
            }
            result => return Ok(result?),
        }
    }
}

/// Writes all of `bytes` unless the file does not block; returns how many were.
pub(super) fn write_all(me: &Current, file: &OpenFile, bytes: &[u8]) -> Result<usize, Failure> {
    check_foreground(me, file, Access::Write)?;
    let mut done = 0;
    while done < bytes.len() {
        let result = match file.write(&bytes[done..]) {
            Ok(0) => break,
            Ok(written) => {
                done += written;
                continue;
            }
            Err(Errno::AGAIN) if !file.flags().contains(OpenFlags::NONBLOCK) => {
                wait_for(file, Ready::OUT | Ready::ERR, None).map_err(Failure::from)
            }
            Err(Errno::PIPE) => {
                send::to_thread(me, Info::kernel(Signal::PIPE));
                Err(Errno::PIPE.into())
            }
            Err(errno) => Err(errno.into()),
        };
        if let Err(failure) = result {
            return if done > 0 { Ok(done) } else { Err(failure) };
        }
    }
    Ok(done)
}

/// Where in the file: at the description's offset, or at one of the caller's.
#[derive(Clone, Copy)]
enum At {
    Offset,
    Position(u64),
}

fn position(call: &Call<'_>, n: usize) -> Result<At, Errno> {
    let position = call.arg(n);
    if position > i64::MAX as u64 { Err(Errno::INVAL) } else { Ok(At::Position(position)) }
}

fn read_pieces(call: &Call<'_>, pieces: &[Piece], at: At) -> Answer {
    let file = file(call, call.fd(0))?;
    if let (Some(socket), At::Offset) = (file.socket(), at) {
        return message::read(call, &file, socket, pieces);
    }
    let mut total = 0;
    for piece in pieces {
        let mut done = 0;
        while done < piece.len {
            let mut len = (piece.len - done).min(chunk());
            let to = piece.address.wrapping_add(done as u64);
            if matches!(at, At::Offset) && file.queue().is_some() {
                // What is taken out of a pipe or a terminal cannot be put back.
                len = user::writable_len(to, len);
                if len == 0 {
                    let nothing: Failure = Errno::FAULT.into();
                    return if total > 0 { Ok(total as u64) } else { Err(nothing) };
                }
            }
            let mut bytes = buffer(len)?;
            // Only the first piece waits; after that, what there is is enough.
            let result = match at {
                At::Position(start) => {
                    file.read_at(start + total as u64, &mut bytes).map_err(Failure::from)
                }
                At::Offset if total > 0 && file.queue().is_some() => {
                    file.read(&mut bytes).map_err(Failure::from)
                }
                At::Offset => read_some(&call.me, &file, &mut bytes),
            };
            let read = match result {
                Ok(read) => read,
                Err(_) if total > 0 => return Ok(total as u64),
                Err(failure) => return Err(failure),
            };
            let copied = copy_to_user(to, &bytes[..read]);
            if let Err(error) = copied {
                return if total > 0 { Ok(total as u64) } else { Err(error.into()) };
            }
            total += read;
            done += read;
            if read < len {
                return Ok(total as u64);
            }
        }
    }
    Ok(total as u64)
}

fn write_pieces(call: &Call<'_>, pieces: &[Piece], at: At) -> Answer {
    let file = file(call, call.fd(0))?;
    if let (Some(socket), At::Offset) = (file.socket(), at) {
        return message::write(call, &file, socket, pieces);
    }
    let mut total = 0;
    for piece in pieces {
        let mut done = 0;
        while done < piece.len {
            let len = (piece.len - done).min(chunk());
            let mut bytes = buffer(len)?;
            let copied = copy_from_user(&mut bytes, piece.address.wrapping_add(done as u64));
            let result = match (copied, at) {
                (Err(error), _) => Err(error.into()),
                (Ok(()), At::Position(start)) => {
                    file.write_at(start + total as u64, &bytes).map_err(Failure::from)
                }
                (Ok(()), At::Offset) => write_all(&call.me, &file, &bytes),
            };
            let written = match result {
                Ok(written) => written,
                Err(_) if total > 0 => return Ok(total as u64),
                Err(failure) => return Err(failure),
            };
            total += written;
            done += written;
            if written < len {
                return Ok(total as u64);
            }
        }
    }
    if pieces.iter().all(|piece| piece.len == 0) && !file.flags().writable() {
        return Err(Errno::BADF.into());
    }
    Ok(total as u64)
}

fn one_piece(call: &Call<'_>) -> Result<[Piece; 1], Failure> {
    let len = call.arg(2);
    if len > i64::MAX as u64 {
        return Err(Errno::INVAL.into());
    }
    Ok([Piece::new(call.arg(1), len as usize)?])
}

pub(super) fn read(call: &Call<'_>) -> Answer {
    read_pieces(call, &one_piece(call)?, At::Offset)
}

pub(super) fn write(call: &Call<'_>) -> Answer {
    write_pieces(call, &one_piece(call)?, At::Offset)
}

pub(super) fn pread(call: &Call<'_>) -> Answer {
    read_pieces(call, &one_piece(call)?, position(call, 3)?)
}

pub(super) fn pwrite(call: &Call<'_>) -> Answer {
    write_pieces(call, &one_piece(call)?, position(call, 3)?)
}

pub(super) fn readv(call: &Call<'_>) -> Answer {
    read_pieces(call, &pieces(call.arg(1), call.arg(2))?, At::Offset)
}

pub(super) fn writev(call: &Call<'_>) -> Answer {
    write_pieces(call, &pieces(call.arg(1), call.arg(2))?, At::Offset)
}

pub(super) fn preadv(call: &Call<'_>) -> Answer {
    read_pieces(call, &pieces(call.arg(1), call.arg(2))?, position(call, 3)?)
}

pub(super) fn pwritev(call: &Call<'_>) -> Answer {
    write_pieces(call, &pieces(call.arg(1), call.arg(2))?, position(call, 3)?)
}

pub(super) fn close(call: &Call<'_>) -> Answer {
    let fds = call.me.parts().fds();
    let closed = fds.get(call.fd(0))?;
    fds.close(call.fd(0))?;
    locks::close(call, &closed);
    Ok(0)
}

pub(super) fn close_range(call: &Call<'_>) -> Answer {
    const UNSHARE: u64 = 2;
    const CLOEXEC: u64 = 4;
    let flags = call.arg(2);
    if flags & !(UNSHARE | CLOEXEC) != 0 {
        return Err(Errno::INVAL.into());
    }
    let (first, last) = (call.arg(0) as u32, call.arg(1) as u32);
    call.me.parts().fds().close_range(first, last, flags & CLOEXEC != 0)?;
    Ok(0)
}

pub(super) fn lseek(call: &Call<'_>) -> Answer {
    Ok(file(call, call.fd(0))?.seek(call.arg(1) as i64, call.arg(2) as u32)?)
}

pub(super) fn dup(call: &Call<'_>) -> Answer {
    Ok(call.me.parts().fds().dup(call.fd(0))? as u64)
}

pub(super) fn dup2(call: &Call<'_>) -> Answer {
    Ok(call.me.parts().fds().dup2(call.fd(0), call.fd(1))? as u64)
}

pub(super) fn dup3(call: &Call<'_>) -> Answer {
    let flags = OpenFlags::from_bits(call.arg(2) as u32).ok_or(Errno::INVAL)?;
    if !OpenFlags::CLOEXEC.contains(flags) {
        return Err(Errno::INVAL.into());
    }
    let cloexec = flags.contains(OpenFlags::CLOEXEC);
    Ok(call.me.parts().fds().dup3(call.fd(0), call.fd(1), cloexec)? as u64)
}

pub(super) fn pipe(call: &Call<'_>) -> Answer {
    make_pipe(call, 0)
}

pub(super) fn pipe2(call: &Call<'_>) -> Answer {
    make_pipe(call, call.arg(1))
}

fn make_pipe(call: &Call<'_>, flags: u64) -> Answer {
    let flags = OpenFlags::from_bits(flags as u32).ok_or(Errno::INVAL)?;
    let known = OpenFlags::CLOEXEC | OpenFlags::NONBLOCK | OpenFlags::DIRECT;
    if !known.contains(flags) {
        return Err(Errno::INVAL.into());
    }
    let pair = files::pipe::pair(flags - OpenFlags::CLOEXEC);
    put_pair(call, call.arg(0), pair, flags)
}

pub(super) fn eventfd2(call: &Call<'_>) -> Answer {
    const SEMAPHORE: u64 = 1;
    let flags = OpenFlags::from_bits((call.arg(1) & !SEMAPHORE) as u32).ok_or(Errno::INVAL)?;
    let semaphore = call.arg(1) & SEMAPHORE != 0;
    let file =
        files::eventfd::open(u64::from(call.arg(0) as u32), semaphore, flags & OpenFlags::NONBLOCK);
    let cloexec = flags.contains(OpenFlags::CLOEXEC);
    Ok(call.me.parts().fds().insert(file, cloexec)? as u64)
}

pub(super) fn fcntl(call: &Call<'_>) -> Answer {
    const FD_CLOEXEC: u64 = 1;
    let (fd, argument) = (call.fd(0), call.arg(2));
    let fds = call.me.parts().fds();
    Ok(match call.arg(1) {
        // F_DUPFD, F_DUPFD_CLOEXEC
        0 => fds.dup_from(fd, argument as i64, false)? as u64,
        1030 => fds.dup_from(fd, argument as i64, true)? as u64,
        // F_GETFD, F_SETFD
        1 => u64::from(fds.cloexec(fd)?) * FD_CLOEXEC,
        2 => {
            fds.set_cloexec(fd, argument & FD_CLOEXEC != 0)?;
            0
        }
        // F_GETFL, F_SETFL
        3 => u64::from(fds.get(fd)?.flags().bits()),
        4 => {
            let file = fds.get(fd)?;
            file.set_flags(OpenFlags::from_bits_truncate(argument as u32));
            0
        }
        // F_GETLK, F_SETLK, F_SETLKW, and the same with F_OFD_
        5 => locks::fcntl(call, &locks::Operation::Get, false)?,
        6 | 7 => locks::fcntl(call, &locks::Operation::Set(call.arg(1) == 7), false)?,
        36 => locks::fcntl(call, &locks::Operation::Get, true)?,
        37 | 38 => locks::fcntl(call, &locks::Operation::Set(call.arg(1) == 38), true)?,
        // F_ADD_SEALS, F_GET_SEALS
        1033 => {
            let file = fds.get(fd)?;
            let seals = Seals::from_bits(argument as u32).ok_or(Errno::INVAL)?;
            if !file.flags().writable() {
                return Err(Errno::PERM.into());
            }
            file.inode().ok_or(Errno::INVAL)?.add_seals(seals)?;
            0
        }
        1034 => u64::from(fds.get(fd)?.inode().ok_or(Errno::INVAL)?.seals()?.bits()),
        // F_GETPIPE_SZ
        1032 => {
            fds.get(fd)?;
            65536
        }
        _ => return Err(Errno::INVAL.into()),
    })
}

pub(super) fn ioctl(call: &Call<'_>) -> Answer {
    const FIONCLEX: u32 = 0x5450;
    const FIOCLEX: u32 = 0x5451;
    let (fd, number, value) = (call.fd(0), call.arg(1) as u32, call.arg(2));
    let fds = call.me.parts().fds();
    if number == FIOCLEX || number == FIONCLEX {
        fds.set_cloexec(fd, number == FIOCLEX)?;
        return Ok(0);
    }
    let file = fds.get(fd)?;
    let request = Request::decode(number).ok_or(Errno::NOTTY)?;
    if request.changes() {
        check_foreground(&call.me, &file, Access::Change)?;
    }
    let mut argument = [0; files::ioctl::MAX_SIZE];
    let argument = &mut argument[..request.size()];
    if request.reads() {
        copy_from_user(argument, value)?;
    }
    if let Some(raised) = file.ioctl(&caller(&call.me), request, value, argument)? {
        terminal::send(raised);
    }
    if request.writes() {
        copy_to_user(value, argument)?;
    }
    Ok(0)
}

pub(super) fn getdents64(call: &Call<'_>) -> Answer {
    let file = file(call, call.fd(0))?;
    let mut entries = buffer((call.arg(2) as usize).min(chunk()))?;
    let len = file.read_directory(&mut entries)?;
    copy_to_user(call.arg(1), &entries[..len])?;
    Ok(len as u64)
}

pub(super) fn fsync(call: &Call<'_>) -> Answer {
    file(call, call.fd(0))?.sync()?;
    Ok(0)
}

pub(super) fn ftruncate(call: &Call<'_>) -> Answer {
    let len = call.arg(1);
    if len > i64::MAX as u64 {
        return Err(Errno::INVAL.into());
    }
    file(call, call.fd(0))?.set_len(len)?;
    Ok(0)
}

pub(super) fn fallocate(call: &Call<'_>) -> Answer {
    if call.arg(1) != 0 {
        return Err(Errno::OPNOTSUPP.into());
    }
    file(call, call.fd(0))?.allocate(call.arg(2), call.arg(3))?;
    Ok(0)
}

/// Reads the number of a descriptor's event mask, for `poll`.
pub(super) fn poll_entry(address: u64) -> Result<(i32, u16), Failure> {
    let fd = read_u32(address)? as i32;
    let events = read_u32(address.wrapping_add(4))? as u16;
    Ok((fd, events))
}
