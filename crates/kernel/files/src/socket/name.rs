//! What sockets are called: `struct sockaddr`, in the three families there are.
//!
//! Inside, an address of the internet is one of `core::net`'s, and an IPv4 address in IPv6's clothes (`::ffff:127.0.0.1`)
//! is the IPv4 address. A socket of the IPv6 family puts the clothes on again when a program asks.

use crate::{Errno, PATH_MAX};
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// `AF_UNIX`
const UNIX: u16 = 1;
/// `AF_INET`
const INET: u16 = 2;
/// `AF_INET6`
const INET6: u16 = 10;

/// Bytes of the longest address: `struct sockaddr_storage`.
pub const MAX_NAME: usize = 128;

/// Where in `struct sockaddr_un` the path is, and how long it may be.
const PATH_AT: usize = 2;
const UNIX_PATH: usize = 108;

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Domain {
    /// `AF_UNIX`: programs of this machine.
    Unix,
    /// `AF_INET`, of which there is the loopback only.
    Inet,
    /// `AF_INET6`, the same.
    Inet6,
}

impl Domain {
    /// Finds the family with Linux's number.
    #[must_use]
    pub const fn new(number: u64) -> Option<Self> {
        match number {
            1 => Some(Self::Unix),
            2 => Some(Self::Inet),
            10 => Some(Self::Inet6),
            _ => None,
        }
    }

    /// Returns Linux's number.
    #[must_use]
    pub const fn number(self) -> u16 {
        match self {
            Self::Unix => UNIX,
            Self::Inet => INET,
            Self::Inet6 => INET6,
        }
    }

    /// Returns the address that stands for all of this machine's.
    pub(super) const fn any(self) -> IpAddr {
        match self {
            Self::Inet6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            _ => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        }
    }
}

/// A socket's name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Name {
    /// None.
    #[default]
    Unnamed,
    /// A path of the file system, as it was given.
    Path(Vec<u8>),
    /// A name that is in no file system: what follows the first NUL.
    Abstract(Vec<u8>),
    /// An address and a port.
    Inet(SocketAddr),
}

impl Name {
    /// Reads a `struct sockaddr` for a socket of `domain`; `None` for one of `AF_UNSPEC`.
    ///
    /// # Errors
    ///
    /// [`Errno::INVAL`] for one that is too short or too long, [`Errno::AFNOSUPPORT`] for another family.
    pub fn parse(bytes: &[u8], domain: Domain) -> Result<Option<Self>, Errno> {
        let family = u16_at(bytes, 0)?;
        if family == 0 {
            return Ok(None);
        }
        match domain {
            Domain::Unix if family != UNIX => Err(Errno::INVAL),
            Domain::Unix => Ok(Some(unix(bytes.get(PATH_AT..).unwrap_or_default())?)),
            Domain::Inet if family != INET => Err(Errno::AFNOSUPPORT),
            Domain::Inet if bytes.len() < 16 => Err(Errno::INVAL),
            Domain::Inet => Ok(Some(Self::Inet(SocketAddr::new(inet(bytes)?, port(bytes)?)))),
            Domain::Inet6 if family == INET && bytes.len() >= 16 => {
                Ok(Some(Self::Inet(SocketAddr::new(inet(bytes)?, port(bytes)?))))
            }
            Domain::Inet6 if family != INET6 => Err(Errno::AFNOSUPPORT),
            // Without the scope, as in old programs.
            Domain::Inet6 if bytes.len() < 24 => Err(Errno::INVAL),
            Domain::Inet6 => {
                let octets: [u8; 16] = bytes
                    .get(8..24)
                    .and_then(|octets| octets.try_into().ok())
                    .ok_or(Errno::INVAL)?;
                let ip = Ipv6Addr::from(octets);
                let ip = ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4);
                Ok(Some(Self::Inet(SocketAddr::new(ip, port(bytes)?))))
            }
        }
    }

    /// Returns the `struct sockaddr` that a socket of `domain` reports.
    #[must_use]
    pub fn to_bytes(&self, domain: Domain) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(MAX_NAME);
        bytes.extend(domain.number().to_le_bytes());
        match (self, domain) {
            (Self::Path(path), _) => {
                bytes.extend_from_slice(path);
                bytes.push(0);
            }
            (Self::Abstract(name), _) => {
                bytes.push(0);
                bytes.extend_from_slice(name);
            }
            (Self::Unnamed, Domain::Unix) => {}
            (Self::Unnamed, _) => put_inet(&mut bytes, SocketAddr::new(domain.any(), 0), domain),
            (Self::Inet(address), _) => put_inet(&mut bytes, *address, domain),
        }
        bytes
    }

    /// Returns the address, if it is one of the internet.
    #[must_use]
    pub fn inet(&self) -> Option<SocketAddr> {
        if let Self::Inet(address) = self { Some(*address) } else { None }
    }
}

