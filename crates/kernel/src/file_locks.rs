//! The locks that programs have on files, of which there is one table.

use crate::sched::WaitQueue;
use files::locks::{Locks, Owner};
use kernel_sync::atomic::{AtomicBool, Ordering};
use spin::Once;

/// Some process has set a lock of its own: closing a file, or its end, may release one.
pub static PROCESSES_LOCK: AtomicBool = AtomicBool::new(false);

/// Returns all locks.
pub fn locks() -> &'static Locks<WaitQueue> {
    static LOCKS: Once<Locks<WaitQueue>> = Once::new();
    LOCKS.call_once(Locks::default)
}

/// Releases all locks of a process that ends.
pub fn exit(pid: u32) {
    if PROCESSES_LOCK.load(Ordering::Relaxed) {
        locks().release_all(Owner::Process(pid));
    }
}
