//! Names in the file system: open, stat, mkdir, rename, chdir and their kin.
//!
//! Each call exists with and without a directory to start from (`openat`, `open`). The functions here
//! take a [`At`] made of either.

use super::descriptor::caller;
use super::user::{self, buffer};
use super::{Answer, Call, Failure};
use crate::file_tree::files as tree;
use crate::mm::user::{copy_to_user, read_u64};
use ::files::abi;
use ::files::{
    DeviceNumber, Errno, Follow, Inode, Metadata, Node, OpenFlags, RenameFlags, Seals, SetTime,
};
use alloc::sync::Arc;
use alloc::vec::Vec;
use kernel_sync::atomic::Ordering;

/// `AT_FDCWD`
const CURRENT_DIRECTORY: i32 = -100;

const AT_SYMLINK_NOFOLLOW: u64 = 0x100;
const AT_REMOVEDIR: u64 = 0x200;
const AT_SYMLINK_FOLLOW: u64 = 0x400;
const AT_EMPTY_PATH: u64 = 0x1000;

/// A path and the directory it starts from.
pub(super) struct At {
    from: Node,
    path: Vec<u8>,
}

/// The working directory.
fn directory(call: &Call<'_>) -> Node {
    call.me.parts().fs().directory.lock().clone()
}

/// Argument `n` is a path, from the working directory.
pub(super) fn here(call: &Call<'_>, n: usize) -> Result<At, Failure> {
    Ok(At { from: directory(call), path: user::path(call.arg(n))? })
}

/// Argument `n` is a directory's descriptor, and the next one a path from there.
pub(super) fn at(call: &Call<'_>, n: usize) -> Result<At, Failure> {
    let path = user::path(call.arg(n + 1))?;
    let fd = call.fd(n);
    if fd == CURRENT_DIRECTORY || path.first() == Some(&b'/') {
        return Ok(At { from: directory(call), path });
    }
    let file = call.me.parts().fds().get(fd)?;
    // The node itself, for AT_EMPTY_PATH; that it is a directory is the tree's to check.
    let from = file.node().cloned().ok_or(Errno::NOTDIR)?;
    Ok(At { from, path })
}

/// Makes the name of a socket at `path`, and returns what is behind it.
pub(super) fn make_socket(call: &Call<'_>, path: &[u8]) -> Result<Arc<Inode>, Errno> {
    tree().make_socket(&directory(call), path, masked(call, 0o777))
}

/// Finds what is behind the name of a socket.
pub(super) fn find_socket(call: &Call<'_>, path: &[u8]) -> Result<Arc<Inode>, Errno> {
    tree().find_socket(&directory(call), path)
}

fn follow(flags: u64) -> Follow {
    if flags & AT_SYMLINK_NOFOLLOW != 0 { Follow::No } else { Follow::Yes }
}

fn masked(call: &Call<'_>, mode: u64) -> u32 {
    let umask = call.me.parts().fs().umask.load(Ordering::Relaxed);
    mode as u32 & 0o7777 & !umask
}

pub(super) fn open(call: &Call<'_>, at: &At, flags: u64, mode: u64) -> Answer {
    let flags = OpenFlags::from_bits_truncate(flags as u32);
    let mode = masked(call, mode);
    let file = tree().open(&caller(&call.me), &at.from, &at.path, flags, mode)?;
    let cloexec = flags.contains(OpenFlags::CLOEXEC);
    Ok(call.me.parts().fds().insert(file, cloexec)? as u64)
}

/// `creat`
pub(super) const CREATE: u64 =
    (OpenFlags::CREAT.bits() | OpenFlags::WRONLY.bits() | OpenFlags::TRUNC.bits()) as u64;

fn put_stat(address: u64, metadata: &Metadata) -> Answer {
    copy_to_user(address, &abi::stat(metadata))?;
    Ok(0)
}

pub(super) fn stat(at: &At, address: u64, flags: u64) -> Answer {
    put_stat(address, &tree().stat(&at.from, &at.path, follow(flags))?)
}

pub(super) const NOFOLLOW: u64 = AT_SYMLINK_NOFOLLOW;

/// The metadata that `fstatat` and `statx` ask for, which may be those of a descriptor.
fn metadata_at(call: &Call<'_>, flags: u64) -> Result<Metadata, Failure> {
    let path = if call.arg(1) == 0 { Vec::new() } else { user::path(call.arg(1))? };
    if path.is_empty() && flags & AT_EMPTY_PATH != 0 {
        if call.fd(0) == CURRENT_DIRECTORY {
            return Ok(directory(call).metadata());
        }
        return Ok(call.me.parts().fds().get(call.fd(0))?.metadata());
    }
    let at = at(call, 0)?;
    Ok(tree().stat(&at.from, &at.path, follow(flags))?)
}

