//! Places in the protocol where a processor can be held up, so that an interleaving happens that is otherwise a matter of luck.
//!
//! Right code may be held up anywhere, for any time: by an interrupt, by a hypervisor. So whoever is called at a [`Point`] may do
//! there what another processor could do meanwhile, or wait until it has; where a lock is held, the other waits too.
//! A right scheme passes whatever happens at its points, and a wrong one need not be lucky to fail.

/// A place in the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// `pgd_alloc` has copied the populated slots.
    Copied,
    /// Late init, an attach or a walk has read what the reference holds in this slot, and has not brought it to the PGD yet.
    ReferenceRead {
        /// Index of the slot within the kernel half.
        slot: usize,
    },
    /// An updater has changed the reference, and its walk is about to begin.
    WalkBegins,
    /// A walk has been to tasks, or to processors, and the other half is to come.
    HalfWalked,
    /// An updater's walk has ended, and nothing has been flushed or marked synced yet.
    Walked,
}

#[cfg(not(loom))]
pub use on_cores::{at, clear, is_staged, set};

#[cfg(not(loom))]
mod on_cores {
    use core::ptr;
    use core::sync::atomic::{AtomicPtr, Ordering};

    use super::Point;

    static HOOK: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());

    /// Lets `hook` be called at every point, on the processor that has come there.
    pub fn set(hook: fn(Point)) {
        HOOK.store(hook as *mut (), Ordering::Release);
    }

    /// Lets nothing be called any more.
    pub fn clear() {
        HOOK.store(ptr::null_mut(), Ordering::Release);
    }

    /// Tells whether points are of interest to anybody.
    #[inline]
    pub fn is_staged() -> bool {
        !HOOK.load(Ordering::Relaxed).is_null()
    }

    /// Comes to a point.
    #[inline]
    pub fn at(point: Point) {
        let hook = HOOK.load(Ordering::Acquire);
        if !hook.is_null() {
            // SAFETY: only `set` stores what is not null, and stores an `fn(Point)`.
            let hook = unsafe { core::mem::transmute::<*mut (), fn(Point)>(hook) };
            hook(point);
        }
    }
}

/// A model checker comes to every interleaving by itself.
#[cfg(loom)]
mod explored {
    use super::Point;

    pub(crate) const fn is_staged() -> bool {
        false
    }

    pub(crate) const fn at(_point: Point) {}
}

#[cfg(loom)]
pub(crate) use explored::{at, is_staged};
