//! The root that a CPU translates through, or is about to: whom a flush of an mm's translations has to reach.
//!
//! [`crate::loaded::LoadedMm`] alone does not say. It is written *after* the PGD was loaded, for the sake of walks, so a CPU may already
//! translate through an mm that its `LoadedMm` does not name yet. This word is written *before*.
//!
//! ```text
//! CPU A takes a page away                 CPU B switches to the same mm
//! a1 clear the entry                      b1 announce the root
//! a2 FULL BARRIER                         b2 FULL BARRIER, load the root (CR3)
//! a3 look at what B has announced         b3 translate
//! a4 look at B's LoadedMm                 b4 LoadedMm = mm
//! ```
//!
//! If a3 does not see b1, then b2 comes after a2, and whatever B's MMU reads at b3 is the cleared entry. On the way out the two words
//! overlap: B announces another root while its `LoadedMm` names the old mm until B is off it. So a3 comes before a4.

use kernel_sync::atomic::{AtomicU64, Ordering};
use kernel_sync::smp_mb;

use crate::frames::Frame;

/// The root that one CPU has announced. On lines of its own.
#[repr(align(128))]
pub struct AnnouncedRoot(AtomicU64);

/// Evidence that entries were changed before the look at who may have them cached.
pub struct EntriesChanged(());

impl EntriesChanged {
    /// Orders the caller's changes of entries before the looks that follow.
    #[inline]
    #[must_use]
    pub fn before_looks() -> Self {
        entries_changed_before_roots_read();
        Self(())
    }
}

impl AnnouncedRoot {
    /// A CPU that has announced nothing.
    #[cfg(not(loom))]
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicU64::new(u64::MAX))
    }

    /// A CPU that has announced nothing.
    #[cfg(loom)]
    #[must_use]
    pub fn new() -> Self {
        Self(AtomicU64::new(u64::MAX))
    }

    /// Announces `root`, on the CPU that this belongs to, before it loads it ([`crate::kernel::Kernel::load_pgd`]).
    #[inline]
    pub fn announce(&self, root: Frame) {
        // Release: who finds this root, and not the one before it, finds the `LoadedMm` of that one.
        self.0.store(root.phys(), Ordering::Release);
        root_announced_before_translation();
    }

    /// Tells whether the CPU may have translations through `root` cached. `is_loaded` looks whether its
    /// [`crate::loaded::LoadedMm`] names the mm, and is called second, if at all.
    #[inline]
    pub fn may_translate(
        &self,
        root: Frame,
        _changed: &EntriesChanged,
        is_loaded: impl FnOnce() -> bool,
    ) -> bool {
        // Acquire pairs with the release above.
        self.0.load(Ordering::Acquire) == root.phys() || is_loaded()
    }
}

impl Default for AnnouncedRoot {
    fn default() -> Self {
        Self::new()
    }
}

/// Orders the announcement of a root before the first translation through it.
///
/// Partner: `entries_changed_before_roots_read`.
#[inline(always)]
fn root_announced_before_translation() {
    smp_mb();
}

/// Orders the change of entries before the look at which CPUs may have cached them.
///
/// Partner: `root_announced_before_translation`.
#[inline(always)]
fn entries_changed_before_roots_read() {
    smp_mb();
}
