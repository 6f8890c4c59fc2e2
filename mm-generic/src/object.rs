//! What a file-backed VMA shows.

use thiserror::Error;

use crate::frames::{OutOfFrames, PAGE_SIZE};

/// The bytes of an object could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("object cannot be read at byte {offset}")]
pub struct ReadError {
    /// Offset in the object, in bytes.
    pub offset: u64,
}

/// An object's page could not be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SharedPageError {
    /// Its bytes cannot be had: the object ends before it.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// There is no frame for it.
    #[error(transparent)]
    OutOfFrames(#[from] OutOfFrames),
}

/// Something with bytes that a VMA can show: a file, as far as an mm is concerned.
pub trait Object: Clone + PartialEq + Send + Sync + 'static {
    /// Copies bytes from `offset` to the front of `page`, at most `len` of them, and leaves the rest alone.
    ///
    /// # Errors
    ///
    /// [`ReadError`] when the bytes cannot be had; the faulting program gets a bus error.
    fn read(
        &self,
        offset: u64,
        len: usize,
        page: &mut [u8; PAGE_SIZE as usize],
    ) -> Result<(), ReadError>;
}

/// The object type of a kernel that maps no files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoObject {}

impl Object for NoObject {
    fn read(
        &self,
        _offset: u64,
        _len: usize,
        _page: &mut [u8; PAGE_SIZE as usize],
    ) -> Result<(), ReadError> {
        match *self {}
    }
}
