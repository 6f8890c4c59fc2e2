//! Names and peers: bind, listen, connect, accept, shutdown, close.

use super::inbox::Credentials;
use super::name::Name;
use super::registry::{self, Occupant, Transport};
use super::state::{Phase, RECEIVE, SEND};
use super::{Domain, Handle, Kind, Socket, Target, description};
use crate::{Errno, OpenFile, OpenFlags, WaitQueue};
use alloc::collections::VecDeque;
use alloc::sync::{Arc, Weak};
use core::net::SocketAddr;

/// Connections that wait to be accepted, at most (`net.core.somaxconn`).
const MAX_BACKLOG: usize = 4096;

/// Who waits for the queue of a listener is noted there as who waits for room in an inbox.
type Waiting<Q> = alloc::vec::Vec<Weak<Socket<Q>>>;

/// Tells those who have waited that they may look again. Without a socket's lock.
pub(super) fn announce<Q: WaitQueue>(waiting: Waiting<Q>) {
    for socket in waiting.iter().filter_map(Weak::upgrade) {
        socket.state.announce();
    }
}

impl<Q: WaitQueue> Socket<Q> {
    /// Gives the socket a name. A path's inode, which is a socket's, has just been made for it.
    ///
    /// # Errors
    ///
    /// [`Errno::INVAL`] if it has one, [`Errno::ADDRINUSE`], [`Errno::ADDRNOTAVAIL`] for an address of another machine.
    pub fn bind(self: &Arc<Self>, target: Target) -> Result<(), Errno> {
        let _setup = self.setup.lock();
        self.check_unbound()?;
        let name = match target.name {
            Name::Path(path) => {
                let inode = target.inode.as_ref().ok_or(Errno::INVAL)?;
                self.network.names.bind_path(inode.number(), self);
                Name::Path(path)
            }
            Name::Abstract(name) => {
                Name::Abstract(self.network.names.bind_hidden(Some(name), self)?)
            }
            Name::Unnamed => Name::Abstract(self.network.names.bind_hidden(None, self)?),
            Name::Inet(address) => {
                if !registry::is_local(address.ip()) {
                    return Err(Errno::ADDRNOTAVAIL);
                }
                let transport = self.transport().ok_or(Errno::INVAL)?;
                Name::Inet(self.network.names.bind_port(
                    transport,
                    address,
                    self.sharing(),
                    self,
                )?)
            }
        };
        self.state.change(|state| {
            state.name = name;
            state.inode = target.inode;
        });
        Ok(())
    }

    /// Checks what [`Socket::bind`] does, before a path is made.
    ///
    /// # Errors
    ///
    /// [`Errno::INVAL`] if the socket has a name.
    pub fn check_unbound(&self) -> Result<(), Errno> {
        let has_name = self.state.look(|state| state.name != Name::Unnamed);
        if has_name { Err(Errno::INVAL) } else { Ok(()) }
    }

    /// Gives a socket of the internet a port, if it has none. Under `setup`.
    fn bind_somewhere(self: &Arc<Self>, ip: core::net::IpAddr) -> Result<(), Errno> {
        let Some(transport) = self.transport() else { return Ok(()) };
        if self.check_unbound().is_err() {
            return Ok(());
        }
        let address = self.network.names.bind_port(
            transport,
            SocketAddr::new(ip, 0),
            self.sharing(),
            self,
        )?;
        self.state.change(|state| state.name = Name::Inet(address));
        Ok(())
    }

    /// Gives a socket that sends a message a port to be answered at.
    pub(super) fn bind_to_send(self: &Arc<Self>) -> Result<(), Errno> {
        let _setup = self.setup.lock();
        self.bind_somewhere(self.domain.any())
    }

