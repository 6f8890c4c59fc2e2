//! The top-level table of one mm, as the lockless scheme keeps it.

use kernel_sync::Mutex;
use kernel_sync::atomic::{AtomicBool, AtomicU64, Ordering};
use mm_generic::frames::Frame;
use mm_generic::reference::Stamp;

/// The top-level table of one mm, and how much of the reference it is known to hold.
pub struct LatePgd {
    root: Frame,
    /// The generation that late init last completed the slots to, or that they were copied at. Nobody but the mm's own late init
    /// reads it: a walker that was inside then may have stored something older since, see [`LatePgd::note_walker`].
    stamp: AtomicU64,
    /// A walker has stored to the slots.
    walked: AtomicBool,
    /// Held by a walker or an attach while it brings slots up to the reference. Never by fork, exec or exit.
    pub(crate) settling: Mutex<()>,
}

impl LatePgd {
    /// Takes a table that holds what the reference held at `stamp`.
    pub(crate) fn new(root: Frame, stamp: Stamp) -> Self {
        Self {
            root,
            stamp: AtomicU64::new(stamp.to_u64()),
            walked: AtomicBool::new(false),
            settling: Mutex::new(()),
        }
    }

    /// Tells whether the slots hold what the reference held at `now`.
    #[inline]
    pub(crate) fn has_stamp(&self, now: Stamp) -> bool {
        // Relaxed: the late init of one mm after another's, which RCU and the cache's lock order, if not one CPU.
        self.stamp.load(Ordering::Relaxed) == now.to_u64()
    }

    /// Notes what the slots hold.
    #[inline]
    pub(crate) fn set_stamp(&self, stamp: Stamp) {
        self.stamp.store(stamp.to_u64(), Ordering::Relaxed);
    }

    /// Notes that a walker has stored to the slots; the caller is in a read-side section.
    ///
    /// It may have been held up since before the late init, and have stored what the reference held then: its exchange succeeds where
    /// late init has left a slot as it found it. The updater that has changed the slot since comes behind it, and waits
    /// for its turn, unless the mm has gone from the places that its walk visits: to another task, whose attach looks at the slots, or for good.
    /// What is left then in a PGD that is kept for another mm is nobody's to repair.
    pub(crate) fn note_walker(&self) {
        // Relaxed: read after a grace period.
        self.walked.store(true, Ordering::Relaxed);
    }

    /// Makes the PGD one for another mm: its stamp stands for nothing if a walker has stored to the slots.
    ///
    /// To be called after the grace period that follows the end of its mm: no walker is inside.
    pub(crate) fn leave_mm(&self) {
        if self.walked.load(Ordering::Relaxed) {
            self.walked.store(false, Ordering::Relaxed);
            self.set_stamp(Stamp::NEVER);
        }
    }

    /// The frame of the top-level table.
    #[must_use]
    #[inline]
    pub fn root(&self) -> Frame {
        self.root
    }
}
