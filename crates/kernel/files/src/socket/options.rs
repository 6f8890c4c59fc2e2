//! What setsockopt(2) sets and getsockopt(2) tells.
//!
//! Options that matter where no packet ever leaves the machine have an effect. The others are kept, and told.

use super::inbox::CAPACITY;
use crate::Errno;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// `SOL_SOCKET`
pub(super) const SOCKET: u32 = 1;
const IP: u32 = 0;
const TCP: u32 = 6;
const UDP: u32 = 17;
const IPV6: u32 = 41;

const REUSEADDR: u32 = 2;
const SNDBUF: u32 = 7;
const RCVBUF: u32 = 8;
const LINGER: u32 = 13;
const REUSEPORT: u32 = 15;
const PASSCRED: u32 = 16;
const RCVTIMEO: u32 = 20;
const SNDTIMEO: u32 = 21;
const V6ONLY: u32 = 26;
const CONGESTION: u32 = 13;

/// Whether a name may be shared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reuse {
    pub(super) address: bool,
    pub(super) port: bool,
}

/// Options whose values are kept: level, number, and the value of a new socket.
const KEPT: &[(u32, u32, i32)] = &[
    (SOCKET, 1, 0),                    // SO_DEBUG
    (SOCKET, REUSEADDR, 0),            // SO_REUSEADDR
    (SOCKET, 5, 0),                    // SO_DONTROUTE
    (SOCKET, 6, 0),                    // SO_BROADCAST
    (SOCKET, SNDBUF, CAPACITY as i32), // SO_SNDBUF
    (SOCKET, RCVBUF, CAPACITY as i32), // SO_RCVBUF
    (SOCKET, 9, 0),                    // SO_KEEPALIVE
    (SOCKET, 10, 0),                   // SO_OOBINLINE
    (SOCKET, 12, 0),                   // SO_PRIORITY
    (SOCKET, REUSEPORT, 0),            // SO_REUSEPORT
    (SOCKET, PASSCRED, 0),             // SO_PASSCRED
    (SOCKET, 18, 1),                   // SO_RCVLOWAT
    (SOCKET, 29, 0),                   // SO_TIMESTAMP
    (SOCKET, 36, 0),                   // SO_MARK
    (SOCKET, 46, 0),                   // SO_BUSY_POLL
    (IP, 1, 0),                        // IP_TOS
    (IP, 2, 64),                       // IP_TTL
    (IP, 8, 0),                        // IP_PKTINFO
    (IP, 10, 1),                       // IP_MTU_DISCOVER
    (IP, 11, 0),                       // IP_RECVERR
    (IP, 12, 0),                       // IP_RECVTTL
    (IP, 13, 0),                       // IP_RECVTOS
    (IP, 15, 0),                       // IP_FREEBIND
    (IP, 24, 0),                       // IP_BIND_ADDRESS_NO_PORT
    (IP, 33, 1),                       // IP_MULTICAST_TTL
    (IP, 34, 1),                       // IP_MULTICAST_LOOP
    (TCP, 1, 0),                       // TCP_NODELAY
    (TCP, 2, 65_483),                  // TCP_MAXSEG
    (TCP, 3, 0),                       // TCP_CORK
    (TCP, 4, 7200),                    // TCP_KEEPIDLE
    (TCP, 5, 75),                      // TCP_KEEPINTVL
    (TCP, 6, 9),                       // TCP_KEEPCNT
    (TCP, 7, 6),                       // TCP_SYNCNT
    (TCP, 8, 60),                      // TCP_LINGER2
    (TCP, 9, 0),                       // TCP_DEFER_ACCEPT
    (TCP, 12, 1),                      // TCP_QUICKACK
    (TCP, 18, 0),                      // TCP_USER_TIMEOUT
    (TCP, 23, 0),                      // TCP_FASTOPEN
    (TCP, 25, 0),                      // TCP_NOTSENT_LOWAT
    (TCP, 30, 0),                      // TCP_FASTOPEN_CONNECT
    (UDP, 1, 0),                       // UDP_CORK
    (UDP, 103, 0),                     // UDP_SEGMENT
    (UDP, 104, 0),                     // UDP_GRO
    (IPV6, 16, 64),                    // IPV6_UNICAST_HOPS
    (IPV6, 18, 64),                    // IPV6_MULTICAST_HOPS
    (IPV6, 19, 1),                     // IPV6_MULTICAST_LOOP
    (IPV6, 23, 1),                     // IPV6_MTU_DISCOVER
    (IPV6, 25, 0),                     // IPV6_RECVERR
    (IPV6, V6ONLY, 0),                 // IPV6_V6ONLY
    (IPV6, 49, 0),                     // IPV6_RECVPKTINFO
    (IPV6, 51, 0),                     // IPV6_RECVHOPLIMIT
    (IPV6, 66, 0),                     // IPV6_RECVTCLASS
    (IPV6, 67, 0),                     // IPV6_TCLASS
];

