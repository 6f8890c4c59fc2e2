//! Sockets: AF_UNIX, and the loopback of AF_INET and AF_INET6.
//!
//! There is no network, so there are no packets. A connection is two sockets that know each other, and what one sends lies
//! at once in the other's [inbox](inbox); so do datagrams. What lies beyond the loopback is unreachable.
//!
//! | file         | idea                                                                 |
//! |--------------|----------------------------------------------------------------------|
//! | `name`       | `struct sockaddr`                                                    |
//! | `registry`   | who has which name: paths, hidden names, ports                       |
//! | `inbox`      | what was sent and not received: bytes, messages, descriptors         |
//! | `state`      | what the lock of a socket protects                                   |
//! | `connection` | bind, listen, connect, accept, shutdown, close                       |
//! | `transfer`   | send and receive                                                     |
//! | `flight`     | descriptions under way, and those that get nowhere any more          |
//! | `graveyard`  | how what a closed socket leaves is dropped                           |
//! | `options`    | setsockopt and getsockopt                                            |
//! | `control`    | the ancillary data of sendmsg and recvmsg                            |
//!
//! # Who knows whom
//!
//! Descriptions own a socket through its [`Handle`], and its last one closes it. Everybody else knows it weakly: its peer,
//! its names, and who waits for room in its inbox. A connection that nobody has accepted is owned by the listener.
//!
//! # Locks
//!
//! `setup` of a socket, which whoever names or connects it holds; the network's; a socket's state. Of the last only one at a
//! time: a sender looks at its own, lets go, and then changes the receiver's. What comes between counts as earlier or
//! later, as if the other processor had been faster or slower.
//!
//! # Waiting for somebody else's room
//!
//! Whether a socket can be written to is a matter of its peer's inbox. Who asks and finds no room there is noted under that
//! inbox's lock ([`State::add_waiting`]), and whoever makes room under that lock announces it on the queues of those noted.
//! So the argument of [`wait`](crate::wait) holds with the peer's lock for the object's: a waiter is on its own queue, looks
//! under the peer's lock, and either sees the room or is seen.

mod connection;
mod control;
mod flight;
mod graveyard;
mod inbox;
mod name;
mod options;
mod registry;
mod state;
#[cfg(test)]
mod tests;
mod transfer;

pub use control::{Control, control_bytes, parse_control};
pub use flight::Rights;
pub use inbox::{Credentials, Letter, Received};
pub use name::{Domain, MAX_NAME, Name};

use crate::stream::Stream;
use crate::tree::Inode;
use crate::wait::Watched;
use crate::{Errno, FileType, OpenFile, OpenFlags, Pair, Ready, WaitQueue};
use alloc::boxed::Box;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::fmt;
use flight::Flight;
use graveyard::Graveyard;
use inbox::Inbox;
use kernel_sync::Mutex;
use options::{Options, Reuse};
use registry::{Occupant, Registry, Transport};
use state::{Phase, RECEIVE, SEND, State};

/// A type of socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `SOCK_STREAM`: a connection of bytes.
    Stream,
    /// `SOCK_DGRAM`: messages, each by itself.
    Datagram,
    /// `SOCK_SEQPACKET`: a connection of messages.
    Packets,
}

impl Kind {
    /// Finds the type with Linux's number.
    #[must_use]
    pub const fn new(number: u64) -> Option<Self> {
        match number {
            1 => Some(Self::Stream),
            2 => Some(Self::Datagram),
            5 => Some(Self::Packets),
            _ => None,
        }
    }

    fn inbox<Q: WaitQueue>(self) -> Inbox<Q> {
        Inbox::new(self == Self::Stream, self != Self::Datagram)
    }

    const fn number(self) -> i32 {
        match self {
            Self::Stream => 1,
            Self::Datagram => 2,
            Self::Packets => 5,
        }
    }
}

/// What a path, or a name without one, stands for.
#[derive(Clone, Debug)]
pub struct Target {
    /// The name.
    pub name: Name,
    /// What the path leads to, if it is one.
    pub inode: Option<Arc<Inode>>,
}

