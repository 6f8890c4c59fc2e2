//! What all inodes of the file system share: the limit on memory, the clock, the numbers.
//!
//! The files of a kernel without disks live in its heap, and a heap that is used up ends the
//! kernel. So everything that grows at the wish of a program (pages of files, inodes, names) is
//! charged here first, and fails with [`Errno::NOSPC`] at the limit, as on a full disk.

use crate::{Errno, Timespec};
use alloc::sync::Arc;
use core::fmt;
use kernel_sync::atomic::{AtomicU64, Ordering};

/// The shared part of a file system.
pub(crate) struct Volume {
    /// Bytes that may be charged.
    limit: u64,
    charged: AtomicU64,
    inodes: AtomicU64,
    next_inode: AtomicU64,
    clock: fn() -> Timespec,
}

impl fmt::Debug for Volume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Volume({} of {} bytes)", self.charged(), self.limit)
    }
}

impl Volume {
    pub(crate) fn new(limit: u64, clock: fn() -> Timespec) -> Self {
        Self {
            limit,
            charged: AtomicU64::new(0),
            inodes: AtomicU64::new(0),
            next_inode: AtomicU64::new(1),
            clock,
        }
    }

    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    /// Returns the bytes that are charged.
    pub(crate) fn charged(&self) -> u64 {
        self.charged.load(Ordering::Relaxed)
    }

    /// Returns the number of inodes, named or still open.
    pub(crate) fn inodes(&self) -> u64 {
        self.inodes.load(Ordering::Relaxed)
    }

    pub(crate) fn now(&self) -> Timespec {
        (self.clock)()
    }

    /// Gives a new inode its number and counts it.
    pub(super) fn add_inode(&self) -> u64 {
        self.inodes.fetch_add(1, Ordering::Relaxed);
        // 64 bits do not wrap around in the life of a machine.
        self.next_inode.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn remove_inode(&self) {
        self.inodes.fetch_sub(1, Ordering::Relaxed);
    }

    /// Charges `bytes`. The counter publishes nothing, so it needs no ordering.
    fn charge(&self, bytes: u64) -> Result<(), Errno> {
        let mut charged = self.charged();
        loop {
            let sum = charged.checked_add(bytes).filter(|&sum| sum <= self.limit);
            let sum = sum.ok_or(Errno::NOSPC)?;
            match self.charged.compare_exchange_weak(
                charged,
                sum,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Ok(()),
                Err(current) => charged = current,
            }
        }
    }
}

/// Bytes charged to a volume, given back when this is dropped.
#[derive(Debug)]
pub(super) struct Charge {
    volume: Arc<Volume>,
    bytes: u64,
}

impl Charge {
    pub(super) fn none(volume: &Arc<Volume>) -> Self {
        Self { volume: volume.clone(), bytes: 0 }
    }

    pub(super) fn new(volume: &Arc<Volume>, bytes: u64) -> Result<Self, Errno> {
        let mut charge = Self::none(volume);
        charge.grow(bytes)?;
        Ok(charge)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn grow(&mut self, bytes: u64) -> Result<(), Errno> {
        self.volume.charge(bytes)?;
        self.bytes += bytes;
        Ok(())
    }

    /// Gives `bytes` back, or all there are.
    pub(super) fn shrink(&mut self, bytes: u64) {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        self.volume.charged.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.shrink(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charges_end_at_the_limit_and_come_back() {
        let volume = Arc::new(Volume::new(100, Timespec::default));
        let mut first = Charge::new(&volume, 60).expect("fits");
        assert_eq!(Charge::new(&volume, 41).map(|_| ()), Err(Errno::NOSPC));
        first.grow(40).expect("fits exactly");
        assert_eq!(first.grow(u64::MAX), Err(Errno::NOSPC), "the sum does not wrap around");
        first.shrink(30);
        assert_eq!(volume.charged(), 70);
        drop(first);
        assert_eq!(volume.charged(), 0);
    }
}
