//! An address space: its PGD, its user half, and the two counts that end its life in two steps.
//!
//! * [`MmUser`] counts who uses the address space (`mm_users`): tasks. When the last one goes, the
//!   user half is torn down (`exit_mmap`).
//! * [`MmRef`] counts who needs the structure and its PGD (`mm_count`): the users together hold one,
//!   and so does each CPU that has the PGD loaded, lazily or not. When the last one goes, the PGD is
//!   freed a grace period later, because a walker may be visiting it.

use core::mem::ManuallyDrop;
use core::ops::Deref;

use kernel_sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use kernel_sync::{Mutex, MutexGuard, OutOfHeap, RcuArc};
use thiserror::Error;

use crate::arch::{ArchPgd, PgdAllocError};
use crate::frames::Frame;
use crate::init_mm::InitMm;
use crate::kernel::{Kernel, Pgd};
use crate::user::UserSpace;
use crate::walk::{Place, Walkers};

/// A counted reference to an mm's structure and PGD (`mm_count`, `mmgrab`/`mmdrop`).
///
/// The last one takes the mm off the walkers' list, if they have one, and then its grace period begins.
pub struct MmRef<K: Kernel>(
    // INVARIANT: live until `drop` or `into_raw` takes it.
    ManuallyDrop<RcuArc<Mm<K>, K::Rcu>>,
);

impl<K: Kernel> MmRef<K> {
    fn try_new(mm: Mm<K>) -> Result<Self, OutOfHeap> {
        let home = mm.init_mm.mm_cache();
        Ok(Self(ManuallyDrop::new(RcuArc::try_new_in(mm, home)?)))
    }

    /// Tells whether two references are to the same mm.
    #[must_use]
    pub fn ptr_eq(&self, other: &Self) -> bool {
        self.0.ptr_eq(&other.0)
    }

    /// Gives up the reference without dropping it; [`MmRef::from_raw`] takes it up again.
    pub(crate) fn into_raw(self) -> *mut Mm<K> {
        let mut this = ManuallyDrop::new(self);
        // SAFETY: live, and `this` is not dropped.
        unsafe { ManuallyDrop::take(&mut this.0) }.into_raw()
    }

    /// Takes up a reference that [`MmRef::into_raw`] gave up.
    ///
    /// # Safety
    ///
    /// `mm` came from `into_raw`, once for each call.
    pub(crate) unsafe fn from_raw(mm: *mut Mm<K>) -> Self {
        // SAFETY: the caller's promise.
        Self(ManuallyDrop::new(unsafe { RcuArc::from_raw(mm) }))
    }
}

impl<K: Kernel> Clone for MmRef<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: Kernel> Deref for MmRef<K> {
    type Target = Mm<K>;

    fn deref(&self) -> &Mm<K> {
        &self.0
    }
}

impl<K: Kernel> Drop for MmRef<K> {
    fn drop(&mut self) {
        // SAFETY: live, and not used after this.
        let mm = unsafe { ManuallyDrop::take(&mut self.0) };
        mm.release(|mm| mm.place.leave());
    }
}

/// An address space.
///
/// Made by [`crate::publish::NewMm`], shared by [`MmUser`] and [`MmRef`].
pub struct Mm<K: Kernel> {
    init_mm: &'static InitMm<K>,
    // INVARIANT: live until `drop` takes it.
    pgd: ManuallyDrop<Pgd<K>>,
    users: AtomicUsize,
    stage: AtomicU8,
    place: <K::Walkers as Walkers<K>>::Place,
    user: Mutex<UserSpace<K>>,
}

/// How far an mm has come. See [`crate::publish`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Nobody but its maker can reach it.
    New,
    /// Walkers can find it, but slots may still be missing in its kernel half.
    Published,
    /// Complete; a CPU may load it.
    Ready,
}

