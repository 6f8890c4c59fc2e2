//! Ancillary data: the control messages of sendmsg(2) and recvmsg(2), as bytes.
//!
//! Each begins with a `struct cmsghdr` (its length, level and type) and is padded to eight bytes.

use super::inbox::Credentials;
use crate::Errno;
use alloc::vec::Vec;

const HEADER: usize = 16;
const SOCKET: u32 = 1;
const RIGHTS: u32 = 1;
const CREDENTIALS: u32 = 2;

/// Descriptors in one message, at most (`SCM_MAX_FD`).
const MAX_RIGHTS: usize = 253;

/// What a program sends besides bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Control {
    /// Descriptors (`SCM_RIGHTS`).
    pub rights: Vec<i32>,
    /// Who it says it is (`SCM_CREDENTIALS`).
    pub credentials: Option<Credentials>,
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|&four| u32::from_le_bytes(four))
}

/// Reads control messages. Of levels besides `SOL_SOCKET` nothing is wanted.
///
/// # Errors
///
/// [`Errno::INVAL`] for what is none, for an unknown type, and for more than 253 descriptors.
pub fn parse_control(mut bytes: &[u8]) -> Result<Control, Errno> {
    let mut control = Control::default();
    while bytes.len() >= HEADER {
        let len =
            bytes.first_chunk().map(|&eight| u64::from_le_bytes(eight)).ok_or(Errno::INVAL)?;
        let len = usize::try_from(len).map_err(|_| Errno::INVAL)?;
        if len < HEADER || len > bytes.len() {
            return Err(Errno::INVAL);
        }
        let (level, kind) = (u32_at(bytes, 8), u32_at(bytes, 12));
        let body = &bytes[HEADER..len];
        match (level, kind) {
            (Some(SOCKET), Some(RIGHTS)) => {
                for fd in body.chunks_exact(4) {
                    control.rights.push(u32_at(fd, 0).ok_or(Errno::INVAL)? as i32);
                }
                if control.rights.len() > MAX_RIGHTS {
                    return Err(Errno::INVAL);
                }
            }
            (Some(SOCKET), Some(CREDENTIALS)) => {
                let [Some(pid), Some(uid), Some(gid)] = [0, 4, 8].map(|at| u32_at(body, at)) else {
                    return Err(Errno::INVAL);
                };
                control.credentials = Some(Credentials { pid, uid, gid });
            }
            (Some(SOCKET), _) => return Err(Errno::INVAL),
            _ => {}
        }
        bytes = bytes.get(len.next_multiple_of(8)..).unwrap_or_default();
    }
    Ok(control)
}

/// Makes the control messages for a receiver with `room` bytes for them: who has sent it, and as many of the descriptors
/// as fit. Returns the bytes, the number of descriptors in them, and whether something did not fit.
#[must_use]
pub fn control_bytes(
    rights: &[i32],
    credentials: Option<Credentials>,
    room: usize,
) -> (Vec<u8>, bool) {
    let mut bytes = Vec::new();
    let mut is_cut = false;
    if let Some(Credentials { pid, uid, gid }) = credentials {
        let body: Vec<u8> = [pid, uid, gid].iter().flat_map(|id| id.to_le_bytes()).collect();
        if HEADER + body.len() <= room {
            put(&mut bytes, CREDENTIALS, &body);
        } else {
            is_cut = true;
        }
    }
    if !rights.is_empty() {
        let body: Vec<u8> = rights.iter().flat_map(|fd| fd.to_le_bytes()).collect();
        put(&mut bytes, RIGHTS, &body);
    }
    bytes.truncate(room);
    (bytes, is_cut)
}

/// Returns how many descriptors fit into `room` bytes behind the credentials, if there are some.
#[must_use]
pub(super) fn room_for_rights(room: usize, has_credentials: bool) -> usize {
    let before = if has_credentials { HEADER + 16 } else { 0 };
    room.saturating_sub(before + HEADER) / 4
}

fn put(bytes: &mut Vec<u8>, kind: u32, body: &[u8]) {
    bytes.extend(((HEADER + body.len()) as u64).to_le_bytes());
    bytes.extend(SOCKET.to_le_bytes());
    bytes.extend(kind.to_le_bytes());
    bytes.extend_from_slice(body);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
}

impl Control {
    /// Returns how many descriptors a receiver with `room` bytes for control messages gets at most.
    #[must_use]
    pub fn most_rights(room: usize, has_credentials: bool) -> usize {
        room_for_rights(room, has_credentials)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn control_messages_come_back() {
        let credentials = Some(Credentials { pid: 1, uid: 2, gid: 3 });
        let (bytes, is_cut) = control_bytes(&[7, 8, 9], credentials, 100);
        assert!(!is_cut);
        assert_eq!(bytes.len(), 32 + 32);
        let control = parse_control(&bytes);
        assert_eq!(control, Ok(Control { rights: vec![7, 8, 9], credentials }));
        assert_eq!(Control::most_rights(24, false), 2);
        assert_eq!(Control::most_rights(20, true), 0);
    }

    #[test]
    fn no_bytes_panic() {
        for len in 0..40 {
            let _ = parse_control(&vec![0; len]);
            let _ = parse_control(&vec![0xff; len]);
        }
        let (bytes, _) = control_bytes(&[1], None, 100);
        assert_eq!(parse_control(&bytes[..19]), Err(Errno::INVAL), "longer than it is");
    }
}
