//! The life of an mm up to its first load, in types: new, published, ready.
//!
//! ```text
//! NewMm --publish--> PublishedMm --init_late--> ReadyMm --switch_mm--> loaded
//! ```
//!
//! Each arrow consumes what stands to its left. An mm that is not published cannot be late-initialised,
//! because only [`NewMm::publish`] makes a [`PublishedMm`]; one that is not late-initialised cannot
//! be loaded, because [`crate::loaded::LoadedMm::switch_mm`] takes a [`ReadyMm`]. In the 2015 patch this order was
//! a comment, and in FreeBSD (PR kern/12378) its absence was a bug.
//!
//! An mm that already is in use becomes visible to walkers *again* when it gets a task that a walk
//! under way may already have passed by: `kthread_use_mm`, and `CLONE_VM` without `CLONE_THREAD`. That
//! is a publication like any other: [`publish_again`] and [`AttachedMm::init_late`]. It begins with a [`SharedMm`], which is
//! to be had only of an mm whose own late init has ended: that one has the PGD to itself, but for walkers.

#[cfg_attr(
    not(feature = "pgd-init-late"),
    expect(unused_imports, reason = "named in the docs")
)]
use crate::arch::ArchPgd;
use crate::init_mm::InitMm;
use crate::kernel::Kernel;
use crate::mm::{Mm, MmRef, MmUser, NewMmError, Stage};
use crate::user::UserSpace;
use kernel_sync::MutexGuard;
use thiserror::Error;

/// A place where an mm becomes visible to walkers: a task put on the task list, a task's new `mm`.
///
/// # Safety
///
/// When [`PublicationPoint::publish`] returns, `mm` is where [`crate::walk::Walkers`] finds it, stored with
/// release ordering or stronger, and stays there until its task lets it go.
pub unsafe trait PublicationPoint<K: Kernel> {
    /// What the publication leaves behind: the task, the mm that was replaced.
    type Published;

    /// Makes `mm` visible. Cannot fail: whatever could, has been done before.
    fn publish(self, mm: MmUser<K>) -> Self::Published;
}

/// An mm that nobody but its owner can reach.
///
/// Its user half is filled in now: by fork's copy, or by exec's loader. Dropping it frees everything.
#[must_use = "an mm that is dropped is freed"]
pub struct NewMm<K: Kernel>(MmUser<K>);

impl<K: Kernel> NewMm<K> {
    /// Makes an mm with an empty user half.
    ///
    /// # Errors
    ///
    /// [`NewMmError::Pgd`] when there is no frame for the PGD, [`NewMmError::OutOfHeap`] when there is no heap for the
    /// structure. Nothing is kept.
    pub fn new(init_mm: &'static InitMm<K>) -> Result<Self, NewMmError> {
        Mm::try_new(init_mm).map(Self)
    }

    /// The mm, for everything but publication.
    #[must_use]
    pub fn mm(&self) -> &Mm<K> {
        &self.0
    }

    /// Locks the user half.
    pub fn user(&self) -> MutexGuard<'_, UserSpace<K>> {
        self.0.user()
    }

    /// Makes the mm visible to walkers.
    ///
    /// From here on growths fill its kernel half; what they did before, [`PublishedMm::init_late`] adds.
    #[inline]
    pub fn publish<P: PublicationPoint<K>>(self, point: P) -> (PublishedMm<K>, P::Published) {
        let mm = self.0.grab();
        // Which of the three comes first does not matter: nobody loads the mm, or attaches it, before it is ready.
        // MUTATION(after the next statement): the stage is for the error of who asks too early, and what it
        // says then, New or Published, is refused alike.
        mm.set_stage(Stage::Published);
        // MUTATION(after the next statement): both come before the barrier of late init, which is what a walk that misses the
        // mm relies on, and one that finds it, on the list or through the task, finds the same mm.
        mm.join();
        let published = point.publish(self.0);
        (PublishedMm(mm), published)
    }
}

/// An mm that walkers can see, and that lacks what was populated before they could.
#[must_use = "an mm that is published must be late-initialised before anything else"]
pub struct PublishedMm<K: Kernel>(MmRef<K>);

impl<K: Kernel> PublishedMm<K> {
    /// Calls the hook, [`ArchPgd::pgd_init_late`]: the kernel half is complete afterwards, and stays so.
    #[inline]
    pub fn init_late(self) -> ReadyMm<K> {
        #[cfg(feature = "pgd-init-late")]
        self.0.init_mm().arch().pgd_init_late(self.0.pgd());
        self.0.set_stage(Stage::Ready);
        ReadyMm(self.0)
    }
}

/// A share in an mm that has been late-initialised, to be published through one more task.
pub struct SharedMm<K: Kernel>(MmUser<K>);

impl<K: Kernel> SharedMm<K> {
    /// Looks whether `mm` is ready.
    ///
    /// # Errors
    ///
    /// [`NotReady`] while the fork or exec that made it has not come to the end of its late init.
    #[inline]
    pub fn of(mm: MmUser<K>) -> Result<Self, NotReady> {
        match mm.stage() {
            Stage::Ready => Ok(Self(mm)),
            stage => Err(NotReady { stage }),
        }
    }

    /// The share itself, for a thread of a process that walkers find already.
    #[must_use]
    pub fn into_user(self) -> MmUser<K> {
        self.0
    }
}

/// Makes an mm that is already in use visible through one more task.
#[inline]
pub fn publish_again<K: Kernel, P: PublicationPoint<K>>(
    mm: SharedMm<K>,
    point: P,
) -> (AttachedMm<K>, P::Published) {
    let attached = AttachedMm(mm.0.grab());
    let published = point.publish(mm.0);
    (attached, published)
}

/// An mm that walkers can see through a new task, and that may lack what a walk under way did not bring.
#[must_use = "an mm that is published again must be late-initialised before it is loaded"]
pub struct AttachedMm<K: Kernel>(MmRef<K>);

impl<K: Kernel> AttachedMm<K> {
    /// Calls the hook, [`ArchPgd::pgd_attach`]: the kernel half is complete afterwards, and stays so.
    #[inline]
    pub fn init_late(self) -> ReadyMm<K> {
        #[cfg(feature = "pgd-init-late")]
        self.0.init_mm().arch().pgd_attach(self.0.pgd());
        ReadyMm(self.0)
    }
}

/// An mm that a CPU may load: published, and complete from its late init on.
pub struct ReadyMm<K: Kernel>(MmRef<K>);

/// An mm was to be loaded or attached before its late init.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("mm is {stage:?}; only a Ready one can be loaded or attached")]
pub struct NotReady {
    /// How far the mm had come.
    pub stage: Stage,
}

impl<K: Kernel> ReadyMm<K> {
    /// Takes a loadable reference to an mm that went through its late init earlier, for a context switch.
    ///
    /// # Errors
    ///
    /// [`NotReady`] when it has not.
    #[inline]
    pub fn of(mm: &MmUser<K>) -> Result<Self, NotReady> {
        match mm.stage() {
            Stage::Ready => Ok(Self(mm.grab())),
            stage => Err(NotReady { stage }),
        }
    }

    /// The mm.
    #[must_use]
    pub fn mm(&self) -> &Mm<K> {
        &self.0
    }

    pub(crate) fn into_ref(self) -> MmRef<K> {
        self.0
    }
}