/// An mm could not be made. Nothing was kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NewMmError {
    /// No PGD.
    #[error(transparent)]
    Pgd(#[from] PgdAllocError),
    /// No heap for the structure.
    #[error("new mm: {0}")]
    OutOfHeap(#[from] OutOfHeap),
}

impl<K: Kernel> Mm<K> {
    /// Makes an mm with one user and an empty user half.
    pub(crate) fn try_new(init_mm: &'static InitMm<K>) -> Result<MmUser<K>, NewMmError> {
        let place = init_mm.walkers().place()?;
        let pgd = init_mm.arch().pgd_alloc()?;
        let mm = Self {
            init_mm,
            pgd: ManuallyDrop::new(pgd),
            users: AtomicUsize::new(1),
            stage: AtomicU8::new(Stage::New as u8),
            place,
            user: Mutex::new(UserSpace::new(init_mm.tables())),
        };
        Ok(MmUser { mm: MmRef::try_new(mm)? })
    }

    /// The kernel this mm belongs to.
    #[must_use]
    pub fn init_mm(&self) -> &'static InitMm<K> {
        self.init_mm
    }

    /// The PGD.
    #[must_use]
    pub fn pgd(&self) -> &Pgd<K> {
        &self.pgd
    }

    /// The frame of the top-level table.
    #[must_use]
    pub fn root(&self) -> Frame {
        self.init_mm.arch().root(&self.pgd)
    }

    /// How far this mm has come.
    #[must_use]
    pub fn stage(&self) -> Stage {
        // Acquire pairs with the release in `set_stage`: who sees `Ready` sees the complete PGD.
        match self.stage.load(Ordering::Acquire) {
            0 => Stage::New,
            1 => Stage::Published,
            _ => Stage::Ready,
        }
    }

    /// Puts the mm on the walkers' list, if they have one.
    #[inline]
    pub(crate) fn join(&self) {
        // SAFETY: the mm is in an `RcuArc`, and the last `MmRef` calls `leave` before the grace period.
        unsafe { self.place.join(self) };
    }

    pub(crate) fn set_stage(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::Release);
    }

    /// Locks the user half (`mmap_lock`).
    pub fn user(&self) -> MutexGuard<'_, UserSpace<K>> {
        self.user.lock()
    }

    /// Tasks that use this address space at the moment.
    #[must_use]
    pub fn users(&self) -> usize {
        self.users.load(Ordering::Relaxed)
    }
}

impl<K: Kernel> Drop for Mm<K> {
    fn drop(&mut self) {
        // SAFETY: the field is live and not used after this.
        let pgd = unsafe { ManuallyDrop::take(&mut self.pgd) };
        // SAFETY:
        // * a CPU that has the PGD loaded holds an `MmRef`, and there is none left;
        // * an `RcuArc` drops its value after a grace period, or, in `try_new`, before anybody saw it;
        // * the last `MmUser` emptied the user half.
        unsafe { self.init_mm.arch().pgd_free(pgd) };
    }
}

/// A share in an address space (`mm_users`, `mmget`/`mmput`).
pub struct MmUser<K: Kernel> {
    mm: MmRef<K>,
}

impl<K: Kernel> MmUser<K> {
    /// A reference that keeps the structure and the PGD, but not the user half (`mmgrab`).
    #[must_use]
    pub fn grab(&self) -> MmRef<K> {
        self.mm.clone()
    }

    /// Tells whether two shares are in the same address space.
    #[must_use]
    pub fn ptr_eq(&self, other: &Self) -> bool {
        self.mm.ptr_eq(&other.mm)
    }
}

impl<K: Kernel> Clone for MmUser<K> {
    fn clone(&self) -> Self {
        // Relaxed: a user exists, so the count cannot reach zero meanwhile.
        self.mm.users.fetch_add(1, Ordering::Relaxed);
        Self { mm: self.mm.clone() }
    }
}

impl<K: Kernel> Deref for MmUser<K> {
    type Target = Mm<K>;

    fn deref(&self) -> &Mm<K> {
        &self.mm
    }
}

impl<K: Kernel> Drop for MmUser<K> {
    fn drop(&mut self) {
        // Relaxed: what each user did to the user half it did under the lock, before it let its share go. The lock is taken
        // once more below, and not before theirs: the decrements would be in the other order then.
        if self.mm.users.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.mm.user().exit_mmap(&self.mm);
        }
    }
}