    /// Takes connections from now on, of which at most `backlog` wait to be accepted.
    ///
    /// # Errors
    ///
    /// [`Errno::OPNOTSUPP`] for datagrams, [`Errno::INVAL`] for a socket without a name or with a peer,
    /// [`Errno::ADDRINUSE`].
    pub fn listen(self: &Arc<Self>, backlog: i32, credentials: Credentials) -> Result<(), Errno> {
        if self.kind == Kind::Datagram {
            return Err(Errno::OPNOTSUPP);
        }
        let new_backlog = usize::try_from(backlog).unwrap_or(MAX_BACKLOG).min(MAX_BACKLOG);
        let _setup = self.setup.lock();
        if self.state.look(|state| state.is_connected()) {
            return Err(Errno::INVAL);
        }
        self.bind_somewhere(self.domain.any())?;
        let name = self.state.look(|state| state.name.clone());
        match name {
            Name::Unnamed => return Err(Errno::INVAL),
            Name::Inet(address) if self.network.names.is_taken(address, self) => {
                return Err(Errno::ADDRINUSE);
            }
            _ => {}
        }
        let waiting = self.state.change(|state| {
            state.credentials = credentials;
            if let Phase::Listening { backlog, .. } = &mut state.phase {
                *backlog = new_backlog;
            } else {
                state.phase = Phase::Listening { backlog: new_backlog, queue: VecDeque::new() };
                state.shut = [false; 2];
            }
            state.take_waiting()
        });
        announce(waiting);
        Ok(())
    }

    /// Connects to who is called `target`, or says where datagrams go; without one, undoes the latter. With `at_once`,
    /// the call must not wait.
    ///
    /// # Errors
    ///
    /// [`Errno::AGAIN`] when the queue of the other is full: wait, and try again. [`Errno::CONNREFUSED`], [`Errno::ISCONN`],
    /// [`Errno::PROTOTYPE`] for another type of socket, [`Errno::NETUNREACH`]. [`Errno::INPROGRESS`] for TCP with
    /// `at_once`: how it has come out is told by poll, and by the next look at the error.
    pub fn connect(
        self: &Arc<Self>,
        target: Option<&Target>,
        credentials: Credentials,
        at_once: bool,
    ) -> Result<(), Errno> {
        let _setup = self.setup.lock();
        let Some(target) = target else { return self.disconnect() };
        if self.kind == Kind::Datagram {
            return self.direct(target);
        }
        let is_untold = self.state.change(|state| {
            if state.is_listening() {
                return Err(if self.is_unix() { Errno::INVAL } else { Errno::ISCONN });
            }
            if state.is_connected() {
                let is_untold = core::mem::take(&mut state.is_untold);
                return if is_untold { Ok(true) } else { Err(Errno::ISCONN) };
            }
            match state.error.take() {
                Some(error) => Err(error),
                None => Ok(false),
            }
        })?;
        if is_untold {
            return Ok(());
        }
        let is_tcp = !self.is_unix();
        let had_name = self.check_unbound().is_err();
        let result = self.connect_stream(target, credentials);
        if is_tcp && !had_name && result.is_err() {
            // The port that it got for this goes back.
            let name = self.state.change(|state| core::mem::take(&mut state.name));
            self.network.names.release(&name, None, self.transport(), Arc::as_ptr(self));
        }
        match result {
            Err(Errno::CONNREFUSED) if is_tcp && at_once => {
                self.state.change(|state| state.error = Some(Errno::CONNREFUSED));
                Err(Errno::INPROGRESS)
            }
            Ok(()) if is_tcp && at_once => {
                self.state.change(|state| state.is_untold = true);
                Err(Errno::INPROGRESS)
            }
            result => result,
        }
    }

    /// Finds who is called `target`, of a family without ports.
    pub(super) fn find(&self, target: &Target) -> Result<Arc<Self>, Errno> {
        let found = match &target.name {
            Name::Abstract(name) => self.network.names.find_hidden(name),
            Name::Path(_) => {
                target.inode.as_ref().and_then(|inode| self.network.names.find_path(inode.number()))
            }
            _ => return Err(Errno::INVAL),
        };
        let found = found.ok_or(Errno::CONNREFUSED)?;
        if found.kind == self.kind { Ok(found) } else { Err(Errno::PROTOTYPE) }
    }

