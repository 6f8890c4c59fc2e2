//! The top-level table of one mm, as the lockless scheme keeps it.

use kernel_sync::Mutex;
use kernel_sync::atomic::AtomicU64;
use mm_generic::frames::Frame;
use mm_generic::reference::Stamp;

/// The top-level table of one mm, and how much of the reference it is known to hold.
pub struct LatePgd {
    root: Frame,
    /// The generation that the slots were last completed to. It may be behind what walks have brought
    /// since, and is never ahead.
    pub(crate) stamp: AtomicU64,
    /// Held by a walker or an attach while it brings slots up to the reference. Never by fork, exec or exit.
    pub(crate) settling: Mutex<()>,
}

impl LatePgd {
    /// Takes a table that holds what the reference held at `stamp`.
    pub(crate) fn new(root: Frame, stamp: Stamp) -> Self {
        Self { root, stamp: AtomicU64::new(stamp.to_u64()), settling: Mutex::new(()) }
    }

    /// The frame of the top-level table.
    #[must_use]
    #[inline]
    pub fn root(&self) -> Frame {
        self.root
    }
}
