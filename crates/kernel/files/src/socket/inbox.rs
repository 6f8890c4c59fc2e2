//! What has been sent to a socket and not yet received.
//!
//! Each socket has one, and only it takes from there. A stream's bytes run together, except where descriptors came with
//! them: a receiver that gets descriptors gets no bytes from behind those that they were sent with. Messages stay apart.

use super::flight::Rights;
use super::name::Name;
use crate::{Errno, OpenFile, WaitQueue};
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Bytes that wait at most: Linux's default.
pub(super) const CAPACITY: usize = 212_992;

/// What a packet costs besides its bytes.
const PACKET_COST: usize = 512;

/// Room that a sender waits for.
const LEAST_ROOM: usize = 4096;

/// Bytes of a stream up to which what is sent is added to what was sent before.
const RUN: usize = 16 * 1024;

/// Who has sent something: `struct ucred`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    /// Process.
    pub pid: u32,
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// What is sent, besides the bytes.
#[derive(Debug)]
pub struct Letter<Q: WaitQueue> {
    /// The sender's name.
    pub from: Name,
    /// Who the sender is.
    pub credentials: Credentials,
    /// Descriptions that the receiver gets descriptors of.
    pub rights: Rights<Q>,
}

impl<Q: WaitQueue> Default for Letter<Q> {
    fn default() -> Self {
        Self { from: Name::Unnamed, credentials: Credentials::default(), rights: Rights::default() }
    }
}

/// What was received.
#[derive(Debug)]
pub struct Received<Q: WaitQueue> {
    /// Bytes that are in the buffer.
    pub len: usize,
    /// Bytes of the message: more than `len` if the buffer was too short.
    pub full_len: usize,
    /// What came with them; nothing at the end of a stream.
    pub letter: Option<Letter<Q>>,
}

struct Packet<Q: WaitQueue> {
    bytes: Vec<u8>,
    taken: usize,
    letter: Letter<Q>,
}

/// The packets for one socket.
pub(super) struct Inbox<Q: WaitQueue> {
    packets: VecDeque<Packet<Q>>,
    /// What the packets cost.
    used: usize,
    arrivals: u64,
    is_stream: bool,
    /// Of a connection, though maybe of messages.
    is_connection: bool,
    /// A message had no room. Until something is taken there counts as being none, or its sender would wait for something
    /// that poll says is there.
    has_refused: bool,
}

