//! Who is called what: the names that sockets are found by.
//!
//! A name leads to its socket weakly, and the socket gives it back when it is closed. The lock here is taken before a
//! socket's, never under one. `S` is the socket: all that has to be known of it is [`Occupant`].

use super::name::{Domain, Name};
use super::options::Reuse;
use crate::Errno;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, SocketAddr};
use core::ops::RangeInclusive;
use kernel_sync::Mutex;

/// Ports for who does not ask for one: Linux's default range.
const EPHEMERAL: RangeInclusive<u16> = 32_768..=60_999;

/// The protocols with ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Tcp,
    Udp,
}

/// Who has a name.
pub(super) trait Occupant {
    /// Tells whether it takes connections.
    fn is_listening(&self) -> bool;
}

/// The names of all sockets.
pub(super) struct Registry<S>(Mutex<Names<S>>);

struct Names<S> {
    /// By what follows the NUL.
    hidden: BTreeMap<Vec<u8>, Weak<S>>,
    /// By the number of the inode that a path leads to.
    paths: BTreeMap<u64, Weak<S>>,
    ports: [BTreeMap<u16, Vec<Bound<S>>>; 2],
    /// Where the search for a free port goes on.
    next_port: u16,
    next_hidden: u32,
}

struct Bound<S> {
    ip: IpAddr,
    /// All of IPv6, and not of IPv4.
    v6_only: bool,
    reuse: Reuse,
    socket: Weak<S>,
}

impl<S> Bound<S> {
    /// Tells whether what is sent to `ip` comes here, and how well the name fits.
    fn fits(&self, ip: IpAddr) -> Option<u32> {
        match (self.ip, ip) {
            (own, ip) if own == ip => Some(2),
            (IpAddr::V4(own), IpAddr::V4(_)) if own.is_unspecified() => Some(1),
            (IpAddr::V6(own), IpAddr::V6(_)) if own.is_unspecified() => Some(1),
            (IpAddr::V6(own), IpAddr::V4(_)) if own.is_unspecified() && !self.v6_only => Some(0),
            _ => None,
        }
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.fits(other.ip).is_some() || other.fits(self.ip).is_some()
    }
}

impl<S> fmt::Debug for Registry<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.0.lock();
        write!(f, "Registry({} hidden, {} paths)", names.hidden.len(), names.paths.len())
    }
}

impl<S> Default for Registry<S> {
    fn default() -> Self {
        Self(Mutex::new(Names {
            hidden: BTreeMap::new(),
            paths: BTreeMap::new(),
            ports: [BTreeMap::new(), BTreeMap::new()],
            next_port: *EPHEMERAL.start(),
            next_hidden: 0,
        }))
    }
}

/// Tells whether an address is this machine's. There is the loopback only.
pub(super) fn is_local(ip: IpAddr) -> bool {
    ip.is_loopback() || ip.is_unspecified()
}

impl<S: Occupant> Registry<S> {
    /// Gives `socket` the name that follows the NUL, or one that nobody has.
    pub(super) fn bind_hidden(
        &self,
        name: Option<Vec<u8>>,
        socket: &Arc<S>,
    ) -> Result<Vec<u8>, Errno> {
        let mut names = self.0.lock();
        let name = match name {
            Some(name) if names.hidden.contains_key(&name) => return Err(Errno::ADDRINUSE),
            Some(name) => name,
            None => loop {
                let name = format!("{:05x}", names.next_hidden).into_bytes();
                names.next_hidden = names.next_hidden.wrapping_add(1) & 0xf_ffff;
                if !names.hidden.contains_key(&name) {
                    break name;
                }
            },
        };
        names.hidden.insert(name.clone(), Arc::downgrade(socket));
        Ok(name)
    }

    /// Makes the inode with this number lead to `socket`.
    pub(super) fn bind_path(&self, inode: u64, socket: &Arc<S>) {
        self.0.lock().paths.insert(inode, Arc::downgrade(socket));
    }

    /// Finds who has a name outside of the file system.
    pub(super) fn find_hidden(&self, name: &[u8]) -> Option<Arc<S>> {
        self.0.lock().hidden.get(name)?.upgrade()
    }

    /// Finds who is behind an inode.
    pub(super) fn find_path(&self, inode: u64) -> Option<Arc<S>> {
        self.0.lock().paths.get(&inode)?.upgrade()
    }

