//! Memory of [`RcuArc`](crate::RcuArc)s that CPUs use again: a cache for each type of object.
//!
//! In the steady state a fork takes the memory of its mm, process and task from where the CPU's last exits put theirs, and
//! the kernel's heap, which as a rule has one lock for all CPUs, is not asked. That is Bonwick's object cache without constructed objects: what
//! is kept is memory, and an object is made in it as on the heap. Free memory lies in [`Magazines`].
//!
//! An object lies on cache lines of its own, cached or not: two CPUs that count references to neighbours would write each other's lines.
//!
//! # Whose memory it is
//!
//! | state  | the memory belongs to                    | left by                                                    |
//! |--------|------------------------------------------|------------------------------------------------------------|
//! | heap   | the heap                                 | `RcuArc::try_new_in`, when the cache has none: live        |
//! | live   | the references to the object             | the callback, a grace period after the last: kept, or heap |
//! | kept   | the magazine it lies in                  | `RcuArc::try_new_in`: live; [`ArcCache::shrink`]: heap     |
//!
//! Live memory goes to the cache that it came from, on whichever CPU the callback runs.

use alloc::boxed::Box;
use core::mem::MaybeUninit;
use core::ptr::NonNull;

use crate::atomic::AtomicUsize;
use crate::{Magazines, OutOfHeap, RcuHead, try_box};

/// An object and its count, on cache lines of their own (two, for the adjacent-line prefetcher): its neighbours on the heap may be
/// other CPUs'.
#[repr(align(128))]
pub(crate) struct Counted<T: 'static> {
    pub(crate) references: AtomicUsize,
    /// For the end of the object: queueing it takes no memory.
    pub(crate) head: RcuHead,
    /// Where the memory goes in the end; to the heap, if nowhere.
    pub(crate) home: Option<&'static ArcCache<T>>,
    pub(crate) value: T,
}

/// Memory for one object, and no object in it. Dropped, it goes back to the heap.
pub(crate) struct Room<T: 'static>(Box<MaybeUninit<Counted<T>>>);

// SAFETY: memory without an object is any CPU's.
unsafe impl<T> Send for Room<T> {}

impl<T> Room<T> {
    /// Takes memory from the heap.
    #[inline]
    pub(crate) fn on_heap() -> Result<Self, OutOfHeap> {
        try_box(MaybeUninit::uninit()).map(Self)
    }

    /// Makes an object in the memory; [`Room::without_object`] takes it back.
    #[inline]
    pub(crate) fn fill(self, object: Counted<T>) -> NonNull<Counted<T>> {
        NonNull::from(Box::leak(Box::write(self.0, object)))
    }

    /// Takes back memory that [`Room::fill`] filled.
    ///
    /// # Safety
    ///
    /// The object has been dropped, and nobody uses it any more.
    #[inline]
    pub(crate) unsafe fn without_object(object: NonNull<Counted<T>>) -> Self {
        // SAFETY: a box of this layout in `fill`; the caller's promise.
        Self(unsafe { Box::from_raw(object.cast().as_ptr()) })
    }
}

/// Per-CPU caches of memory for objects of type `T`, to be used with [`RcuArc::try_new_in`](crate::RcuArc::try_new_in).
pub struct ArcCache<T: 'static> {
    rooms: Magazines<Room<T>>,
    /// The number of the CPU that runs this: a hint, a wrong one costs time.
    this_cpu: fn() -> usize,
}

impl<T> ArcCache<T> {
    /// Makes empty caches for `cpus` CPUs that keep memory for `size` objects each, and as much in the middle.
    ///
    /// `this_cpu` returns the number of the CPU that runs it. RCU callbacks come in batches of 64; a `size` of 128 takes what
    /// they free and what forks take meanwhile.
    ///
    /// # Errors
    ///
    /// [`OutOfHeap`].
    pub fn try_new(cpus: usize, size: usize, this_cpu: fn() -> usize) -> Result<Self, OutOfHeap> {
        Ok(Self { rooms: Magazines::try_new(cpus, size)?, this_cpu })
    }

    /// Number of objects that there is memory for.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.rooms.len()
    }

    /// Gives all memory that is kept back to the heap, for a kernel that is short of it; returns for how many objects that was.
    pub fn shrink(&self) -> usize {
        core::iter::from_fn(|| self.rooms.steal()).count()
    }

    /// Takes memory from this CPU, from the middle, from the heap, or else from another CPU.
    #[inline]
    pub(crate) fn take(&self) -> Result<Room<T>, OutOfHeap> {
        if let Some(room) = self.rooms.take((self.this_cpu)()) {
            return Ok(room);
        }
        Room::on_heap().or_else(|error| self.rooms.steal().ok_or(error))
    }

    /// Keeps memory for the next object, or gives it back to the heap when there is enough.
    #[inline]
    pub(crate) fn put(&self, room: Room<T>) {
        drop(self.rooms.put((self.this_cpu)(), room));
    }
}

impl<T> core::fmt::Debug for ArcCache<T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("ArcCache").field("kept", &Self::kept(self)).finish_non_exhaustive()
    }
}