pub(super) fn fstatat(call: &Call<'_>) -> Answer {
    let metadata = metadata_at(call, call.arg(3))?;
    put_stat(call.arg(2), &metadata)
}

pub(super) fn statx(call: &Call<'_>) -> Answer {
    let metadata = metadata_at(call, call.arg(2))?;
    copy_to_user(call.arg(4), &abi::statx(&metadata))?;
    Ok(0)
}

pub(super) fn fstat(call: &Call<'_>) -> Answer {
    let metadata = call.me.parts().fds().get(call.fd(0))?.metadata();
    put_stat(call.arg(1), &metadata)
}

pub(super) fn statfs(at: &At, address: u64) -> Answer {
    let node = tree().lookup(&at.from, &at.path, Follow::Yes)?;
    copy_to_user(address, &abi::statfs(&tree().statfs(&node)))?;
    Ok(0)
}

pub(super) fn fstatfs(call: &Call<'_>) -> Answer {
    let file = call.me.parts().fds().get(call.fd(0))?;
    let root = tree().root();
    let node = file.node().unwrap_or(&root);
    copy_to_user(call.arg(1), &abi::statfs(&tree().statfs(node)))?;
    Ok(0)
}

pub(super) fn access(at: &At, mode: u64, flags: u64) -> Answer {
    tree().access(&at.from, &at.path, mode as u32, follow(flags))?;
    Ok(0)
}

pub(super) fn readlink(at: &At, address: u64, size: u64) -> Answer {
    let target = tree().readlink(&at.from, &at.path)?;
    if size as i64 <= 0 {
        return Err(Errno::INVAL.into());
    }
    let len = target.len().min(size as usize);
    copy_to_user(address, &target[..len])?;
    Ok(len as u64)
}

pub(super) fn mkdir(call: &Call<'_>, at: &At, mode: u64) -> Answer {
    tree().mkdir(&at.from, &at.path, masked(call, mode))?;
    Ok(0)
}

pub(super) fn mknod(call: &Call<'_>, at: &At, mode: u64, device: u64) -> Answer {
    let kind = mode as u32 & ::files::FileType::MASK;
    tree().mknod(&at.from, &at.path, kind | masked(call, mode), DeviceNumber::from_dev(device))?;
    Ok(0)
}

pub(super) fn unlink(at: &At, flags: u64) -> Answer {
    if flags & AT_REMOVEDIR != 0 {
        return rmdir(at);
    }
    tree().unlink(&at.from, &at.path)?;
    Ok(0)
}

pub(super) fn rmdir(at: &At) -> Answer {
    tree().rmdir(&at.from, &at.path)?;
    Ok(0)
}

pub(super) fn rename(old: &At, new: &At, flags: u64) -> Answer {
    let flags = RenameFlags::from_bits(flags as u32).ok_or(Errno::INVAL)?;
    tree().rename(&old.from, &old.path, &new.from, &new.path, flags)?;
    Ok(0)
}

pub(super) fn link(old: &At, new: &At, flags: u64) -> Answer {
    let follow = if flags & AT_SYMLINK_FOLLOW != 0 { Follow::Yes } else { Follow::No };
    tree().link(&old.from, &old.path, &new.from, &new.path, follow)?;
    Ok(0)
}

pub(super) fn symlink(target: u64, at: &At) -> Answer {
    tree().symlink(&user::path(target)?, &at.from, &at.path)?;
    Ok(0)
}

pub(super) fn truncate(at: &At, len: u64) -> Answer {
    if len > i64::MAX as u64 {
        return Err(Errno::INVAL.into());
    }
    tree().truncate(&at.from, &at.path, len)?;
    Ok(0)
}

pub(super) fn chmod(at: &At, mode: u64) -> Answer {
    tree().lookup(&at.from, &at.path, Follow::Yes)?.set_mode(mode as u32)?;
    Ok(0)
}

pub(super) fn fchmod(call: &Call<'_>) -> Answer {
    let file = call.me.parts().fds().get(call.fd(0))?;
    if let Some(node) = file.node() {
        node.set_mode(call.arg(1) as u32)?;
    }
    Ok(0)
}

