//! What is read and written without offsets: pipes, terminals, devices, counters.
//!
//! The kernel may add kinds of its own (a signalfd): it implements [`Stream`] and makes a description with
//! [`OpenFile::stream`](crate::OpenFile::stream). What a kind can do besides, as a terminal or a socket does, is found by
//! its type, with [`OpenFile::stream_as`](crate::OpenFile::stream_as); so this file need not know the kinds.

use crate::{Errno, FileType, OpenFlags, Ready, WaitQueue};
use alloc::boxed::Box;
use core::any::Any;

/// The behaviour behind an open description. See [`wait`](crate::wait) for the rules about
/// [`Errno::AGAIN`] and wake-ups.
pub trait Stream<Q: WaitQueue>: Any + Send + Sync + 'static {
    /// Returns the kind of file, for stat(2).
    fn kind(&self) -> FileType;

    /// Returns what `/proc/<pid>/fd` shows in front of the inode number, or for
    /// [`FileType::Regular`] in place of it.
    fn label(&self) -> &'static str;

    /// Takes bytes out. 0 is the end.
    ///
    /// # Errors
    ///
    /// [`Errno::AGAIN`] when there is nothing yet.
    fn read(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        let _ = buffer;
        Err(Errno::INVAL)
    }

    /// Puts bytes in, maybe fewer than given.
    ///
    /// # Errors
    ///
    /// [`Errno::AGAIN`] when there is no room yet; [`Errno::PIPE`] when nobody will read, for which the
    /// kernel sends `SIGPIPE`.
    fn write(&self, bytes: &[u8]) -> Result<usize, Errno> {
        let _ = bytes;
        Err(Errno::INVAL)
    }

    /// Returns what would not block now.
    fn poll(&self) -> Ready {
        Ready::ALWAYS
    }

    /// Returns where changes of [`Stream::poll`] are announced; `None` if there are none.
    fn queue(&self) -> Option<&Q> {
        None
    }

    /// Returns how often there was news for who waits: bits of [`Stream::poll`] that came up, and arrivals. To be read
    /// before those bits.
    fn edges(&self) -> u64 {
        0
    }

    /// Returns the bytes that can be read now: `FIONREAD`. `None` if the question has no sense.
    fn available(&self) -> Option<usize> {
        None
    }

    /// Tells whether offsets are accepted and ignored; else they are an error.
    fn ignores_offsets(&self) -> bool {
        false
    }

    /// Opens the same thing again, through `/proc/<pid>/fd`.
    ///
    /// # Errors
    ///
    /// [`Errno::NXIO`] if that is not possible.
    fn reopen(&self, flags: OpenFlags) -> Result<Box<dyn Stream<Q>>, Errno> {
        let _ = flags;
        Err(Errno::NXIO)
    }
}
