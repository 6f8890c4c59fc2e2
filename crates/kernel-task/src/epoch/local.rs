//! A CPU's nesting sections: the first one announces, the last one takes it back.

use alloc::sync::Arc;
use core::cell::Cell;

use super::member::Member;
use super::shared::Shared;

/// A CPU as its sections see it, on lines of its own. Lives until the CPU has left and its last guard is gone.
#[repr(align(128))]
pub(super) struct Local {
    pub(super) member: Arc<Member>,
    pub(super) shared: Arc<Shared>,
    /// Guards that are held.
    depth: Cell<usize>,
}

impl Local {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { member: shared.members.register(), shared, depth: Cell::new(0) }
    }

    pub(super) fn enter(&self) {
        let depth = self.depth.get();
        if depth == 0 {
            self.member.announcement.enter(&self.shared.epoch);
        }
        self.depth.set(depth + 1);
    }

    pub(super) fn leave(&self) {
        let depth = self.depth.get() - 1;
        self.depth.set(depth);
        if depth == 0 {
            self.member.announcement.leave();
        }
    }

    pub(super) fn is_inside(&self) -> bool {
        self.depth.get() > 0
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        self.member.release();
    }
}