impl<Q: WaitQueue> Inbox<Q> {
    pub(super) fn new(is_stream: bool, is_connection: bool) -> Self {
        Self {
            packets: VecDeque::new(),
            used: 0,
            arrivals: 0,
            is_stream,
            is_connection,
            has_refused: false,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// Returns how many messages wait.
    pub(super) fn len(&self) -> usize {
        self.packets.len()
    }

    /// Returns how often something came.
    pub(super) fn arrivals(&self) -> u64 {
        self.arrivals
    }

    /// Tells whether a sender need not wait.
    pub(super) fn has_room(&self) -> bool {
        !self.has_refused && CAPACITY.saturating_sub(self.used) >= LEAST_ROOM
    }

    /// Returns the bytes that can be read now: all of a connection's, else those of the next message.
    pub(super) fn available(&self) -> usize {
        let left = |packet: &Packet<Q>| packet.bytes.len() - packet.taken;
        if self.is_connection {
            self.packets.iter().map(left).sum()
        } else {
            self.packets.front().map_or(0, left)
        }
    }

    /// Returns the descriptions that are in here.
    pub(super) fn rights(&self) -> Vec<Arc<OpenFile<Q>>> {
        self.packets.iter().flat_map(|packet| packet.letter.rights.files()).cloned().collect()
    }

    /// Puts bytes in: of a stream as many as there is room for, else all or none. The letter is taken if they are.
    ///
    /// # Errors
    ///
    /// [`Errno::AGAIN`] for no room, [`Errno::MSGSIZE`] for a message that never has any, [`Errno::NOMEM`].
    pub(super) fn put(&mut self, bytes: &[u8], letter: &mut Letter<Q>) -> Result<usize, Errno> {
        let room = CAPACITY.saturating_sub(self.used);
        let len = if self.is_stream { bytes.len().min(room) } else { bytes.len() };
        if !self.is_stream && len + PACKET_COST > CAPACITY {
            return Err(Errno::MSGSIZE);
        }
        if self.is_stream && len == 0 {
            return if bytes.is_empty() { Ok(0) } else { Err(Errno::AGAIN) };
        }
        if !self.is_stream && len + PACKET_COST > room {
            self.has_refused = true;
            return Err(Errno::AGAIN);
        }
        let bytes = &bytes[..len];
        if self.is_stream
            && letter.rights.is_empty()
            && let Some(last) = self.packets.back_mut()
            && last.letter.rights.is_empty()
            && last.letter.credentials == letter.credentials
            && last.bytes.len() + len <= RUN
        {
            last.bytes.try_reserve(len).map_err(|_| Errno::NOMEM)?;
            last.bytes.extend_from_slice(bytes);
            self.used += len;
            self.arrivals += 1;
            return Ok(len);
        }
        let mut copy = Vec::new();
        copy.try_reserve_exact(len).map_err(|_| Errno::NOMEM)?;
        copy.extend_from_slice(bytes);
        self.packets.try_reserve(1).map_err(|_| Errno::NOMEM)?;
        let letter = core::mem::take(letter);
        self.packets.push_back(Packet { bytes: copy, taken: 0, letter });
        self.used += len + PACKET_COST;
        self.arrivals += 1;
        Ok(len)
    }

    /// Takes bytes out, or with `peek` only looks at them; `None` when there is nothing. With `by_sender`, what different
    /// senders have put into a stream stays apart.
    pub(super) fn take(
        &mut self,
        buffer: &mut [u8],
        peek: bool,
        by_sender: bool,
    ) -> Option<Received<Q>> {
        if self.is_stream {
            return self.take_stream(buffer, peek, by_sender);
        }
        let packet = self.packets.front_mut()?;
        let full_len = packet.bytes.len();
        let len = full_len.min(buffer.len());
        buffer[..len].copy_from_slice(&packet.bytes[..len]);
        let letter =
            if peek { copy_of(&packet.letter) } else { core::mem::take(&mut packet.letter) };
        if !peek {
            self.used -= full_len + PACKET_COST;
            self.has_refused = false;
            self.packets.pop_front();
        }
        Some(Received { len, full_len, letter: Some(letter) })
    }

    fn take_stream(
        &mut self,
        buffer: &mut [u8],
        peek: bool,
        by_sender: bool,
    ) -> Option<Received<Q>> {
        let mut len = 0;
        let mut at = 0;
        let mut letter: Option<Letter<Q>> = None;
        while len < buffer.len() || letter.is_none() {
            let Some(packet) = self.packets.get_mut(at) else { break };
            let other_sender =
                |first: &Letter<Q>| by_sender && packet.letter.credentials != first.credentials;
            if letter.as_ref().is_some_and(other_sender) {
                break;
            }
            let part = (packet.bytes.len() - packet.taken).min(buffer.len() - len);
            buffer[len..len + part]
                .copy_from_slice(&packet.bytes[packet.taken..packet.taken + part]);
            len += part;
            let had_rights = !packet.letter.rights.is_empty();
            let whole = letter.get_or_insert_with(|| Letter {
                rights: Rights::default(),
                from: packet.letter.from.clone(),
                credentials: packet.letter.credentials,
            });
            if had_rights {
                // Handed over once.
                whole.rights = if peek {
                    packet.letter.rights.clone()
                } else {
                    core::mem::take(&mut packet.letter.rights)
                };
            }
            if peek {
                at += 1;
            } else {
                packet.taken += part;
                self.used -= part;
                if packet.taken == packet.bytes.len() {
                    self.used -= PACKET_COST;
                    self.packets.pop_front();
                }
            }
            if had_rights || len == buffer.len() {
                break;
            }
        }
        letter.map(|letter| Received { len, full_len: len, letter: Some(letter) })
    }
}

fn copy_of<Q: WaitQueue>(letter: &Letter<Q>) -> Letter<Q> {
    let Letter { from, credentials, rights } = letter;
    Letter { from: from.clone(), credentials: *credentials, rights: rights.clone() }
}

#[cfg(test)]
mod tests {
    use super::super::flight::Flight;
    use super::*;
    use crate::OpenFlags;
    use crate::eventfd;
    use crate::testing::Bell;
    use alloc::vec;

    fn put(inbox: &mut Inbox<Bell>, bytes: &[u8]) -> Result<usize, Errno> {
        inbox.put(bytes, &mut Letter::default())
    }

    fn take(inbox: &mut Inbox<Bell>, len: usize) -> Option<Vec<u8>> {
        let mut buffer = vec![0; len];
        let received = inbox.take(&mut buffer, false, false)?;
        buffer.truncate(received.len);
        Some(buffer)
    }

    #[test]
    fn a_stream_runs_together_and_messages_do_not() {
        let mut stream = Inbox::new(true, true);
        let mut messages = Inbox::new(false, false);
        for inbox in [&mut stream, &mut messages] {
            put(inbox, b"one").expect("room");
            put(inbox, b"two").expect("room");
        }
        assert_eq!(stream.available(), 6);
        assert_eq!(take(&mut stream, 4), Some(b"onet".to_vec()));
        assert_eq!(take(&mut stream, 4), Some(b"wo".to_vec()));
        assert_eq!(take(&mut stream, 4), None);
        assert_eq!(messages.available(), 3);
        assert_eq!(take(&mut messages, 2), Some(b"on".to_vec()), "the rest is lost");
        assert_eq!(take(&mut messages, 9), Some(b"two".to_vec()));
        assert_eq!((stream.used, messages.used), (0, 0));
    }

    #[test]
    fn a_stream_takes_what_has_room_and_a_message_goes_as_a_whole() {
        let mut stream = Inbox::new(true, true);
        let much = vec![1; CAPACITY];
        assert_eq!(put(&mut stream, &much), Ok(CAPACITY));
        assert_eq!(put(&mut stream, b"x"), Err(Errno::AGAIN));
        assert!(!stream.has_room());
        let mut messages = Inbox::new(false, false);
        assert_eq!(put(&mut messages, &much), Err(Errno::MSGSIZE));
        assert_eq!(put(&mut messages, &much[..CAPACITY / 2]), Ok(CAPACITY / 2));
        assert_eq!(put(&mut messages, &much[..CAPACITY / 2]), Err(Errno::AGAIN));
        assert!(!messages.has_room(), "not for that one, and a smaller one has to wait its turn");
        assert!(take(&mut messages, 0).is_some());
        assert!(messages.has_room());
        let mut empty = 0;
        while put(&mut messages, b"").is_ok() {
            empty += 1;
        }
        assert!(empty <= CAPACITY / PACKET_COST, "messages without bytes cost something too");
    }

    #[test]
    fn descriptors_come_with_their_bytes_and_end_a_read() {
        let mut stream: Inbox<Bell> = Inbox::new(true, true);
        let file = eventfd::open(0, false, OpenFlags::empty());
        put(&mut stream, b"before").expect("room");
        let rights =
            Flight::default().send(vec![file.clone()], |_| Vec::new(), |_| ()).expect("few");
        let mut letter = Letter { rights, ..Letter::default() };
        assert_eq!(stream.put(b"with", &mut letter), Ok(4));
        put(&mut stream, b"behind").expect("room");
        let mut buffer = [0; 20];
        let mut receive = |peek| {
            let received = stream.take(&mut buffer, peek, false).expect("bytes");
            (received.len, received.letter.expect("a letter").rights.files().len())
        };
        assert_eq!(receive(true), (10, 1), "a look takes nothing");
        assert_eq!(receive(false), (10, 1));
        assert_eq!(receive(false), (6, 0));
        assert_eq!(Arc::strong_count(&file), 1);
    }
}
