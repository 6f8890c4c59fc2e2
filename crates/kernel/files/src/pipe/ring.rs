//! The buffer of a pipe.

use super::{ATOMIC, CAPACITY};
use crate::Errno;
use alloc::collections::VecDeque;

/// Up to [`CAPACITY`] bytes, first in, first out. Memory is allocated as it is needed.
#[derive(Debug, Default)]
pub(super) struct Ring {
    bytes: VecDeque<u8>,
    writes: u64,
}

impl Ring {
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Returns how many writes have put something in.
    pub(super) fn writes(&self) -> u64 {
        self.writes
    }

    /// Tells whether any write would put something in: what a writer waits for.
    pub(super) fn has_room(&self) -> bool {
        CAPACITY - self.bytes.len() >= ATOMIC
    }

    /// Takes out what there is, up to the length of `buffer`.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> usize {
        let len = buffer.len().min(self.bytes.len());
        let (front, back) = self.bytes.as_slices();
        let first = front.len().min(len);
        buffer[..first].copy_from_slice(&front[..first]);
        buffer[first..len].copy_from_slice(&back[..len - first]);
        self.bytes.drain(..len);
        len
    }

    /// Puts in what has room; up to [`ATOMIC`] bytes all or none.
    ///
    /// # Errors
    ///
    /// [`Errno::AGAIN`] for no room, [`Errno::NOMEM`].
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<usize, Errno> {
        let room = CAPACITY - self.bytes.len();
        let len = bytes.len().min(room);
        let whole = bytes.len() <= ATOMIC;
        if len == 0 || (whole && len < bytes.len()) {
            return Err(Errno::AGAIN);
        }
        self.bytes.try_reserve(len).map_err(|_| Errno::NOMEM)?;
        self.bytes.extend(&bytes[..len]);
        self.writes += 1;
        Ok(len)
    }
}
