//! Two pipes between two ends: socketpair(AF_UNIX, SOCK_STREAM).
//!
//! Both ends share one lock and one queue. An end whose peer is gone still reads what the peer has
//! written; then it reads the end, and writes fail.

use super::ring::Ring;
use crate::stream::Stream;
use crate::wait::{Level, Watched};
use crate::{Errno, FileType, OpenFile, OpenFlags, Ready, WaitQueue};
use alloc::boxed::Box;
use alloc::sync::Arc;

/// Makes a pair of connected ends, both open for reading and writing. Of `flags`, the status flags
/// count.
#[must_use]
pub fn duplex<Q: WaitQueue>(flags: OpenFlags) -> crate::Pair<Q> {
    let pair = Arc::new(Watched::new(Sockets::default()));
    let flags = flags & OpenFlags::SETTABLE | OpenFlags::RDWR;
    let end = |side| -> (Box<dyn Stream<Q>>, OpenFlags) {
        (Box::new(End { pair: pair.clone(), side }), flags)
    };
    OpenFile::pair(end(0), end(1))
}

/// Both directions. `to[n]` is read by end `n`.
#[derive(Debug, Default)]
struct Sockets {
    to: [Ring; 2],
    closed: [bool; 2],
}

impl Level for Sockets {
    fn level(&self) -> u32 {
        let of = |side: usize| {
            u32::from(!self.to[side].is_empty())
                | u32::from(self.to[side].has_room()) << 1
                | u32::from(self.closed[side]) << 2
        };
        of(0) | of(1) << 3
    }

    fn arrivals(&self) -> u64 {
        self.to[0].writes() + self.to[1].writes()
    }
}

struct End<Q: WaitQueue> {
    pair: Arc<Watched<Sockets, Q>>,
    side: usize,
}

impl<Q: WaitQueue> Drop for End<Q> {
    fn drop(&mut self) {
        self.pair.change(|pair| pair.closed[self.side] = true);
    }
}

impl<Q: WaitQueue> Stream<Q> for End<Q> {
    fn kind(&self) -> FileType {
        FileType::Socket
    }

    fn label(&self) -> &'static str {
        "socket"
    }

    fn read(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        if buffer.is_empty() {
            return Ok(0);
        }
        self.pair.change(|pair| match pair.to[self.side].read(buffer) {
            0 if pair.closed[1 - self.side] => Ok(0),
            0 => Err(Errno::AGAIN),
            read => Ok(read),
        })
    }

    fn write(&self, bytes: &[u8]) -> Result<usize, Errno> {
        self.pair.change(|pair| {
            if pair.closed[1 - self.side] {
                Err(Errno::PIPE)
            } else if bytes.is_empty() {
                Ok(0)
            } else {
                pair.to[1 - self.side].write(bytes)
            }
        })
    }

    fn poll(&self) -> Ready {
        self.pair.look(|pair| {
            let gone = pair.closed[1 - self.side];
            let mut ready = Ready::readable(!pair.to[self.side].is_empty() || gone)
                | Ready::writable(pair.to[1 - self.side].has_room() || gone);
            ready.set(Ready::HUP | Ready::RDHUP, gone);
            ready
        })
    }

    fn queue(&self) -> Option<&Q> {
        Some(self.pair.queue())
    }

    fn edges(&self) -> u64 {
        self.pair.edges()
    }

    fn available(&self) -> Option<usize> {
        Some(self.pair.look(|pair| pair.to[self.side].len()))
    }
}