/// The options of a socket.
#[derive(Debug, Default)]
pub(super) struct Options {
    /// Those that are not as in a new socket.
    set: BTreeMap<(u32, u32), i32>,
    linger: [i32; 2],
    /// How long to wait at most, in nanoseconds; 0 for ever.
    timeouts: [u64; 2],
}

impl Options {
    /// Returns the value of a kept option.
    fn kept(&self, level: u32, number: u32) -> Option<i32> {
        let of_new = KEPT.iter().find(|kept| (kept.0, kept.1) == (level, number))?.2;
        Some(self.set.get(&(level, number)).copied().unwrap_or(of_new))
    }

    fn is_set(&self, level: u32, number: u32) -> bool {
        self.kept(level, number).is_some_and(|value| value != 0)
    }

    pub(super) fn reuse(&self) -> Reuse {
        Reuse { address: self.is_set(SOCKET, REUSEADDR), port: self.is_set(SOCKET, REUSEPORT) }
    }

    pub(super) fn v6_only(&self) -> bool {
        self.is_set(IPV6, V6ONLY)
    }

    pub(super) fn wants_credentials(&self) -> bool {
        self.is_set(SOCKET, PASSCRED)
    }

    /// Returns how long a receiver, or with `sends` a sender, waits at most.
    pub(super) fn timeout(&self, sends: bool) -> Option<u64> {
        Some(self.timeouts[usize::from(sends)]).filter(|&timeout| timeout > 0)
    }

    /// Sets an option.
    pub(super) fn set(&mut self, level: u32, number: u32, value: &[u8]) -> Result<(), Errno> {
        match (level, number) {
            (SOCKET, LINGER) => {
                self.linger = [i32_at(value, 0)?, i32_at(value, 4)?];
                Ok(())
            }
            (SOCKET, RCVTIMEO | SNDTIMEO) => {
                let (seconds, microseconds) = (i64_at(value, 0)?, i64_at(value, 8)?);
                if !(0..1_000_000).contains(&microseconds) {
                    return Err(Errno::DOM);
                }
                let seconds = u64::try_from(seconds).unwrap_or(0);
                self.timeouts[usize::from(number == SNDTIMEO)] = seconds
                    .saturating_mul(1_000_000_000)
                    .saturating_add(microseconds.unsigned_abs() * 1000);
                Ok(())
            }
            // The only way to handle congestion, where there is none.
            (TCP, CONGESTION) => {
                let is_known = value.starts_with(b"cubic") || value.starts_with(b"reno");
                if is_known { Ok(()) } else { Err(Errno::NOENT) }
            }
            // SO_BINDTODEVICE
            (SOCKET, 25) => {
                let is_known = value.is_empty() || value[0] == 0 || value.starts_with(b"lo");
                if is_known { Ok(()) } else { Err(Errno::NODEV) }
            }
            _ => {
                let value = i32_at(value, 0)?;
                self.kept(level, number).ok_or(Errno::NOPROTOOPT)?;
                let value = match (level, number) {
                    // Linux doubles it, for its own needs.
                    (SOCKET, SNDBUF | RCVBUF) => {
                        value.clamp(1152, CAPACITY as i32).saturating_mul(2)
                    }
                    (SOCKET, REUSEADDR | REUSEPORT | PASSCRED) => i32::from(value != 0),
                    _ => value,
                };
                self.set.insert((level, number), value);
                Ok(())
            }
        }
    }

    /// Tells an option.
    pub(super) fn get(&self, level: u32, number: u32) -> Result<Vec<u8>, Errno> {
        Ok(match (level, number) {
            (SOCKET, LINGER) => self.linger.iter().flat_map(|half| half.to_le_bytes()).collect(),
            (SOCKET, RCVTIMEO | SNDTIMEO) => {
                let timeout = self.timeouts[usize::from(number == SNDTIMEO)];
                let parts = [timeout / 1_000_000_000, timeout % 1_000_000_000 / 1000];
                parts.iter().flat_map(|part| part.to_le_bytes()).collect()
            }
            (TCP, CONGESTION) => b"cubic\0\0\0\0\0\0\0\0\0\0\0".to_vec(),
            _ => self.kept(level, number).ok_or(Errno::NOPROTOOPT)?.to_le_bytes().to_vec(),
        })
    }
}

fn i32_at(bytes: &[u8], at: usize) -> Result<i32, Errno> {
    let four = bytes.get(at..).and_then(|rest| rest.first_chunk());
    four.map(|&four| i32::from_le_bytes(four)).ok_or(Errno::INVAL)
}

fn i64_at(bytes: &[u8], at: usize) -> Result<i64, Errno> {
    let eight = bytes.get(at..).and_then(|rest| rest.first_chunk());
    eight.map(|&eight| i64::from_le_bytes(eight)).ok_or(Errno::INVAL)
}
