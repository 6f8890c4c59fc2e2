//! What system calls read from user memory: strings, vectors, times.

use super::Failure;
use crate::layout::PAGE_SIZE;
use crate::mm::frames;
use crate::mm::user::{copy_from_user, copy_to_user, read, read_u64};
use alloc::vec::Vec;
use files::Errno;

/// Bytes of a path, its NUL included.
const PATH_MAX: usize = files::PATH_MAX;

/// Nanoseconds in a second.
pub(super) const SECOND: u64 = 1_000_000_000;

/// Reads the string at `address`, without its NUL, of at most `max` bytes.
pub(super) fn string(address: u64, max: usize, too_long: Errno) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let mut at = address;
    loop {
        // To the end of the page: the string may end right before one that is not there.
        let len = ((PAGE_SIZE - at % PAGE_SIZE) as usize).min(256);
        let mut chunk = [0; 256];
        let chunk = &mut chunk[..len];
        copy_from_user(chunk, at)?;
        let end = chunk.iter().position(|&byte| byte == 0);
        let part = &chunk[..end.unwrap_or(len)];
        if bytes.len() + part.len() > max {
            return Err(too_long.into());
        }
        bytes.try_reserve(part.len()).map_err(|_| Errno::NOMEM)?;
        bytes.extend_from_slice(part);
        if end.is_some() {
            return Ok(bytes);
        }
        at = at.wrapping_add(len as u64);
    }
}

/// Reads a path.
pub(super) fn path(address: u64) -> Result<Vec<u8>, Failure> {
    string(address, PATH_MAX - 1, Errno::NAMETOOLONG)
}

/// Reads a null-terminated array of pointers to strings; an address of 0 is an empty one, as in Linux.
pub(super) fn strings(address: u64, max_string: usize) -> Result<Vec<Vec<u8>>, Failure> {
    /// No stack has room for more.
    const MAX: usize = kernel_exec::stack::ARG_CEILING / 8;
    let mut all: Vec<Vec<u8>> = Vec::new();
    let mut total = 0;
    if address == 0 {
        return Ok(all);
    }
    for n in 0.. {
        let pointer = read_u64(address.wrapping_add(8 * n))?;
        if pointer == 0 {
            break;
        }
        let string = string(pointer, max_string, Errno::TOOBIG)?;
        total += string.len() + 8;
        if all.len() >= MAX || total > kernel_exec::stack::ARG_CEILING {
            return Err(Errno::TOOBIG.into());
        }
        all.try_reserve(1).map_err(|_| Errno::NOMEM)?;
        all.push(string);
        // Many short ones, of which each would be allowed what large ones are not.
        if frames::is_scarce() {
            return Err(Errno::NOMEM.into());
        }
    }
    Ok(all)
}

/// Reads a `struct timespec` and returns nanoseconds.
pub(super) fn timespec(address: u64) -> Result<u64, Failure> {
    let bytes: [u8; 16] = read(address)?;
    let (seconds, nanoseconds) = split(&bytes);
    nanoseconds_of(seconds, nanoseconds, SECOND as i64)
}

/// Reads a `struct timeval` and returns nanoseconds.
pub(super) fn timeval(address: u64) -> Result<u64, Failure> {
    let bytes: [u8; 16] = read(address)?;
    let (seconds, microseconds) = split(&bytes);
    nanoseconds_of(seconds, microseconds.saturating_mul(1000), SECOND as i64)
}

fn nanoseconds_of(seconds: i64, nanoseconds: i64, limit: i64) -> Result<u64, Failure> {
    if seconds < 0 || !(0..limit).contains(&nanoseconds) {
        return Err(Errno::INVAL.into());
    }
    Ok((seconds as u64).saturating_mul(SECOND).saturating_add(nanoseconds as u64))
}

fn split(bytes: &[u8; 16]) -> (i64, i64) {
    let (mut first, mut second) = ([0; 8], [0; 8]);
    first.copy_from_slice(&bytes[..8]);
    second.copy_from_slice(&bytes[8..]);
    (i64::from_le_bytes(first), i64::from_le_bytes(second))
}

/// Writes nanoseconds as a `struct timespec`.
pub(super) fn put_timespec(address: u64, nanoseconds: u64) -> Result<(), Failure> {
    put_pair(address, nanoseconds / SECOND, nanoseconds % SECOND)
}

/// Writes nanoseconds as a `struct timeval`.
pub(super) fn put_timeval(address: u64, nanoseconds: u64) -> Result<(), Failure> {
    put_pair(address, nanoseconds / SECOND, nanoseconds % SECOND / 1000)
}

/// Writes two 64-bit numbers.
pub(super) fn put_pair(address: u64, first: u64, second: u64) -> Result<(), Failure> {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&first.to_le_bytes());
    bytes[8..].copy_from_slice(&second.to_le_bytes());
    Ok(copy_to_user(address, &bytes)?)
}

/// Makes an empty list with room for `len` things.
pub(super) fn list<T>(len: usize) -> Result<Vec<T>, Errno> {
    let mut list = Vec::new();
    list.try_reserve_exact(len).map_err(|_| Errno::NOMEM)?;
    Ok(list)
}

/// Makes a buffer of `len` zeros.
pub(super) fn buffer(len: usize) -> Result<Vec<u8>, Errno> {
    let mut buffer = list(len)?;
    buffer.resize(len, 0);
    Ok(buffer)
}