    fn connect_stream(
        self: &Arc<Self>,
        target: &Target,
        credentials: Credentials,
    ) -> Result<(), Errno> {
        let (listener, server_name) = if let Some(address) = target.name.inet() {
            let address = registry::route(address, self.domain)?;
            self.bind_somewhere(registry::source_for(address.ip()))?;
            let listens = |socket: &Self| socket.is_listening().then_some(0);
            let listener = self.network.names.find_port(Transport::Tcp, address, listens);
            (listener.ok_or(Errno::CONNREFUSED)?, Name::Inet(address))
        } else {
            let listener = self.find(target)?;
            let name = listener.state.look(|state| state.name.clone());
            (listener, name)
        };
        let own_name = self.state.look(|state| state.name.clone());
        // Bound to all addresses, it is seen at the one it is reached from.
        let own_name = match own_name.inet() {
            Some(own) if own.ip().is_unspecified() => {
                let ip = server_name.inet().map_or(own.ip(), |to| registry::source_for(to.ip()));
                Name::Inet(SocketAddr::new(ip, own.port()))
            }
            _ => own_name,
        };
        let server = Self::new(&self.network, listener.domain, self.kind, credentials);
        let listener_credentials = listener.state.look(|state| state.credentials);
        server.state.change(|state| {
            state.phase = Phase::Connected(self.me.clone());
            state.name = server_name.clone();
            state.peer_name = own_name.clone();
            state.credentials = listener_credentials;
            state.peer_credentials = credentials;
            state.is_embryo = true;
        });
        let server_handle = Handle(server.clone());
        // What is not taken is dropped, and so closed, without the listener's lock.
        let mut offered = Some(server_handle);
        let offer = listener.state.change(|state| {
            let shut = state.shut[RECEIVE];
            let Phase::Listening { backlog, queue } = &mut state.phase else {
                return Err(Errno::CONNREFUSED);
            };
            if shut {
                return Err(Errno::CONNREFUSED);
            }
            if queue.len() > *backlog {
                state.add_waiting(&self.me);
                return Err(Errno::AGAIN);
            }
            queue.try_reserve(1).map_err(|_| Errno::NOMEM)?;
            queue.extend(offered.take());
            Ok(())
        });
        if offer == Err(Errno::AGAIN) {
            let full = Arc::downgrade(&listener);
            self.state.change(|state| state.refused_by = Some(full));
        }
        if let Some(refused) = offered {
            // It never was: nothing to reset.
            refused.0.state.change(|state| state.phase = Phase::Idle);
        }
        offer?;
        self.state.change(|state| {
            state.name = own_name;
            state.peer_name = server_name;
            state.peer_credentials = listener_credentials;
            state.phase = Phase::Connected(Arc::downgrade(&server));
            state.refused_by = None;
        });
        Ok(())
    }

    /// Sets where datagrams go, and from whom they come.
    fn direct(self: &Arc<Self>, target: &Target) -> Result<(), Errno> {
        if let Some(address) = target.name.inet() {
            let address = registry::route(address, self.domain)?;
            let source = registry::source_for(address.ip());
            self.bind_somewhere(source)?;
            self.state.change(|state| {
                if let Name::Inet(own) = &mut state.name
                    && own.ip().is_unspecified()
                {
                    own.set_ip(source);
                }
                state.peer_name = Name::Inet(address);
                state.phase = Phase::Directed;
            });
        } else {
            let peer = self.find(target)?;
            let name = peer.state.look(|state| state.name.clone());
            self.state.change(|state| {
                state.peer_name = name;
                state.phase = Phase::Connected(Arc::downgrade(&peer));
            });
        }
        Ok(())
    }

