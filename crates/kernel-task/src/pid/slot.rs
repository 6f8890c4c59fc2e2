//! One place of the task list: a pointer that is published, read under RCU and unlinked.
//!
//! A slot owns one reference of what it points to, an [`RcuArc`]: the object outlives every read-side
//! section that could have loaded the pointer, even if the slot does not. This is the only file of the
//! pid table that turns pointers into references to tasks.

use core::marker::PhantomData;
use core::ptr::{self, NonNull};

use kernel_sync::atomic::{AtomicPtr, Ordering};
use kernel_sync::{Rcu, RcuArc};

/// Slot of the task list: empty, or the owner of one reference.
///
/// INVARIANT: a non-null pointer comes from `RcuArc::into_raw` and stands for one reference,
/// which leaves the slot by the swap in [`Slot::unlink`] or by the drop of the slot, once.
pub(super) struct Slot<T: Send + Sync + 'static, R: Rcu> {
    task: AtomicPtr<T>,
    /// Gives the slot the auto traits and the drop check of what it owns.
    owns: PhantomData<RcuArc<T, R>>,
}

impl<T: Send + Sync + 'static, R: Rcu> Slot<T, R> {
    /// Makes an empty slot.
    pub(super) fn new() -> Self {
        Self { task: AtomicPtr::new(ptr::null_mut()), owns: PhantomData }
    }

    /// Publishes `task`. The caller holds the reservation of this pid, so the slot is empty and
    /// nobody else stores to it.
    ///
    /// A plain release store and not a swap: on x86 a swap is a full barrier, which would hide a
    /// missing one in the caller. The barrier that pairs with the walkers is the caller's.
    pub(super) fn publish(&self, task: RcuArc<T, R>) {
        // INVARIANT: the slot was empty, so no reference is overwritten and lost.
        self.task.store(task.into_raw(), Ordering::Release);
    }

    /// Returns the published task for as long as the read-side section lasts.
    pub(super) fn get<'g>(&self, _guard: &'g R::Guard) -> Option<&'g T> {
        // Acquire pairs with the release in `publish`: what the task holds is seen initialised.
        let task = self.task.load(Ordering::Acquire);
        // SAFETY: null, or by the invariant a pointer to a `T` of which the slot had a reference when
        // it was loaded. An `RcuArc` drops its object a grace period after the last reference. The
        // guard's section found it, so the grace period waits for the section: the object lives for
        // 'g. Nobody has it mutably, because it is shared.
        unsafe { task.as_ref() }
    }

    /// Returns a reference of the caller's own to the published task, unless the last one has just gone.
    pub(super) fn get_ref(&self, guard: &R::Guard) -> Option<RcuArc<T, R>> {
        // The pointer itself and not `get`'s reference: the count lies beside the `T`. Acquire as there.
        let task = NonNull::new(self.task.load(Ordering::Acquire))?;
        // SAFETY: by the invariant it came from `RcuArc::into_raw` of these types, and it was found
        // under the guard.
        unsafe { RcuArc::try_from_found(task, guard) }
    }

    /// Empties the slot and gives up its reference. Readers that loaded the pointer hold none, and
    /// need none until their sections end.
    ///
    /// Returns false if the slot was empty. Of several racing callers exactly one returns true.
    pub(super) fn unlink(&self) -> bool {
        // Look before swapping: an unpublished slot is left alone, so its reservation remains the
        // only writer until it publishes.
        if self.task.load(Ordering::Relaxed).is_null() {
            return false;
        }
        // Acquire: the task was published by another CPU. Release: whoever reserves this pid next
        // finds the slot empty.
        let task = self.task.swap(ptr::null_mut(), Ordering::AcqRel);
        if task.is_null() {
            return false;
        }
        // SAFETY: the invariant; the swap took the pointer out, so this reference is ours alone.
        drop(unsafe { RcuArc::<T, R>::from_raw(task) });
        true
    }
}

impl<T: Send + Sync + 'static, R: Rcu> Drop for Slot<T, R> {
    fn drop(&mut self) {
        let task = self.task.load(Ordering::Relaxed);
        if !task.is_null() {
            // SAFETY: the invariant; `&mut self` means nobody else can take it out.
            drop(unsafe { RcuArc::<T, R>::from_raw(task) });
        }
    }
}
