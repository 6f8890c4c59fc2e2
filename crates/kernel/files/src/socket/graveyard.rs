//! What closed sockets leave behind, dropped one by one.
//!
//! An inbox may hold the last reference to a socket, whose inbox holds the last reference to another, and so on for as long as
//! a program likes. Dropping one inside the other would use up the kernel's stack.

use alloc::vec::Vec;
use kernel_sync::Mutex;

/// Remains, and whether somebody is at work on them.
#[derive(Debug)]
pub(super) struct Graveyard<T>(Mutex<(Vec<T>, bool)>);

impl<T> Default for Graveyard<T> {
    fn default() -> Self {
        Self(Mutex::new((Vec::new(), false)))
    }
}

impl<T> Graveyard<T> {
    /// Drops `remains`, unless this is called by the drop of others: then whoever drops those does it next.
    pub(super) fn bury(&self, remains: T) {
        let mut all = self.0.lock();
        all.0.push(remains);
        if all.1 {
            return;
        }
        all.1 = true;
        while let Some(next) = all.0.pop() {
            drop(all);
            drop(next);
            all = self.0.lock();
        }
        all.1 = false;
    }
}
