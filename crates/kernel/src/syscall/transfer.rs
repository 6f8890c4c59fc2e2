//! From one descriptor to another, without a program's memory between them: sendfile, copy_file_range, splice.

use super::descriptor::file;
use super::io::{chunk, read_some, write_all};
use super::user::buffer;
use super::{Answer, Call, Failure};
use crate::mm::user::{copy_to_user, read_u64};
use files::{Errno, FileType};

/// `sendfile`: from one descriptor to another.
pub(super) fn sendfile(call: &Call<'_>) -> Answer {
    let (to, from) = (file(call, call.fd(0))?, file(call, call.fd(1))?);
    // What comes from a pipe or a terminal has no end to stop at: programs go back to read and write.
    if from.queue().is_some() {
        return Err(Errno::INVAL.into());
    }
    let offset_at = call.arg(2);
    let mut offset = if offset_at == 0 { None } else { Some(read_u64(offset_at)?) };
    let count = call.arg(3).min(i64::MAX as u64) as usize;
    let mut total = 0;
    while total < count {
        let mut bytes = buffer((count - total).min(chunk()))?;
        let read = match offset {
            Some(offset) => from.read_at(offset, &mut bytes)?,
            None => read_some(&call.me, &from, &mut bytes)?,
        };
        if read == 0 {
            break;
        }
        let written = write_all(&call.me, &to, &bytes[..read])?;
        offset = offset.map(|offset| offset + written as u64);
        total += written;
        if written < read {
            break;
        }
    }
    if let Some(offset) = offset {
        copy_to_user(offset_at, &offset.to_le_bytes())?;
    }
    Ok(total as u64)
}

/// The offset that a program has put at `address`; none for 0.
fn offset(address: u64) -> Result<Option<u64>, Failure> {
    if address == 0 {
        return Ok(None);
    }
    let offset = read_u64(address)?;
    if offset > i64::MAX as u64 { Err(Errno::INVAL.into()) } else { Ok(Some(offset)) }
}

/// Writes where an offset is now, if there was one.
fn put_offset(address: u64, offset: Option<u64>) -> Result<(), Failure> {
    match offset {
        Some(offset) => Ok(copy_to_user(address, &offset.to_le_bytes())?),
        None => Ok(()),
    }
}

/// `copy_file_range`: from one regular file to another.
pub(super) fn copy_file_range(call: &Call<'_>) -> Answer {
    let (from, to) = (file(call, call.fd(0))?, file(call, call.fd(2))?);
    let (mut start, mut end) = (offset(call.arg(1))?, offset(call.arg(3))?);
    let count = call.arg(4).min(i64::MAX as u64) as usize;
    if call.arg(5) != 0 {
        return Err(Errno::INVAL.into());
    }
    let (Some(one), Some(other)) = (from.inode(), to.inode()) else {
        return Err(Errno::INVAL.into());
    };
    if one.number() == other.number() {
        let at = |offset: Option<u64>, file: &crate::task::memory::OpenFile| match offset {
            Some(offset) => Ok(offset),
            None => file.seek(0, 1),
        };
        let (start, end) = (at(start, &from)?, at(end, &to)?);
        if start.abs_diff(end) < count as u64 {
            return Err(Errno::INVAL.into());
        }
    }
    let mut total = 0;
    while total < count {
        let mut bytes = buffer((count - total).min(chunk()))?;
        let read = match start {
            Some(start) => from.read_at(start, &mut bytes)?,
            None => from.read(&mut bytes)?,
        };
        if read == 0 {
            break;
        }
        let result = match end {
            Some(end) => to.write_at(end, &bytes[..read]),
            None => to.write(&bytes[..read]),
        };
        let written = match result {
            Ok(written) => written,
            Err(_) if total > 0 => break,
            Err(errno) => return Err(errno.into()),
        };
        start = start.map(|start| start + written as u64);
        end = end.map(|end| end + written as u64);
        total += written;
    }
    put_offset(call.arg(1), start)?;
    put_offset(call.arg(3), end)?;
    Ok(total as u64)
}

/// `splice`: to or from a pipe. What is read has to be written, so this waits for room even where the pipe's end does not.
pub(super) fn splice(call: &Call<'_>) -> Answer {
    let (from, to) = (file(call, call.fd(0))?, file(call, call.fd(2))?);
    let (mut start, mut end) = (offset(call.arg(1))?, offset(call.arg(3))?);
    let is_pipe =
        |file: &crate::task::memory::OpenFile| file.metadata().file_type() == Some(FileType::Fifo);
    if !is_pipe(&from) && !is_pipe(&to) {
        return Err(Errno::INVAL.into());
    }
    if is_pipe(&from) && start.is_some() || is_pipe(&to) && end.is_some() {
        return Err(Errno::SPIPE.into());
    }
    let mut bytes = buffer((call.arg(4) as usize).min(chunk()))?;
    let read = match start {
        Some(start) => from.read_at(start, &mut bytes)?,
        None => read_some(&call.me, &from, &mut bytes)?,
    };
    let written = match end {
        Some(end) => to.write_at(end, &bytes[..read])?,
        None => write_all(&call.me, &to, &bytes[..read])?,
    };
    start = start.map(|start| start + read as u64);
    end = end.map(|end| end + written as u64);
    put_offset(call.arg(1), start)?;
    put_offset(call.arg(3), end)?;
    Ok(written as u64)
}
