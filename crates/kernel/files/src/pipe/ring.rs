//! The buffer of a pipe.

use super::{ATOMIC, CAPACITY};
use crate::Errno;
use alloc::collections::VecDeque;

/// Up to [`CAPACITY`] bytes, first in, first out. Memory is allocated as it is needed.
#[derive(Debug, Default)]
pub(super) struct Ring(VecDeque<u8>);

impl Ring {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Tells whether any write would put something in: what a writer waits for.
    pub(super) fn has_room(&self) -> bool {
        CAPACITY - self.0.len() >= ATOMIC
    }

    /// Takes out what there is, up to the length of `buffer`.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> usize {
        let len = buffer.len().min(self.0.len());
        let (front, back) = self.0.as_slices();
        let first = front.len().min(len);
        buffer[..first].copy_from_slice(&front[..first]);
        buffer[first..len].copy_from_slice(&back[..len - first]);
        self.0.drain(..len);
        len
    }

    /// Puts in what has room; up to [`ATOMIC`] bytes all or none.
    ///
    /// # Errors
    ///
    /// [`Errno::AGAIN`] for no room, [`Errno::NOMEM`].
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<usize, Errno> {
        let room = CAPACITY - self.0.len();
        let len = bytes.len().min(room);
        let whole = bytes.len() <= ATOMIC;
        if len == 0 || (whole && len < bytes.len()) {
            return Err(Errno::AGAIN);
        }
        self.0.try_reserve(len).map_err(|_| Errno::NOMEM)?;
        self.0.extend(&bytes[..len]);
        Ok(len)
    }
}
