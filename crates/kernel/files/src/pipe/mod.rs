//! Pipes and fifos: bytes that go through a buffer in the kernel.
//!
//! A pipe holds 64 KiB. A write of up to 4 KiB (`PIPE_BUF`) goes in as a whole or not at all, so
//! that the lines of several writers do not mix. A read at the end of a pipe without writers
//! returns 0, a write to one without readers fails with [`Errno::PIPE`].
//!
//! A pipe needs one queue only: readers wait while it is empty, writers while it is full.
//!
//! # Fifos
//!
//! Linux's open(2) of a fifo waits for the other end. Here it returns at once, because nothing here
//! waits, and the first read or write waits instead (returns [`Errno::AGAIN`]): until somebody has
//! opened the other end, a reader does not see the end nor a writer an error. What a program reads and
//! writes is the same; only the open is earlier. With [`OpenFlags::NONBLOCK`] it is as in Linux.

mod ring;

use crate::stream::Stream;
use crate::wait::{Level, Watched};
use crate::{Errno, FileType, OpenFile, OpenFlags, Pair, Ready, WaitQueue};
use alloc::boxed::Box;
use alloc::sync::Arc;
use ring::Ring;

/// Bytes a pipe holds.
pub const CAPACITY: usize = 65_536;

/// `PIPE_BUF`: bytes that are written together, in a pipe or elsewhere.
pub const ATOMIC: usize = 4096;

/// Makes a pipe and returns its read end and its write end. Of `flags`, the status flags count.
#[must_use]
pub fn pair<Q: WaitQueue>(flags: OpenFlags) -> Pair<Q> {
    let pipe = Arc::new(Pipe(Watched::new(State::default())));
    let status = flags & OpenFlags::SETTABLE;
    let end = |flags: OpenFlags| -> (Box<dyn Stream<Q>>, OpenFlags) {
        (Box::new(End::new(&pipe, flags)), flags)
    };
    OpenFile::pair(end(status), end(status | OpenFlags::WRONLY))
}

/// A pipe, shared by its ends.
#[derive(Debug)]
pub(crate) struct Pipe<Q>(Watched<State, Q>);

impl<Q: WaitQueue> Pipe<Q> {
    /// Makes the pipe behind a fifo, without ends.
    pub(crate) fn fifo() -> Arc<Self> {
        Arc::new(Self(Watched::new(State { fifo: true, ..State::default() })))
    }
}

/// Makes an end of `pipe` for reading, writing or both.
///
/// # Errors
///
/// [`Errno::NXIO`] for the write end of a pipe without readers, with [`OpenFlags::NONBLOCK`].
pub(crate) fn open_end<Q: WaitQueue>(
    pipe: &Arc<Pipe<Q>>,
    flags: OpenFlags,
) -> Result<impl Stream<Q> + use<Q>, Errno> {
    let unread = flags.writable() && !flags.readable() && pipe.0.look(|state| state.readers == 0);
    if unread && flags.contains(OpenFlags::NONBLOCK) {
        return Err(Errno::NXIO);
    }
    Ok(End::new(pipe, flags))
}

/// What the lock of a pipe protects.
#[derive(Debug, Default)]
struct State {
    ring: Ring,
    /// Ends open for reading and for writing.
    readers: usize,
    writers: usize,
    /// Ends that were ever opened, to tell "not yet" from "no longer".
    readers_ever: u64,
    writers_ever: u64,
    fifo: bool,
}

impl Level for State {
    fn level(&self) -> u32 {
        u32::from(!self.ring.is_empty())
            | u32::from(self.ring.has_room()) << 1
            | u32::from(self.writers == 0) << 2
            | u32::from(self.readers == 0) << 3
            // A writer to a fifo may wait for its first reader.
            | u32::from(self.readers != 0) << 4
    }

    fn arrivals(&self) -> u64 {
        self.ring.writes()
    }
}

/// What one description refers to.
#[derive(Debug)]
struct End<Q: WaitQueue> {
    pipe: Arc<Pipe<Q>>,
    reads: bool,
    writes: bool,
    /// Opened without the other end: how many of those there had been. As long as there are no more,
    /// their absence means "not yet".
    early: Option<u64>,
}

impl<Q: WaitQueue> End<Q> {
    fn new(pipe: &Arc<Pipe<Q>>, flags: OpenFlags) -> Self {
        let (reads, writes) = (flags.readable(), flags.writable());
        let waits = !flags.contains(OpenFlags::NONBLOCK);
        let early = pipe.0.change(|state| {
            let early = match (reads, writes) {
                (true, false) if state.writers == 0 => Some(state.writers_ever),
                (false, true) if state.readers == 0 => Some(state.readers_ever),
                _ => None,
            };
            state.readers += usize::from(reads);
            state.writers += usize::from(writes);
            state.readers_ever += u64::from(reads);
            state.writers_ever += u64::from(writes);
            early.filter(|_| state.fifo && waits)
        });
        Self { pipe: pipe.clone(), reads, writes, early }
    }

    /// Tells whether there is nobody to write any more.
    fn at_end(&self, state: &State) -> bool {
        state.writers == 0 && self.early != Some(state.writers_ever)
    }

    /// Tells whether there is nobody to read any more.
    fn is_broken(&self, state: &State) -> bool {
        state.readers == 0 && self.early != Some(state.readers_ever)
    }
}

impl<Q: WaitQueue> Drop for End<Q> {
    fn drop(&mut self) {
        self.pipe.0.change(|state| {
            state.readers -= usize::from(self.reads);
            state.writers -= usize::from(self.writes);
        });
    }
}

impl<Q: WaitQueue> Stream<Q> for End<Q> {
    fn kind(&self) -> FileType {
        FileType::Fifo
    }

    fn label(&self) -> &'static str {
        "pipe"
    }

    fn read(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        if buffer.is_empty() {
            return Ok(0);
        }
        self.pipe.0.change(|state| match state.ring.read(buffer) {
            0 if self.at_end(state) => Ok(0),
            0 => Err(Errno::AGAIN),
            read => Ok(read),
        })
    }

    fn write(&self, bytes: &[u8]) -> Result<usize, Errno> {
        if bytes.is_empty() {
            return Ok(0);
        }
        self.pipe.0.change(|state| {
            if self.is_broken(state) {
                Err(Errno::PIPE)
            } else if state.readers == 0 {
                Err(Errno::AGAIN)
            } else {
                state.ring.write(bytes)
            }
        })
    }

    fn poll(&self) -> Ready {
        self.pipe.0.look(|state| {
            let mut ready = Ready::empty();
            if self.reads {
                ready |= Ready::readable(!state.ring.is_empty());
                ready.set(Ready::HUP, self.at_end(state));
            }
            if self.writes {
                ready |= Ready::writable(state.ring.has_room() && state.readers != 0);
                ready.set(Ready::ERR, self.is_broken(state));
            }
            ready
        })
    }

    fn queue(&self) -> Option<&Q> {
        Some(self.pipe.0.queue())
    }

    fn edges(&self) -> u64 {
        self.pipe.0.edges()
    }

    fn available(&self) -> Option<usize> {
        Some(self.pipe.0.look(|state| state.ring.len()))
    }

    fn reopen(&self, flags: OpenFlags) -> Result<Box<dyn Stream<Q>>, Errno> {
        Ok(Box::new(open_end(&self.pipe, flags)?))
    }
}

#[cfg(test)]
mod tests;
