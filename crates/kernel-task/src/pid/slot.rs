//! One place of the task list: a pointer that is published, read under RCU and unlinked.
//!
//! A slot owns one strong reference of what it points to. Whoever unlinks it passes that reference
//! to [`Rcu::call_rcu`], so the object outlives every read-side section that could have loaded the
//! pointer. This is the only file of the pid table that turns pointers into references to tasks.

use alloc::sync::Arc;
use core::marker::PhantomData;
use core::ptr;

use kernel_sync::Rcu;
use kernel_sync::atomic::{AtomicPtr, Ordering};

/// Slot of the task list: empty, or the owner of one strong reference.
///
/// INVARIANT: a non-null pointer comes from `Arc::into_raw` and stands for one strong reference,
/// which leaves the slot by the swap in [`Slot::unlink`] or by the drop of the slot, once.
pub(super) struct Slot<T> {
    task: AtomicPtr<T>,
    /// Gives the slot the auto traits and the drop check of what it owns.
    owns: PhantomData<Arc<T>>,
}

impl<T> Slot<T> {
    /// Makes an empty slot.
    pub(super) fn new() -> Self {
        Self { task: AtomicPtr::new(ptr::null_mut()), owns: PhantomData }
    }

    /// Publishes `task`. The caller holds the reservation of this pid, so the slot is empty and
    /// nobody else stores to it.
    ///
    /// A plain release store and not a swap: on x86 a swap is a full barrier, which would hide a
    /// missing one in the caller. The barrier that pairs with the walkers is the caller's.
    pub(super) fn publish(&self, task: Arc<T>) {
        // INVARIANT: the slot was empty, so no reference is overwritten and lost.
        self.task.store(Arc::into_raw(task).cast_mut(), Ordering::Release);
    }

    /// Returns the published task for as long as the read-side section lasts.
    ///
    /// # Safety
    ///
    /// - `_guard` is a guard of the RCU domain that [`Slot::unlink`] is called with.
    /// - The slot itself is dropped only after a grace period that begins after its last `get`.
    pub(super) unsafe fn get<'g, G>(&self, _guard: &'g G) -> Option<&'g T> {
        // Acquire pairs with the release in `publish`: what the task holds is seen initialised.
        let task = self.task.load(Ordering::Acquire);
        // SAFETY: null, or by the invariant a pointer to a live `T` whose reference the slot gives
        // up only through `unlink` or its own drop; both wait for the guard's section (clauses one
        // and two), so the object lives for 'g. Nobody has it mutably: it is shared in an `Arc`.
        unsafe { task.as_ref() }
    }

    /// Returns a reference of the caller's own to the published task.
    ///
    /// # Safety
    ///
    /// As for [`Slot::get`].
    pub(super) unsafe fn get_arc<G>(&self, _guard: &G) -> Option<Arc<T>> {
        // The pointer itself and not `get`'s reference: the count lies beside the `T`, where a
        // pointer made from `&T` may not go.
        let task = self.task.load(Ordering::Acquire).cast_const();
        if task.is_null() {
            return None;
        }
        // SAFETY:
        // - The pointer came from `Arc::into_raw`: the invariant.
        // - The count is at least one throughout: the slot's reference is given up only after a
        //   grace period (the caller's two clauses), and the guard's section is not over.
        // - The reference just counted is the one that `from_raw` takes.
        unsafe {
            Arc::increment_strong_count(task);
            Some(Arc::from_raw(task))
        }
    }

    /// Empties the slot; the task loses the slot's reference after a grace period.
    ///
    /// Returns false if the slot was empty. Of several racing callers exactly one returns true.
    pub(super) fn unlink<R: Rcu>(&self) -> bool
    where
        T: Send + Sync + 'static,
    {
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
        let last = unsafe { Arc::from_raw(task.cast_const()) };
        // Readers that loaded the pointer hold no count. They are done when the callback runs.
        R::call_rcu(move || drop(last));
        true
    }
}

impl<T> Drop for Slot<T> {
    fn drop(&mut self) {
        let task = self.task.load(Ordering::Relaxed);
        if !task.is_null() {
            // SAFETY: the invariant; `&mut self` means nobody else can take it out.
            drop(unsafe { Arc::from_raw(task.cast_const()) });
        }
    }
}
