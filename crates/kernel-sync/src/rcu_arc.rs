//! A shared object whose memory outlives every read-side section that could have found it.
//!
//! An mm and a task are found by walkers through pointers that are replaced at any moment. Their
//! life has two ends: the last reference goes, and, a grace period later, the memory goes. `Arc` would
//! join the two, and is not to be had without aborting on an exhausted heap; Linux has this shape
//! in `mm_count` and in `put_task_struct_rcu_user`.

use core::mem::offset_of;
use core::ops::Deref;
use core::ptr::{self, NonNull};

use crate::arc_cache::{Counted, Room};
use crate::atomic::{AtomicUsize, Ordering, fence};
use crate::{ArcCache, Callback, OutOfHeap, Rcu, RcuHead};

/// A counted reference to a `T` that is dropped one grace period of `R` after the last reference.
///
/// Inside a read-side section, a plain `&T` found through a published pointer stays valid until the
/// section ends, whatever happens to the references meanwhile.
pub struct RcuArc<T: Send + Sync + 'static, R: Rcu> {
    // INVARIANT: points to a live `Counted<T>` of which this reference owns one count.
    object: NonNull<Counted<T>>,
    rcu: core::marker::PhantomData<fn() -> R>,
}

// SAFETY: a reference gives `&T` and may drop the `T` on another CPU; `T: Send + Sync` allows both.
unsafe impl<T: Send + Sync, R: Rcu> Send for RcuArc<T, R> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync, R: Rcu> Sync for RcuArc<T, R> {}

impl<T: Send + Sync, R: Rcu> RcuArc<T, R> {
    /// Moves `value` to the heap, with one reference.
    ///
    /// # Errors
    ///
    /// [`OutOfHeap`]; `value` is dropped.
    pub fn try_new(value: T) -> Result<Self, OutOfHeap> {
        Self::try_new_in(value, None)
    }

    /// Moves `value` to memory of `home`, or to the heap if there is none, with one reference. When `value` has been dropped, the
    /// memory goes back to where it came from.
    ///
    /// # Errors
    ///
    /// [`OutOfHeap`]; `value` is dropped.
    #[inline]
    pub fn try_new_in(value: T, home: Option<&'static ArcCache<T>>) -> Result<Self, OutOfHeap> {
        let room = home.map_or_else(Room::on_heap, ArcCache::take)?;
        let (references, head) = (AtomicUsize::new(1), RcuHead::new(free::<T>));
        let object = room.fill(Counted { references, head, home, value });
        // INVARIANT: the count of one is this reference's.
        Ok(Self { object, rcu: core::marker::PhantomData })
    }

    /// Gives up the reference without dropping it; [`RcuArc::from_raw`] takes it up again.
    #[must_use]
    pub fn into_raw(self) -> *mut T {
        let this = core::mem::ManuallyDrop::new(self);
        // SAFETY: the object is live, by the type's invariant.
        unsafe { &raw mut (*this.object.as_ptr()).value }
    }

    /// Takes up a reference that [`RcuArc::into_raw`] gave up.
    ///
    /// # Safety
    ///
    /// `value` came from `into_raw` of the same types, once for each call.
    #[must_use]
    pub unsafe fn from_raw(value: *mut T) -> Self {
        let offset = offset_of!(Counted<T>, value);
        // SAFETY: the value lies `offset` bytes into its `Counted`.
        let object = unsafe { NonNull::new_unchecked(value.byte_sub(offset).cast()) };
        // INVARIANT: the caller hands over the count that `into_raw` left behind.
        Self { object, rcu: core::marker::PhantomData }
    }

