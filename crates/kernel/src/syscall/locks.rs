//! Locks on files: flock, and those of fcntl. What they are is in `files::locks`.

use super::descriptor::file;
use super::{Answer, Call, Failure};
use crate::file_locks::{PROCESSES_LOCK, locks};
use crate::mm::user::{copy_to_user, read};
use crate::sched::{Patience, sleep_until};
use crate::task::memory::OpenFile;
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::ops::Range;
use files::Errno;
use files::locks::{Key, Lock, Owner};
use kernel_sync::atomic::Ordering;

/// All bytes of a file.
const ALL: Range<u64> = 0..u64::MAX;

/// Releases the locks of a description when that is gone.
struct Releaser(u64);

impl Drop for Releaser {
    fn drop(&mut self) {
        locks().release_all(Owner::Whole(self.0));
        locks().release_all(Owner::Description(self.0));
    }
}

fn key(file: &OpenFile) -> Key {
    let metadata = file.metadata();
    (metadata.device, metadata.inode)
}

/// The number of a description, whose locks end with it.
fn number(file: &Arc<OpenFile>) -> u64 {
    let number = Arc::as_ptr(file).addr() as u64;
    file.keep(|| Box::new(Releaser(number)));
    number
}

/// Sets `lock`, if need be after waiting.
fn set(file: Key, lock: &Lock, waits: bool) -> Result<(), Failure> {
    if !waits {
        return Ok(locks().set(file, lock.clone(), false)?);
    }
    let attempt = || match locks().set(file, lock.clone(), true) {
        Err(Errno::AGAIN) => None,
        result => Some(result),
    };
    let result = sleep_until(&[locks().queue()], Patience::UntilSignal, None, attempt);
    if let Owner::Process(pid) = lock.owner {
        locks().give_up(pid);
    }
    Ok(result??)
}

pub(super) fn flock(call: &Call<'_>) -> Answer {
    const SHARED: u64 = 1;
    const EXCLUSIVE: u64 = 2;
    const AT_ONCE: u64 = 4;
    const UNLOCK: u64 = 8;
    let file = file(call, call.fd(0))?;
    let operation = call.arg(1);
    let owner = Owner::Whole(number(&file));
    let exclusive = match operation & !AT_ONCE {
        SHARED => false,
        EXCLUSIVE => true,
        UNLOCK => {
            locks().release(key(&file), owner, &ALL)?;
            return Ok(0);
        }
        _ => return Err(Errno::INVAL.into()),
    };
    set(key(&file), &Lock { owner, range: ALL, exclusive }, operation & AT_ONCE == 0)?;
    Ok(0)
}

/// `struct flock`.
struct Asked {
    kind: u16,
    range: Range<u64>,
    pid: u32,
}

const READ: u16 = 0;
const WRITE: u16 = 1;
const UNLOCK: u16 = 2;

fn asked(file: &OpenFile, address: u64) -> Result<Asked, Failure> {
    let bytes: [u8; 32] = read(address)?;
    let u16_at = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
    let i64_at = |at: usize| {
        let mut eight = [0; 8];
        eight.copy_from_slice(&bytes[at..at + 8]);
        i64::from_le_bytes(eight)
    };
    let base = match u16_at(2) {
        0 => 0,
        1 => file.seek(0, 1).unwrap_or(0) as i64,
        2 => file.metadata().size as i64,
        _ => return Err(Errno::INVAL.into()),
    };
    let (start, len) = (base.checked_add(i64_at(8)).ok_or(Errno::OVERFLOW)?, i64_at(16));
    // A negative length means the bytes before the start.
    let (start, end) = match len {
        0 => (start, None),
        len if len > 0 => (start, Some(start.checked_add(len).ok_or(Errno::OVERFLOW)?)),
        len => (start.checked_add(len).ok_or(Errno::INVAL)?, Some(start)),
    };
    let start = u64::try_from(start).map_err(|_| Errno::INVAL)?;
    let end = end.map_or(u64::MAX, |end| end as u64);
    let pid = u32::from_le_bytes([bytes[24], bytes[25], bytes[26], bytes[27]]);
    Ok(Asked { kind: u16_at(0), range: start..end, pid })
}

/// What is asked for in fcntl's third argument, and of whose locks.
pub(super) enum Operation {
    /// Which lock is in the way.
    Get,
    /// Set or release one; with `true`, wait for it.
    Set(bool),
}

/// The operations of fcntl on locks: of the process's own, or with `of_description` of the description's.
pub(super) fn fcntl(call: &Call<'_>, operation: &Operation, of_description: bool) -> Answer {
    let file = file(call, call.fd(0))?;
    let address = call.arg(2);
    let asked = asked(&file, address)?;
    if of_description && asked.pid != 0 {
        return Err(Errno::INVAL.into());
    }
    let owner = if of_description {
        Owner::Description(number(&file))
    } else {
        Owner::Process(call.me.process().pid().get())
    };
    let exclusive = match asked.kind {
        READ => false,
        WRITE => true,
        UNLOCK => {
            if let Operation::Get = operation {
                return Err(Errno::INVAL.into());
            }
            locks().release(key(&file), owner, &asked.range)?;
            return Ok(0);
        }
        _ => return Err(Errno::INVAL.into()),
    };
    let lock = Lock { owner, range: asked.range, exclusive };
    let Operation::Set(waits) = *operation else {
        return tell(address, locks().find_conflict(key(&file), &lock));
    };
    let may = if exclusive { file.flags().writable() } else { file.flags().readable() };
    if !may {
        return Err(Errno::BADF.into());
    }
    if !of_description {
        PROCESSES_LOCK.store(true, Ordering::Relaxed);
    }
    set(key(&file), &lock, waits)?;
    Ok(0)
}

/// Writes which lock is in the way.
fn tell(address: u64, lock: Option<Lock>) -> Answer {
    let Some(lock) = lock else {
        copy_to_user(address, &UNLOCK.to_le_bytes())?;
        return Ok(0);
    };
    let mut bytes = [0; 32];
    let kind = if lock.exclusive { WRITE } else { READ };
    bytes[..2].copy_from_slice(&kind.to_le_bytes());
    bytes[8..16].copy_from_slice(&lock.range.start.to_le_bytes());
    let len = if lock.range.end == u64::MAX { 0 } else { lock.range.end - lock.range.start };
    bytes[16..24].copy_from_slice(&len.to_le_bytes());
    let pid = if let Owner::Process(pid) = lock.owner { pid } else { u32::MAX };
    bytes[24..28].copy_from_slice(&pid.to_le_bytes());
    copy_to_user(address, &bytes[..28])?;
    Ok(0)
}

/// Releases the process's locks on a file of which it closes a descriptor: that ends them, whichever it is.
pub(super) fn close(call: &Call<'_>, file: &OpenFile) {
    if PROCESSES_LOCK.load(Ordering::Relaxed) {
        let owner = Owner::Process(call.me.process().pid().get());
        // Nothing is cut in two, so no memory is needed.
        let _ = locks().release(key(file), owner, &ALL);
    }
}
