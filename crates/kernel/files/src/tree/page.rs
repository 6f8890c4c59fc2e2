//! A page of a file: bytes in the heap, or memory that programs may have mapped.

use crate::Errno;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;
use core::fmt::Debug;

/// Bytes of a page.
pub const PAGE_SIZE: usize = 4096;

/// A page of memory that programs may store to while the kernel reads and writes it. The kernel implements it.
pub trait SharedPage: Any + Debug + Send + Sync {
    /// Copies bytes from `start` on. The range lies within the page.
    fn read(&self, start: usize, to: &mut [u8]);

    /// Stores bytes from `start` on. The range lies within the page.
    fn write(&self, start: usize, from: &[u8]);
}

/// A page that belongs to a file.
#[derive(Debug)]
pub(super) enum Page {
    /// Nobody has mapped it.
    Own(Box<[u8]>),
    /// Somebody has, or had.
    Shared(Arc<dyn SharedPage>),
}

impl Page {
    /// Makes a page of zeros, without ending the kernel when there is no memory.
    pub(super) fn zeros() -> Result<Self, Errno> {
        let mut page = Vec::new();
        page.try_reserve_exact(PAGE_SIZE).map_err(|_| Errno::NOSPC)?;
        page.resize(PAGE_SIZE, 0);
        Ok(Self::Own(page.into_boxed_slice()))
    }

    pub(super) fn read(&self, start: usize, to: &mut [u8]) {
        match self {
            Self::Own(page) => to.copy_from_slice(&page[start..start + to.len()]),
            Self::Shared(page) => page.read(start, to),
        }
    }

    pub(super) fn write(&mut self, start: usize, from: &[u8]) {
        match self {
            Self::Own(page) => page[start..start + from.len()].copy_from_slice(from),
            Self::Shared(page) => page.write(start, from),
        }
    }

    /// Makes zeros of the bytes from `start` on.
    pub(super) fn clear_from(&mut self, start: usize) {
        match self {
            Self::Own(page) => page[start..].fill(0),
            Self::Shared(page) => page.write(start, &[0; PAGE_SIZE][start..]),
        }
    }
}