    /// Takes a new reference to an object that was found under a read-side guard.
    ///
    /// `None` when the last reference is already gone (`kref_get_unless_zero`).
    ///
    /// # Safety
    ///
    /// `value` came from [`RcuArc::into_raw`] of the same types, and was found within the section of
    /// `_guard`. (A pointer made from a `&T` will not do: the count lies beside the `T`.)
    #[must_use]
    pub unsafe fn try_from_found(value: NonNull<T>, _guard: &R::Guard) -> Option<Self> {
        // SAFETY: `value` lies in an `RcuArc`; its memory lives as long as the guard. The count is
        // not taken by this value, and it is forgotten at once.
        let this = core::mem::ManuallyDrop::new(unsafe { Self::from_raw(value.as_ptr()) });
        // SAFETY: the memory lives as long as the guard.
        let references = unsafe { &(*this.object.as_ptr()).references };
        let mut count = references.load(Ordering::Relaxed);
        while count != 0 {
            match references.compare_exchange(
                count,
                count + 1,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                // INVARIANT: the count just added is the new reference's.
                Ok(_) => return Some(Self { object: this.object, rcu: core::marker::PhantomData }),
                Err(now) => count = now,
            }
        }
        None
    }

    /// Drops the reference, and calls `last` if there is no other, before the grace period begins that the object's end waits for:
    /// the place to take it off lists on which readers find it.
    pub fn release(self, last: impl FnOnce(&T)) {
        let this = core::mem::ManuallyDrop::new(self);
        // SAFETY: the object is live, by the type's invariant.
        let object = unsafe { this.object.as_ref() };
        // Release, and acquire at zero: what every other holder did happens before the free.
        if object.references.fetch_sub(1, Ordering::Release) != 1 {
            return;
        }
        fence(Ordering::Acquire);
        last(&object.value);
        // SAFETY: within the object, which is live.
        let head = unsafe { this.object.byte_add(offset_of!(Counted<T>, head)) }.cast();
        // SAFETY:
        // * the object lives until `free`; this was the last reference and the count stays at zero, so nobody queues it again, and
        //   `T: Send`;
        // * the pointer was made for the whole of the object.
        R::call_rcu(unsafe { Callback::new(head) });
    }

    /// Tells whether two references name the same object.
    #[must_use]
    pub fn ptr_eq(&self, other: &Self) -> bool {
        self.object == other.object
    }
}

impl<T: Send + Sync, R: Rcu> Deref for RcuArc<T, R> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the object is live, by the type's invariant.
        unsafe { &(*self.object.as_ptr()).value }
    }
}

impl<T: Send + Sync, R: Rcu> Clone for RcuArc<T, R> {
    fn clone(&self) -> Self {
        // SAFETY: the object is live, by the type's invariant.
        let references = unsafe { &(*self.object.as_ptr()).references };
        // Relaxed: whoever clones already holds a reference, so nothing can be freed meanwhile.
        references.fetch_add(1, Ordering::Relaxed);
        // INVARIANT: the count just added is the clone's.
        Self { object: self.object, rcu: core::marker::PhantomData }
    }
}

impl<T: Send + Sync, R: Rcu> Drop for RcuArc<T, R> {
    fn drop(&mut self) {
        // INVARIANT: the count moves over; `self` is not used again.
        Self { object: self.object, rcu: core::marker::PhantomData }.release(|_| ());
    }
}

/// Frees an object without references, after its grace period.
///
/// # Safety
///
/// `head` is in a `Counted<T>` that [`RcuArc::try_new_in`] made; no reference is left, and every section that found it has ended.
unsafe fn free<T: 'static>(head: NonNull<RcuHead>) {
    // SAFETY: the caller's promise: the head lies so many bytes into its object.
    let object = unsafe { head.byte_sub(offset_of!(Counted<T>, head)) }.cast::<Counted<T>>();
    // SAFETY: live, by the caller's promise.
    let home = unsafe { object.as_ref() }.home;
    // SAFETY: as above, and not used again.
    unsafe { ptr::drop_in_place(object.as_ptr()) };
    // SAFETY: filled in `try_new_in`, and dropped above.
    let room = unsafe { Room::without_object(object) };
    if let Some(home) = home {
        home.put(room);
    }
}

impl<T: Send + Sync + core::fmt::Debug, R: Rcu> core::fmt::Debug for RcuArc<T, R> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        (**self).fmt(f)
    }
}
