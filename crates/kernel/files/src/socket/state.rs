//! What the lock of a socket protects.
//!
//! `S` is the socket, and `H` what owns one: both contain a state, and this file need not know them.

use super::inbox::{Credentials, Inbox};
use super::name::Name;
use crate::tree::Inode;
use crate::wait::Level;
use crate::{Errno, WaitQueue};
use alloc::collections::VecDeque;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;

/// How far a socket has come.
pub(super) enum Phase<S, H> {
    /// Neither of the others.
    Idle,
    /// It takes connections.
    Listening {
        /// More than these do not wait.
        backlog: usize,
        /// Connections that nobody has accepted yet.
        queue: VecDeque<H>,
    },
    /// It has a peer: for good, except of datagrams.
    Connected(Weak<S>),
    /// Its datagrams have a destination on the internet, whoever is there.
    Directed,
    /// Nobody refers to it any more.
    Closed,
}

pub(super) struct State<Q: WaitQueue, S, H> {
    pub(super) phase: Phase<S, H>,
    pub(super) name: Name,
    pub(super) peer_name: Name,
    /// What its path leads to.
    pub(super) inode: Option<Arc<Inode>>,
    pub(super) inbox: Inbox<Q>,
    /// Nothing more is received, or sent: the program has said so, or the peer.
    pub(super) shut: [bool; 2],
    /// Of TCP: the peer is gone, and answers what comes now with a reset.
    pub(super) peer_is_closed: bool,
    /// For the next call that looks.
    pub(super) error: Option<Errno>,
    /// A connection that a call began without waiting is there, and no call has told yet.
    pub(super) is_untold: bool,
    /// Nobody has accepted it yet.
    pub(super) is_embryo: bool,
    /// Who has found no room here, or a full queue, and waits for it.
    pub(super) waiting: Vec<Weak<S>>,
    /// Who had no room for this socket's last message.
    pub(super) refused_by: Option<Weak<S>>,
    pub(super) credentials: Credentials,
    pub(super) peer_credentials: Credentials,
}

/// Index of [`State::shut`].
pub(super) const RECEIVE: usize = 0;
/// Index of [`State::shut`].
pub(super) const SEND: usize = 1;

impl<Q: WaitQueue, S, H> State<Q, S, H> {
    pub(super) fn new(inbox: Inbox<Q>, credentials: Credentials) -> Self {
        Self {
            phase: Phase::Idle,
            name: Name::Unnamed,
            peer_name: Name::Unnamed,
            inode: None,
            inbox,
            shut: [false; 2],
            peer_is_closed: false,
            error: None,
            is_untold: false,
            is_embryo: false,
            waiting: Vec::new(),
            refused_by: None,
            credentials,
            peer_credentials: Credentials { pid: 0, uid: u32::MAX, gid: u32::MAX },
        }
    }

    /// Tells whether a read would not wait.
    pub(super) fn is_readable(&self) -> bool {
        match &self.phase {
            Phase::Listening { queue, .. } => !queue.is_empty() || self.shut[RECEIVE],
            _ => !self.inbox.is_empty() || self.shut[RECEIVE],
        }
    }

    /// Returns the peer; `None` if there is none or it is gone.
    pub(super) fn peer(&self) -> Option<Arc<S>> {
        if let Phase::Connected(peer) = &self.phase { peer.upgrade() } else { None }
    }

    pub(super) fn is_connected(&self) -> bool {
        matches!(self.phase, Phase::Connected(_) | Phase::Directed)
    }

    pub(super) fn is_listening(&self) -> bool {
        matches!(self.phase, Phase::Listening { .. })
    }

    /// Notes that `socket` waits for room here.
    pub(super) fn add_waiting(&mut self, socket: &Weak<S>) {
        self.waiting.retain(|other| other.strong_count() > 0 && !other.ptr_eq(socket));
        self.waiting.push(socket.clone());
    }

    /// Takes those who have waited for room, if there is some.
    pub(super) fn take_waiting(&mut self) -> Vec<Weak<S>> {
        let has_room = match &self.phase {
            Phase::Listening { backlog, queue } => queue.len() <= *backlog,
            Phase::Closed => true,
            _ => self.inbox.has_room(),
        };
        if has_room { core::mem::take(&mut self.waiting) } else { Vec::new() }
    }
}

impl<Q: WaitQueue, S, H> Level for State<Q, S, H> {
    fn level(&self) -> u32 {
        u32::from(self.is_readable())
            | u32::from(self.shut[SEND]) << 1
            | u32::from(self.error.is_some()) << 2
            | u32::from(self.is_connected()) << 3
            | u32::from(self.shut[RECEIVE]) << 4
    }

    fn arrivals(&self) -> u64 {
        self.inbox.arrivals()
    }
}
