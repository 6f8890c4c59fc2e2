//! Sending and receiving.

use super::connection::announce;
use super::inbox::{Letter, Received};
use super::name::Name;
use super::registry::{self, Transport};
use super::state::{Phase, RECEIVE, SEND};
use super::{Kind, Socket, Target};
use crate::{Errno, WaitQueue};
use alloc::sync::Arc;
use core::net::SocketAddr;

/// Bytes of the longest datagram of UDP.
const MAX_UDP: usize = 65_507;

impl<Q: WaitQueue> Socket<Q> {
    /// Sends `bytes`, of a stream as many as there is room for, and says how many. The letter is taken if some were.
    ///
    /// # Errors
    ///
    /// [`Errno::AGAIN`] when there is no room; [`Errno::PIPE`] when nobody will receive, for which the kernel sends
    /// `SIGPIPE`; [`Errno::NOTCONN`] and [`Errno::DESTADDRREQ`] without a destination, [`Errno::ISCONN`] with one too many;
    /// [`Errno::CONNREFUSED`], [`Errno::CONNRESET`], [`Errno::MSGSIZE`].
    pub fn send(
        self: &Arc<Self>,
        bytes: &[u8],
        target: Option<&Target>,
        letter: &mut Letter<Q>,
    ) -> Result<usize, Errno> {
        let error = self.state.change(|state| match state.error.take() {
            Some(error) => Err(error),
            None if state.shut[SEND] => Err(Errno::PIPE),
            None => Ok(()),
        });
        error?;
        match (self.kind, self.transport()) {
            (Kind::Datagram, Some(_)) => self.send_udp(bytes, target, letter),
            (Kind::Datagram, None) => self.send_local(bytes, target, letter),
            (_, transport) => self.send_connected(bytes, target, letter, transport.is_some()),
        }
    }

    fn send_connected(
        self: &Arc<Self>,
        bytes: &[u8],
        target: Option<&Target>,
        letter: &mut Letter<Q>,
        is_tcp: bool,
    ) -> Result<usize, Errno> {
        let (is_connected, peer, is_reset) = self.state.change(|state| {
            let is_reset = state.peer_is_closed;
            if is_reset {
                // The answer to what is sent now, which comes too late to be an error of this call.
                state.peer_is_closed = false;
                state.shut = [true; 2];
                state.error = Some(Errno::PIPE);
            }
            (state.is_connected(), state.peer(), is_reset)
        });
        if is_reset {
            return Ok(bytes.len());
        }
        if !is_tcp && self.kind == Kind::Stream && target.is_some() {
            return Err(if is_connected { Errno::ISCONN } else { Errno::OPNOTSUPP });
        }
        if !is_connected {
            return Err(if is_tcp { Errno::PIPE } else { Errno::NOTCONN });
        }
        let peer = peer.ok_or(Errno::PIPE)?;
        if self.is_unix() {
            letter.from = self.state.look(|state| state.name.clone());
        }
        peer.state.change(|state| {
            if matches!(state.phase, Phase::Closed) {
                return Err(Errno::PIPE);
            }
            if state.shut[RECEIVE] {
                return if is_tcp { Ok(bytes.len()) } else { Err(Errno::PIPE) };
            }
            let result = state.inbox.put(bytes, letter);
            if result == Err(Errno::AGAIN) {
                state.add_waiting(&self.me);
            }
            result
        })
    }

    /// Sends a message by AF_UNIX.
    fn send_local(
        self: &Arc<Self>,
        bytes: &[u8],
        target: Option<&Target>,
        letter: &mut Letter<Q>,
    ) -> Result<usize, Errno> {
        let receiver = match target {
            Some(target) => self.find(target)?,
            None => {
                let peer = self.state.look(|state| match &state.phase {
                    Phase::Connected(peer) => Ok(peer.upgrade()),
                    _ => Err(Errno::NOTCONN),
                });
                match peer? {
                    Some(peer) => peer,
                    None => return Err(self.lose_peer()),
                }
            }
        };
        letter.from = self.state.look(|state| state.name.clone());
        let result = receiver.state.change(|state| match &state.phase {
            Phase::Closed => Err(Errno::CONNREFUSED),
            Phase::Connected(peer) if !peer.ptr_eq(&self.me) => Err(Errno::PERM),
            _ if state.shut[RECEIVE] => Err(Errno::PIPE),
            _ => {
                let result = if receiver.is_crowded(state, self) {
                    Err(Errno::AGAIN)
                } else {
                    state.inbox.put(bytes, letter)
                };
                if result == Err(Errno::AGAIN) {
                    state.add_waiting(&self.me);
                }
                result
            }
        });
        let refused = (result == Err(Errno::AGAIN)).then(|| Arc::downgrade(&receiver));
        self.state.change(|state| state.refused_by = refused);
        match result {
            Err(Errno::CONNREFUSED) if target.is_none() => Err(self.lose_peer()),
            result => result,
        }
    }