/// -1 stands for "as it is".
fn owner(id: u64) -> Option<u32> {
    (id as u32 != u32::MAX).then_some(id as u32)
}

pub(super) fn chown(at: &At, uid: u64, gid: u64, flags: u64) -> Answer {
    let node = tree().lookup(&at.from, &at.path, follow(flags))?;
    node.set_owner(owner(uid), owner(gid))?;
    Ok(0)
}

pub(super) fn fchown(call: &Call<'_>) -> Answer {
    let file = call.me.parts().fds().get(call.fd(0))?;
    if let Some(node) = file.node() {
        node.set_owner(owner(call.arg(1)), owner(call.arg(2)))?;
    }
    Ok(0)
}

pub(super) fn utimensat(call: &Call<'_>) -> Answer {
    let times_at = call.arg(2);
    let time = |n: u64| -> Result<SetTime, Failure> {
        if times_at == 0 {
            return Ok(SetTime::Now);
        }
        let at = times_at.wrapping_add(16 * n);
        let (seconds, nanoseconds) = (read_u64(at)? as i64, read_u64(at.wrapping_add(8))? as i64);
        Ok(SetTime::from_timespec(seconds, nanoseconds)?)
    };
    let (accessed, modified) = (time(0)?, time(1)?);
    if call.arg(1) == 0 {
        let file = call.me.parts().fds().get(call.fd(0))?;
        if let Some(node) = file.node() {
            node.set_times(accessed, modified)?;
        }
        return Ok(0);
    }
    let at = at(call, 0)?;
    tree().lookup(&at.from, &at.path, follow(call.arg(3)))?.set_times(accessed, modified)?;
    Ok(0)
}

pub(super) fn umask(call: &Call<'_>) -> Answer {
    let new = call.arg(0) as u32 & 0o777;
    Ok(u64::from(call.me.parts().fs().umask.swap(new, Ordering::Relaxed)))
}

pub(super) fn chdir(call: &Call<'_>) -> Answer {
    let at = here(call, 0)?;
    let node = tree().directory(&at.from, &at.path)?;
    *call.me.parts().fs().directory.lock() = node;
    Ok(0)
}

pub(super) fn fchdir(call: &Call<'_>) -> Answer {
    let file = call.me.parts().fds().get(call.fd(0))?;
    let node = file.node().cloned().ok_or(Errno::NOTDIR)?;
    let node = tree().directory(&node, b".")?;
    *call.me.parts().fs().directory.lock() = node;
    Ok(0)
}

pub(super) fn getcwd(call: &Call<'_>) -> Answer {
    let mut path = tree().path_of(&directory(call))?;
    path.push(0);
    if call.arg(1) < path.len() as u64 {
        return Err(Errno::RANGE.into());
    }
    copy_to_user(call.arg(0), &path)?;
    Ok(path.len() as u64)
}

/// `getrandom`
pub(super) fn getrandom(call: &Call<'_>) -> Answer {
    const MOST: u64 = 1 << 20;
    /// `GRND_NONBLOCK`, `GRND_RANDOM`, `GRND_INSECURE`.
    const FLAGS: u64 = 7;
    if call.arg(2) & !FLAGS != 0 {
        return Err(Errno::INVAL.into());
    }
    let len = call.arg(1).min(MOST) as usize;
    let mut bytes = buffer(len)?;
    crate::random::fill(&mut bytes);
    copy_to_user(call.arg(0), &bytes)?;
    Ok(len as u64)
}

/// `memfd_create`: a file that has no name but what it is called.
pub(super) fn memfd_create(call: &Call<'_>) -> Answer {
    const CLOEXEC: u64 = 1;
    const ALLOW_SEALING: u64 = 2;
    const NOEXEC_SEAL: u64 = 8;
    const EXEC: u64 = 0x10;
    /// Bytes of the name, at most.
    const MAX_NAME: usize = 249;
    let flags = u64::from(call.arg(1) as u32);
    if flags & !(CLOEXEC | ALLOW_SEALING | NOEXEC_SEAL | EXEC) != 0 {
        return Err(Errno::INVAL.into());
    }
    let name = user::string(call.arg(0), MAX_NAME, Errno::INVAL)?;
    let seals =
        if flags & (ALLOW_SEALING | NOEXEC_SEAL) != 0 { Seals::empty() } else { Seals::SEAL };
    let file = tree().open_memory(&name, seals)?;
    Ok(call.me.parts().fds().insert(file, flags & CLOEXEC != 0)? as u64)
}