    /// Gives `socket` a port, any free one for 0.
    pub(super) fn bind_port(
        &self,
        transport: Transport,
        address: SocketAddr,
        (v6_only, reuse): (bool, Reuse),
        socket: &Arc<S>,
    ) -> Result<SocketAddr, Errno> {
        let bound = Bound { ip: address.ip(), v6_only, reuse, socket: Arc::downgrade(socket) };
        let mut names = self.0.lock();
        let names = &mut *names;
        let ports = &mut names.ports[transport as usize];
        let port = match address.port() {
            0 => {
                let span = EPHEMERAL.end() - EPHEMERAL.start() + 1;
                let start = names.next_port - EPHEMERAL.start();
                let mut all = (0..span).map(|n| EPHEMERAL.start() + (start + n) % span);
                all.find(|port| ports.get(port).is_none_or(Vec::is_empty))
                    .ok_or(Errno::ADDRINUSE)?
            }
            port => port,
        };
        if address.port() == 0 {
            names.next_port = if port == *EPHEMERAL.end() { *EPHEMERAL.start() } else { port + 1 };
        }
        let others = ports.entry(port).or_default();
        let may_share = |other: &Bound<S>| {
            let is_listening = || other.socket.upgrade().is_some_and(|other| other.is_listening());
            bound.reuse.port && other.reuse.port
                || bound.reuse.address
                    && other.reuse.address
                    && (transport == Transport::Udp || !is_listening())
        };
        if others.iter().any(|other| bound.overlaps(other) && !may_share(other)) {
            return Err(Errno::ADDRINUSE);
        }
        others.push(bound);
        Ok(SocketAddr::new(address.ip(), port))
    }

    /// Tells whether another socket than `socket` listens where it would.
    pub(super) fn is_taken(&self, address: SocketAddr, socket: &Arc<S>) -> bool {
        let names = self.0.lock();
        let here = names.ports[Transport::Tcp as usize].get(&address.port());
        let here = here.map(Vec::as_slice).unwrap_or_default();
        let Some(own) = here.iter().find(|bound| bound.socket.as_ptr() == Arc::as_ptr(socket))
        else {
            return false;
        };
        here.iter().any(|other| {
            other.socket.as_ptr() != own.socket.as_ptr()
                && own.overlaps(other)
                && !(own.reuse.port && other.reuse.port)
                && other.socket.upgrade().is_some_and(|other| other.is_listening())
        })
    }

    /// Finds the best of those bound to `address` of which `is_meant` holds; its number adds to how well the name fits.
    pub(super) fn find_port(
        &self,
        transport: Transport,
        address: SocketAddr,
        is_meant: impl Fn(&S) -> Option<u32>,
    ) -> Option<Arc<S>> {
        // Kept until the lock is released: the last reference to a socket may go.
        let mut held = Vec::new();
        let mut best: Option<(u32, usize)> = None;
        let names = self.0.lock();
        for bound in names.ports[transport as usize].get(&address.port())? {
            let Some(fit) = bound.fits(address.ip()) else { continue };
            let Some(socket) = bound.socket.upgrade() else { continue };
            let meant = is_meant(&socket);
            held.push(socket);
            if let Some(meant) = meant
                && best.is_none_or(|(best, _)| best < fit + meant)
            {
                best = Some((fit + meant, held.len() - 1));
            }
        }
        drop(names);
        best.map(|(_, at)| held.swap_remove(at))
    }

    /// Takes back what `bind_*` gave to `socket`.
    pub(super) fn release(
        &self,
        name: &Name,
        inode: Option<u64>,
        transport: Option<Transport>,
        socket: *const S,
    ) {
        let mut names = self.0.lock();
        match (name, transport) {
            (Name::Abstract(name), _)
                if names.hidden.get(name).is_some_and(|other| other.as_ptr() == socket) =>
            {
                names.hidden.remove(name);
            }
            (Name::Inet(address), Some(transport)) => {
                let ports = &mut names.ports[transport as usize];
                if let Some(bound) = ports.get_mut(&address.port()) {
                    bound.retain(|other| other.socket.as_ptr() != socket);
                    if bound.is_empty() {
                        ports.remove(&address.port());
                    }
                }
            }
            _ => {}
        }
        if let Some(inode) = inode {
            names.paths.remove(&inode);
        }
    }
}

/// The address of this machine that is seen by who is reached at `ip`.
pub(super) fn source_for(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => IpAddr::V4(core::net::Ipv4Addr::LOCALHOST),
        IpAddr::V6(_) => IpAddr::V6(core::net::Ipv6Addr::LOCALHOST),
    }
}

/// Where what is sent to `address` goes: to this machine, or nowhere.
pub(super) fn route(address: SocketAddr, domain: Domain) -> Result<SocketAddr, Errno> {
    if domain == Domain::Inet && address.is_ipv6() {
        return Err(Errno::AFNOSUPPORT);
    }
    match address.ip() {
        ip if ip.is_unspecified() => Ok(SocketAddr::new(source_for(ip), address.port())),
        ip if ip.is_loopback() => Ok(address),
        _ => Err(Errno::NETUNREACH),
    }
}