/// What all sockets share.
pub struct Network<Q: WaitQueue> {
    names: Registry<Socket<Q>>,
    graveyard: Graveyard<Inbox<Q>>,
    flight: Flight<Q>,
}

impl<Q: WaitQueue> Default for Network<Q> {
    fn default() -> Self {
        Self {
            names: Registry::default(),
            graveyard: Graveyard::default(),
            flight: Flight::default(),
        }
    }
}

impl<Q: WaitQueue> fmt::Debug for Network<Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.names.fmt(f)
    }
}

/// What the lock of a socket protects.
type Inside<Q> = State<Q, Socket<Q>, Handle<Q>>;

/// A socket.
pub struct Socket<Q: WaitQueue> {
    me: Weak<Self>,
    domain: Domain,
    kind: Kind,
    network: Arc<Network<Q>>,
    state: Watched<Inside<Q>, Q>,
    options: Mutex<Options>,
    /// Held while the socket gets a name or a peer.
    setup: Mutex<()>,
}

/// What a description owns of a socket: with it the socket is closed.
pub struct Handle<Q: WaitQueue>(Arc<Socket<Q>>);

impl<Q: WaitQueue> Drop for Handle<Q> {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl<Q: WaitQueue> fmt::Debug for Socket<Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Socket({:?} {:?})", self.domain, self.kind)
    }
}

/// Makes a socket for a program that is `credentials`.
///
/// # Errors
///
/// [`Errno::SOCKTNOSUPPORT`] and [`Errno::PROTONOSUPPORT`] for what the family does not have.
pub fn open<Q: WaitQueue>(
    network: &Arc<Network<Q>>,
    domain: Domain,
    kind: Kind,
    protocol: u64,
    flags: OpenFlags,
    credentials: Credentials,
) -> Result<Arc<OpenFile<Q>>, Errno> {
    const TCP: u64 = 6;
    const UDP: u64 = 17;
    match (domain, kind, protocol) {
        (Domain::Unix, _, 0 | 1) => {}
        (Domain::Unix, ..) => return Err(Errno::PROTONOSUPPORT),
        (_, Kind::Packets, _) => return Err(Errno::SOCKTNOSUPPORT),
        (_, Kind::Stream, 0 | TCP) | (_, Kind::Datagram, 0 | UDP) => {}
        _ => return Err(Errno::PROTONOSUPPORT),
    }
    let socket = Socket::new(network, domain, kind, credentials);
    Ok(description(Handle(socket), flags))
}

/// Makes two sockets that are connected: socketpair(2).
///
/// # Errors
///
/// [`Errno::OPNOTSUPP`] for another family than [`Domain::Unix`].
pub fn pair<Q: WaitQueue>(
    network: &Arc<Network<Q>>,
    domain: Domain,
    kind: Kind,
    flags: OpenFlags,
    credentials: Credentials,
) -> Result<Pair<Q>, Errno> {
    if domain != Domain::Unix {
        return Err(Errno::OPNOTSUPP);
    }
    let make = || Socket::new(network, domain, kind, credentials);
    let (one, two) = (make(), make());
    for (socket, peer) in [(&one, &two), (&two, &one)] {
        socket.state.change(|state| {
            state.phase = Phase::Connected(Arc::downgrade(peer));
            state.peer_credentials = credentials;
        });
    }
    Ok((description(Handle(one), flags), description(Handle(two), flags)))
}

fn description<Q: WaitQueue>(handle: Handle<Q>, flags: OpenFlags) -> Arc<OpenFile<Q>> {
    OpenFile::stream(Box::new(handle), flags & OpenFlags::NONBLOCK | OpenFlags::RDWR)
}