    /// The peer of datagrams is gone: there is none from now on.
    fn lose_peer(&self) -> Errno {
        self.state.change(|state| {
            state.phase = Phase::Idle;
            state.peer_name = Name::Unnamed;
        });
        Errno::CONNREFUSED
    }

    fn send_udp(
        self: &Arc<Self>,
        bytes: &[u8],
        target: Option<&Target>,
        letter: &mut Letter<Q>,
    ) -> Result<usize, Errno> {
        if bytes.len() > MAX_UDP {
            return Err(Errno::MSGSIZE);
        }
        let destination = match target.and_then(|target| target.name.inet()) {
            Some(address) if address.port() == 0 => return Err(Errno::INVAL),
            Some(address) => registry::route(address, self.domain)?,
            None => self.state.look(|state| state.peer_name.inet()).ok_or(Errno::DESTADDRREQ)?,
        };
        self.bind_to_send()?;
        let (own, is_directed) =
            self.state.look(|state| (state.name.inet(), matches!(state.phase, Phase::Directed)));
        let mut own = own.ok_or(Errno::INVAL)?;
        if own.ip().is_unspecified() {
            own = SocketAddr::new(registry::source_for(destination.ip()), own.port());
        }
        letter.from = Name::Inet(own);
        // Who has said that it wants to hear from here, and from nowhere else, before who hears everybody.
        let hears = |socket: &Self| {
            socket.state.look(|state| match state.phase {
                Phase::Directed => (state.peer_name.inet() == Some(own)).then_some(8),
                _ => Some(0),
            })
        };
        let Some(receiver) = self.network.names.find_port(Transport::Udp, destination, hears)
        else {
            if is_directed {
                self.state.change(|state| state.error = Some(Errno::CONNREFUSED));
            }
            return Ok(bytes.len());
        };
        let result = receiver.state.change(|state| {
            if matches!(state.phase, Phase::Closed) || state.shut[RECEIVE] {
                return Ok(bytes.len());
            }
            state.inbox.put(bytes, letter)
        });
        match result {
            // There is no room, and nobody is told: that is what datagrams are like.
            Err(Errno::AGAIN) => Ok(bytes.len()),
            result => result,
        }
    }

    /// Receives what there is, or with `peek` only looks at it.
    ///
    /// # Errors
    ///
    /// [`Errno::AGAIN`] when there is nothing yet; what the peer or a call without waiting has left behind; for a socket
    /// that nothing can come to, [`Errno::NOTCONN`] and [`Errno::INVAL`].
    pub fn receive(&self, buffer: &mut [u8], peek: bool) -> Result<Received<Q>, Errno> {
        let by_sender = self.wants_credentials();
        let end = || Ok(Received { len: 0, full_len: 0, letter: None });
        let unconnected = match self.kind {
            Kind::Stream if self.is_unix() => Errno::INVAL,
            _ => Errno::NOTCONN,
        };
        let (result, waiting) = self.state.change(|state| {
            if state.is_listening() {
                return (Err(unconnected), alloc::vec::Vec::new());
            }
            if self.kind == Kind::Datagram
                && let Some(error) = state.error.take()
            {
                return (Err(error), alloc::vec::Vec::new());
            }
            if let Some(received) = state.inbox.take(buffer, peek, by_sender) {
                return (Ok(received), state.take_waiting());
            }
            let result = match state.error.take() {
                Some(error) => Err(error),
                None if state.shut[RECEIVE] => end(),
                None if self.kind == Kind::Datagram || state.is_connected() => Err(Errno::AGAIN),
                None => Err(unconnected),
            };
            (result, alloc::vec::Vec::new())
        });
        announce(waiting);
        result
    }
}
