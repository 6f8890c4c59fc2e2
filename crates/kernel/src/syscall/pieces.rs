//! Pieces of user memory: what a read fills and a write is made of.

use super::Failure;
use super::user::{buffer, list};
use crate::mm::user::{self, copy_from_user, copy_to_user, read_u64};
use alloc::vec::Vec;
use files::Errno;

/// Longest vector of `readv` and the like.
const IOV_MAX: u64 = 1024;

/// A piece of user memory.
#[derive(Clone, Copy)]
pub(super) struct Piece {
    pub(super) address: u64,
    pub(super) len: usize,
}

impl Piece {
    /// Refuses what no program can have, before anything is read or written.
    pub(super) fn new(address: u64, len: usize) -> Result<Self, Failure> {
        user::check(address, len)?;
        Ok(Self { address, len })
    }
}

/// The pieces of a read or write: one, or those of an `iovec` array.
pub(super) fn pieces(address: u64, count: u64) -> Result<Vec<Piece>, Failure> {
    if count > IOV_MAX {
        return Err(Errno::INVAL.into());
    }
    let mut all = list(count as usize)?;
    for n in 0..count {
        let at = address.wrapping_add(16 * n);
        let (address, len) = (read_u64(at)?, read_u64(at.wrapping_add(8))?);
        if len > i64::MAX as u64 {
            return Err(Errno::INVAL.into());
        }
        all.push(Piece::new(address, len as usize)?);
    }
    Ok(all)
}

/// Returns the bytes of all of them.
pub(super) fn total(pieces: &[Piece]) -> usize {
    pieces.iter().fold(0, |sum, piece| sum.saturating_add(piece.len))
}

/// Copies at most `max` bytes of `pieces`, without the first `skip`.
pub(super) fn gather(pieces: &[Piece], mut skip: usize, max: usize) -> Result<Vec<u8>, Failure> {
    let mut bytes = buffer(total(pieces).saturating_sub(skip).min(max))?;
    let mut done = 0;
    for piece in pieces {
        let skipped = skip.min(piece.len);
        skip -= skipped;
        let len = (piece.len - skipped).min(bytes.len() - done);
        let from = piece.address.wrapping_add(skipped as u64);
        copy_from_user(&mut bytes[done..done + len], from)?;
        done += len;
    }
    Ok(bytes)
}

/// Copies `bytes` to `pieces`, without the first `skip` of these.
pub(super) fn scatter(pieces: &[Piece], mut skip: usize, mut bytes: &[u8]) -> Result<(), Failure> {
    for piece in pieces {
        let skipped = skip.min(piece.len);
        skip -= skipped;
        let (part, rest) = bytes.split_at((piece.len - skipped).min(bytes.len()));
        copy_to_user(piece.address.wrapping_add(skipped as u64), part)?;
        bytes = rest;
    }
    Ok(())
}

/// Returns how many of at most `max` bytes `pieces` can take, without the first `skip`: what is received cannot be put
/// back.
pub(super) fn room(pieces: &[Piece], mut skip: usize, max: usize) -> Result<usize, Errno> {
    let mut room = 0;
    let wanted = total(pieces).saturating_sub(skip).min(max);
    for piece in pieces {
        let skipped = skip.min(piece.len);
        skip -= skipped;
        let len = (piece.len - skipped).min(wanted - room);
        let writable = user::writable_len(piece.address.wrapping_add(skipped as u64), len);
        room += writable;
        if writable < len {
            break;
        }
    }
    if room == 0 && wanted > 0 { Err(Errno::FAULT) } else { Ok(room) }
}