    fn disconnect(&self) -> Result<(), Errno> {
        if self.kind != Kind::Datagram {
            // Of TCP, Linux makes a new socket of it; nobody asks.
            return Err(Errno::AFNOSUPPORT);
        }
        self.state.change(|state| {
            state.phase = Phase::Idle;
            state.peer_name = Name::Unnamed;
        });
        Ok(())
    }

    /// Takes a connection that waits.
    ///
    /// # Errors
    ///
    /// [`Errno::AGAIN`] when none does; [`Errno::OPNOTSUPP`] for datagrams, [`Errno::INVAL`] for a socket that does not
    /// listen.
    pub fn accept(&self, flags: OpenFlags) -> Result<Arc<OpenFile<Q>>, Errno> {
        if self.kind == Kind::Datagram {
            return Err(Errno::OPNOTSUPP);
        }
        let (handle, waiting) = self.state.change(|state| {
            let shut = state.shut[RECEIVE];
            let Phase::Listening { queue, .. } = &mut state.phase else {
                return Err(Errno::INVAL);
            };
            match queue.pop_front() {
                Some(handle) => Ok((handle, state.take_waiting())),
                None if shut => Err(Errno::INVAL),
                None => Err(Errno::AGAIN),
            }
        })?;
        announce(waiting);
        handle.0.state.change(|state| state.is_embryo = false);
        Ok(description(handle, flags))
    }

    /// Says that nothing more is received (0), sent (1), or both (2).
    ///
    /// # Errors
    ///
    /// [`Errno::INVAL`] for another number, [`Errno::NOTCONN`].
    pub fn shutdown(&self, how: u64) -> Result<(), Errno> {
        let (receive, send) = match how {
            0 => (true, false),
            1 => (false, true),
            2 => (true, true),
            _ => return Err(Errno::INVAL),
        };
        let peer = self.state.change(|state| {
            let may = self.is_unix() || state.is_connected() || state.is_listening();
            if !may {
                return Err(Errno::NOTCONN);
            }
            state.shut[RECEIVE] |= receive;
            state.shut[SEND] |= send && !state.is_listening();
            Ok(state.peer())
        })?;
        if let Some(peer) = peer.filter(|_| self.kind != Kind::Datagram) {
            peer.state.change(|state| {
                state.shut[RECEIVE] |= send;
                // TCP has no word for "I do not listen".
                state.shut[SEND] |= receive && self.is_unix();
            });
        }
        Ok(())
    }

    /// Ends the socket: its description is gone.
    pub(super) fn close(&self) {
        // All of this is dropped at the end, without a lock.
        let (phase, name, inode, inbox, waiting, is_embryo) = self.state.change(|state| {
            let phase = core::mem::replace(&mut state.phase, Phase::Closed);
            let inbox = core::mem::replace(&mut state.inbox, self.kind.inbox());
            let name = core::mem::take(&mut state.name);
            (phase, name, state.inode.take(), inbox, state.take_waiting(), state.is_embryo)
        });
        let number = inode.as_ref().map(|inode| inode.number());
        // A connection that was accepted has the listener's name, and did not take it.
        self.network.names.release(&name, number, self.transport(), core::ptr::from_ref(self));
        if let Phase::Connected(peer) = &phase
            && self.kind != Kind::Datagram
            && let Some(peer) = peer.upgrade()
        {
            let is_lost = !inbox.is_empty() || is_embryo;
            peer.state.change(|state| {
                state.shut[RECEIVE] = true;
                if self.domain == Domain::Unix || is_lost {
                    state.shut[SEND] = true;
                } else {
                    state.peer_is_closed = true;
                }
                if is_lost {
                    state.error = Some(Errno::CONNRESET);
                }
            });
        }
        announce(waiting);
        drop(phase);
        self.network.graveyard.bury(inbox);
    }
}