impl<Q: WaitQueue> Socket<Q> {
    fn new(
        network: &Arc<Network<Q>>,
        domain: Domain,
        kind: Kind,
        credentials: Credentials,
    ) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            domain,
            kind,
            network: network.clone(),
            state: Watched::new(State::new(kind.inbox(), credentials)),
            options: Mutex::default(),
            setup: Mutex::new(()),
        })
    }

    /// Returns the family.
    #[must_use]
    pub fn domain(&self) -> Domain {
        self.domain
    }

    /// Returns the type.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    fn is_unix(&self) -> bool {
        self.domain == Domain::Unix
    }

    /// The protocol that ports belong to; none for names without.
    fn transport(&self) -> Option<Transport> {
        match (self.domain, self.kind) {
            (Domain::Unix, _) => None,
            (_, Kind::Datagram) => Some(Transport::Udp),
            _ => Some(Transport::Tcp),
        }
    }

    /// How the socket shares its name.
    fn sharing(&self) -> (bool, Reuse) {
        let options = self.options.lock();
        (options.v6_only(), options.reuse())
    }

    /// Returns the socket's own name, as `struct sockaddr`.
    #[must_use]
    pub fn name(&self) -> Vec<u8> {
        self.state.look(|state| state.name.clone()).to_bytes(self.domain)
    }

    /// Returns the peer's.
    ///
    /// # Errors
    ///
    /// [`Errno::NOTCONN`].
    pub fn peer_name(&self) -> Result<Vec<u8>, Errno> {
        let name = self.state.look(|state| state.is_connected().then(|| state.peer_name.clone()));
        Ok(name.ok_or(Errno::NOTCONN)?.to_bytes(self.domain))
    }

    /// Sets an option.
    ///
    /// # Errors
    ///
    /// [`Errno::NOPROTOOPT`] for one that is not known, [`Errno::INVAL`] and others for a value.
    pub fn set_option(&self, level: u32, number: u32, value: &[u8]) -> Result<(), Errno> {
        self.options.lock().set(level, number, value)
    }

    /// Tells an option. An error that is told is over.
    ///
    /// # Errors
    ///
    /// [`Errno::NOPROTOOPT`] for one that is not known.
    pub fn option(&self, level: u32, number: u32) -> Result<Vec<u8>, Errno> {
        const TYPE: u32 = 3;
        const ERROR: u32 = 4;
        const PEERCRED: u32 = 17;
        const ACCEPTCONN: u32 = 30;
        const PROTOCOL: u32 = 38;
        const DOMAIN: u32 = 39;
        if level != options::SOCKET {
            return self.options.lock().get(level, number);
        }
        let value = match number {
            TYPE => self.kind.number(),
            ERROR => self.state.change(|state| state.error.take()).map_or(0, Errno::number),
            ACCEPTCONN => i32::from(self.is_listening()),
            PROTOCOL => match self.transport() {
                None => 0,
                Some(Transport::Tcp) => 6,
                Some(Transport::Udp) => 17,
            },
            DOMAIN => i32::from(self.domain.number()),
            PEERCRED => {
                let Credentials { pid, uid, gid } = self.state.look(|state| state.peer_credentials);
                return Ok([pid, uid, gid].iter().flat_map(|id| id.to_le_bytes()).collect());
            }
            _ => return self.options.lock().get(level, number),
        };
        Ok(value.to_le_bytes().to_vec())
    }

    /// Returns how long a receiver, or with `sends` a sender, waits at most, in nanoseconds.
    #[must_use]
    pub fn timeout(&self, sends: bool) -> Option<u64> {
        self.options.lock().timeout(sends)
    }

    /// Tells whether what is received comes with who has sent it (`SO_PASSCRED`).
    #[must_use]
    pub fn wants_credentials(&self) -> bool {
        self.options.lock().wants_credentials()
    }

    /// Sends descriptions on their way: for a [`Letter`].
    ///
    /// # Errors
    ///
    /// [`Errno::TOOMANYREFS`] when too many are under way.
    pub fn rights(&self, files: Vec<Arc<OpenFile<Q>>>) -> Result<Rights<Q>, Errno> {
        let contents = |file: &OpenFile<Q>| match file.socket() {
            Some(socket) => socket.state.look(|state| state.inbox.rights()),
            None => Vec::new(),
        };
        let mut lost = Vec::new();
        let empty = |file: &OpenFile<Q>| {
            if let Some(socket) = file.socket() {
                let inbox = socket.kind.inbox();
                lost.push(socket.state.change(|state| core::mem::replace(&mut state.inbox, inbox)));
            }
        };
        let rights = self.network.flight.send(files, contents, empty);
        for inbox in lost {
            self.network.graveyard.bury(inbox);
        }
        rights
    }

    /// Tells whether `sender` has room here; otherwise it is told when there is some.
    fn has_room_for(&self, sender: &Self) -> bool {
        self.state.look(|state| {
            let has_room = state.inbox.has_room() && !self.is_crowded(state, sender)
                || matches!(state.phase, Phase::Closed);
            if !has_room {
                state.add_waiting(&sender.me);
            }
            has_room
        })
    }

    /// Tells whether so many messages wait that a stranger has to (`net.unix.max_dgram_qlen`).
    fn is_crowded(&self, state: &Inside<Q>, sender: &Self) -> bool {
        const MAX_MESSAGES: usize = 10;
        let knows = matches!(&state.phase, Phase::Connected(peer) if peer.ptr_eq(&sender.me));
        self.is_unix() && self.kind == Kind::Datagram && !knows && state.inbox.len() > MAX_MESSAGES
    }

    /// Returns what would not block now.
    fn readiness(&self) -> Ready {
        enum Room<T> {
            Is(bool),
            AskOf(Option<T>),
        }
        let connection = self.kind != Kind::Datagram;
        let (mut ready, room) = self.state.look(|state| {
            let mut ready = Ready::readable(state.is_readable());
            let both = state.shut[RECEIVE] && state.shut[SEND];
            ready.set(Ready::RDHUP, state.shut[RECEIVE]);
            ready.set(Ready::ERR, state.error.is_some());
            let is_unconnected = connection && matches!(state.phase, Phase::Idle);
            ready.set(Ready::HUP, both || is_unconnected);
            let room = match &state.phase {
                Phase::Listening { .. } => Room::Is(false),
                _ if state.shut[SEND] || state.error.is_some() || state.peer_is_closed => {
                    Room::Is(true)
                }
                _ if let Some(other) = &state.refused_by => Room::AskOf(other.upgrade()),
                Phase::Connected(peer) => Room::AskOf(peer.upgrade()),
                _ => Room::Is(true),
            };
            (ready, room)
        });
        let has_room = match room {
            Room::Is(has_room) => has_room,
            Room::AskOf(other) => other.is_none_or(|other| other.has_room_for(self)),
        };
        ready |= Ready::writable(has_room);
        ready
    }
}

impl<Q: WaitQueue> Occupant for Socket<Q> {
    fn is_listening(&self) -> bool {
        self.state.look(|state| state.is_listening())
    }
}

impl<Q: WaitQueue> OpenFile<Q> {
    /// Returns the socket, if this is one.
    #[must_use]
    pub fn socket(&self) -> Option<&Arc<Socket<Q>>> {
        self.stream_as::<Handle<Q>>().map(|handle| &handle.0)
    }
}

impl<Q: WaitQueue> Stream<Q> for Handle<Q> {
    fn kind(&self) -> FileType {
        FileType::Socket
    }

    fn label(&self) -> &'static str {
        "socket"
    }

    fn read(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        Ok(self.0.receive(buffer, false)?.len)
    }

    fn write(&self, bytes: &[u8]) -> Result<usize, Errno> {
        self.0.send(bytes, None, &mut Letter::default())
    }

    fn poll(&self) -> Ready {
        self.0.readiness()
    }

    fn queue(&self) -> Option<&Q> {
        Some(self.0.state.queue())
    }

    fn edges(&self) -> u64 {
        self.0.state.edges()
    }

    fn available(&self) -> Option<usize> {
        Some(self.0.state.look(|state| state.inbox.available()))
    }
}