fn unix(path: &[u8]) -> Result<Name, Errno> {
    if path.len() > UNIX_PATH {
        return Err(Errno::INVAL);
    }
    match path {
        [] => Ok(Name::Unnamed),
        [0, name @ ..] => Ok(Name::Abstract(name.to_vec())),
        path => {
            let len = path.iter().position(|&byte| byte == 0).unwrap_or(path.len());
            Ok(Name::Path(path[..len].to_vec()))
        }
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Result<u16, Errno> {
    let two = bytes.get(at..at + 2).and_then(|two| two.first_chunk());
    two.map(|&two| u16::from_le_bytes(two)).ok_or(Errno::INVAL)
}

fn port(bytes: &[u8]) -> Result<u16, Errno> {
    Ok(u16_at(bytes, 2)?.swap_bytes())
}

fn inet(bytes: &[u8]) -> Result<IpAddr, Errno> {
    let octets = bytes.get(4..8).and_then(|four| four.first_chunk::<4>()).ok_or(Errno::INVAL)?;
    Ok(IpAddr::V4(Ipv4Addr::from(*octets)))
}

fn put_inet(bytes: &mut Vec<u8>, address: SocketAddr, domain: Domain) {
    bytes.extend(address.port().to_be_bytes());
    if domain == Domain::Inet6 {
        let ip = match address.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        bytes.extend([0; 4]);
        bytes.extend(ip.octets());
        bytes.extend([0; 4]);
    } else {
        if let IpAddr::V4(ip) = address.ip() {
            bytes.extend(ip.octets());
        }
        bytes.resize(16, 0);
    }
}

const _: () = assert!(UNIX_PATH < PATH_MAX && PATH_AT + UNIX_PATH < MAX_NAME);

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn names_of_programs_come_back() {
        let path = b"\x01\0/tmp/s\0junk";
        let name = Name::parse(path, Domain::Unix).expect("valid").expect("a name");
        assert_eq!(name, Name::Path(b"/tmp/s".to_vec()));
        assert_eq!(name.to_bytes(Domain::Unix), b"\x01\0/tmp/s\0");
        let hidden = b"\x01\0\0ab\0c";
        let name = Name::parse(hidden, Domain::Unix).expect("valid").expect("a name");
        assert_eq!(name, Name::Abstract(b"ab\0c".to_vec()), "NULs count");
        assert_eq!(name.to_bytes(Domain::Unix), hidden);
        assert_eq!(Name::parse(b"\x01\0", Domain::Unix), Ok(Some(Name::Unnamed)));
        assert_eq!(Name::parse(&[b'x'; 111], Domain::Unix), Err(Errno::INVAL));
        assert_eq!(Name::parse(b"\x01", Domain::Unix), Err(Errno::INVAL));
    }

    #[test]
    fn addresses_of_the_internet_come_back_and_ipv4_is_dressed_up_for_ipv6() {
        let bytes = [2, 0, 0x1f, 0x90, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
        let name = Name::parse(&bytes, Domain::Inet).expect("valid").expect("a name");
        assert_eq!(name, Name::Inet("127.0.0.1:8080".parse().expect("an address")));
        assert_eq!(name.to_bytes(Domain::Inet), bytes);
        let dressed = name.to_bytes(Domain::Inet6);
        assert_eq!(dressed.len(), 28);
        assert_eq!(&dressed[18..24], [0xff, 0xff, 127, 0, 0, 1]);
        assert_eq!(Name::parse(&dressed, Domain::Inet6), Ok(Some(name)));
        assert_eq!(Name::parse(&bytes[..15], Domain::Inet), Err(Errno::INVAL));
        assert_eq!(Name::parse(&dressed, Domain::Inet), Err(Errno::AFNOSUPPORT));
        assert_eq!(Name::parse(&vec![0; 16], Domain::Inet), Ok(None), "AF_UNSPEC");
    }
}
