//! A list of all mms, for walks that do not go through tasks: an mm is on it for as long as a CPU could load its PGD.
//!
//! What Linux's maintainers asked for in 2015 (`for_each_mm`), and what FreeBSD moved to. A walk over it visits each
//! mm once, whatever tasks and CPUs use it, and takes no task lock. A fork, an exec and an exit write two words each that no
//! other CPU writes, if mms end where they were made.
//!
//! # States of a slot
//!
//! | state    | word            | left by                                                              |
//! |----------|-----------------|----------------------------------------------------------------------|
//! | free     | link, odd       | [`MmList::place`]                                                    |
//! | reserved | null            | [`MmPlace::join`]; or its drop: free again                           |
//! | joined   | pointer to a `T`| [`MmPlace::leave`], with the last reference: reserved again          |
//!
//! A place is dropped with its mm, a grace period after it left. Slots are reserved from a stack of the CPU's and go back to the
//! stack that they came from. Its head counts changes beside the index, so that a head that was taken and put back meanwhile
//! is not taken for the same. More slots are made in segments, each twice as long as the one before, and stay.
//!
//! # Why a walker cannot miss an mm
//!
//! As in `pid.rs`, joining is one half of a store-buffering pattern:
//!
//! ```text
//! CPU A: fork, exec                            CPU B: growth
//! a1  the segment of the slot is there         b1  store the reference entry
//! a2  slot = mm           (join)               b2  FULL BARRIER (B), the caller's
//! a3  FULL BARRIER (A), the caller's           b3  for_each: load segments, slots
//! a4  load the reference's generation
//! ```
//!
//! (A) before (B): b3 sees a2, and a1, which happens before it: A acquired the slot from a stack that it was pushed to after the
//! segment was stored. (B) before (A): a4 sees b1. What is joined stays in its slot, so no walk passes it by: **attaching an mm
//! that has no task needs no late init of its own**. It has been on the list since its late init, and each growth that began
//! since has visited it, tasks or no tasks. (`publish_again` calls the hook all the same; it is a barrier and a compare.)
//!
//! # Why a walker does not visit freed memory
//!
//! The last reference empties the slot **before** it hands the mm to RCU. A walk that found it is in a section that the grace
//! period waits for; a section that is not waited for sees the empty slot. An mm without references is visited now and
//! then, and nobody minds: its PGD is still there.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ptr;

use kernel_sync::OutOfHeap;
use kernel_sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use mm_generic::kernel::RcuGuard;
use mm_generic::mm::Mm;
use mm_generic::walk::{Place, Walkers};

use crate::kernel::TaskKernel;
use crate::tasks::Tasks;

/// Slots of the first segment of each CPU. Two in the model checker.
const FIRST: usize = if cfg!(loom) { 2 } else { 64 };

/// Segments of each CPU: 4 million mms. Two in the model checker.
const SEGMENTS: usize = if cfg!(loom) { 2 } else { 16 };

/// A list of `T`s, which are shared, and live for a grace period after they left.
pub struct MmList<T> {
    shards: Box<[Shard<T>]>,
    this_cpu: fn() -> usize,
}

/// One CPU's slots. What its forks write is on lines of its own.
#[repr(align(128))]
struct Shard<T> {
    free: FreeStack,
    segments: Segments<T>,
}

/// Head of a stack of free slots: above, the number of changes so far; below, one above the index of the first slot, 0 for none.
struct FreeStack(AtomicU64);

/// Away from the stack's head: walkers read it.
#[repr(align(128))]
struct Segments<T>([AtomicPtr<Slot<T>>; SEGMENTS]);

/// INVARIANT: null, an odd number, or a pointer to a `T` that lives until a grace period after it is no longer here.
struct Slot<T>(AtomicPtr<T>);

/// A slot that one mm has.
pub struct MmPlace<T: 'static> {
    shard: &'static Shard<T>,
    index: usize,
}

// SAFETY: a list and its places are atomics that lead to `T`s, which walkers on other CPUs read.
unsafe impl<T: Sync> Send for MmPlace<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for MmPlace<T> {}

impl<T> MmList<T> {
    /// Makes an empty list for `cpus` CPUs. `this_cpu` returns the number of the CPU that runs it: a hint, a wrong one costs time.
    ///
    /// # Errors
    ///
    /// [`OutOfHeap`].
    pub fn try_new(cpus: usize, this_cpu: fn() -> usize) -> Result<Self, OutOfHeap> {
        let mut shards = Vec::new();
        let cpus = cpus.next_power_of_two();
        let bytes = cpus * size_of::<Shard<T>>();
        shards.try_reserve_exact(cpus).map_err(|_| OutOfHeap { bytes })?;
        shards.extend((0..cpus).map(|_| Shard::new()));
        Ok(Self { shards: shards.into_boxed_slice(), this_cpu })
    }

    /// Reserves a place on this CPU.
    ///
    /// # Errors
    ///
    /// [`OutOfHeap`] when there is none for more slots.
    pub fn place(&'static self) -> Result<MmPlace<T>, OutOfHeap> {
        let shard = &self.shards[(self.this_cpu)() & (self.shards.len() - 1)];
        Ok(MmPlace { shard, index: shard.reserve()? })
    }

    /// Calls `visit` with everything that joined before the call and has not left.
    ///
    /// "Before" is happens-before, or the order of the full barriers that who joins executes afterwards and the caller before
    /// this call. `visit` may call anything of this list.
    ///
    /// # Safety
    ///
    /// The caller is in a read-side section from before the call until it uses no `T` any more, and what leaves is kept alive
    /// until the sections that exist then have ended.
    pub unsafe fn for_each(&self, visit: &mut dyn FnMut(&T)) {
        for shard in &self.shards {
            shard.slots(|slot| {
                // Acquire: what the mm holds is seen initialised.
                let found = slot.0.load(Ordering::Acquire);
                if found.addr() & 1 == 0 {
                    // SAFETY: the invariant, and the caller's promise; null is none.
                    unsafe { found.as_ref() }.into_iter().for_each(&mut *visit);
                }
            });
        }
    }
}

impl<T> MmPlace<T> {
    /// Puts `mm` where walks find it.
    ///
    /// A plain release store, for the reason that `pid/slot.rs` gives: the barrier that pairs with the walkers is the caller's.
    ///
    /// # Safety
    ///
    /// `mm` lives until a grace period after [`MmPlace::leave`] was called.
    pub unsafe fn join(&self, mm: &T) {
        // INVARIANT: the caller's promise.
        self.slot().0.store(ptr::from_ref(mm).cast_mut(), Ordering::Release);
    }

    /// Takes the mm off the list. Walks that have found it may be using it until their sections end.
    pub fn leave(&self) {
        // Release: no walk that the grace period does not wait for finds it. The barrier between is RCU's.
        self.slot().0.store(ptr::null_mut(), Ordering::Release);
    }

    fn slot(&self) -> &'static Slot<T> {
        self.shard.slot(self.index)
    }
}

impl<T> Drop for MmPlace<T> {
    fn drop(&mut self) {
        self.shard.push(self.index, self.index);
    }
}

impl<T> Shard<T> {
    fn new() -> Self {
        Self {
            free: FreeStack(AtomicU64::new(0)),
            segments: Segments(core::array::from_fn(|_| AtomicPtr::new(ptr::null_mut()))),
        }
    }

    /// Takes a slot off the stack, making more if there is none. It is null afterwards.
    fn reserve(&self) -> Result<usize, OutOfHeap> {
        loop {
            // Acquire: the slot's segment and its link are seen.
            let head = self.free.0.load(Ordering::Acquire);
            let Some(index) = index_of(head) else {
                self.grow()?;
                continue;
            };
            let link = self.slot(index).0.load(Ordering::Relaxed).addr();
            // If the slot was taken meanwhile, this is no link, and the head has changed.
            let next = above(head) | (link as u64 >> 1);
            // Acquire again: what is taken is what was pushed last.
            let taken =
                self.free.0.compare_exchange(head, next, Ordering::AcqRel, Ordering::Relaxed);
            if taken.is_ok() {
                self.slot(index).0.store(ptr::null_mut(), Ordering::Relaxed);
                return Ok(index);
            }
        }
    }

    /// Puts the slots `first..=last`, which are linked to each other, on the stack.
    fn push(&self, first: usize, last: usize) {
        let mut head = self.free.0.load(Ordering::Relaxed);
        loop {
            let link = (head & INDEX) << 1 | 1;
            self.slot(last).0.store(ptr::without_provenance_mut(link as usize), Ordering::Relaxed);
            let next = above(head) | (first as u64 + 1);
            // Release: whoever takes the slots sees their links, and their segment.
            match self.free.0.compare_exchange(head, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// Makes the next segment, unless another does first.
    #[cold]
    fn grow(&self) -> Result<(), OutOfHeap> {
        let number = (0..SEGMENTS)
            .find(|&number| self.segments.0[number].load(Ordering::Acquire).is_null())
            .ok_or(OutOfHeap { bytes: 0 })?;
        let (first, len) = (start_of(number), FIRST << number);
        let mut slots = Vec::new();
        let bytes = len * size_of::<Slot<T>>();
        slots.try_reserve_exact(len).map_err(|_| OutOfHeap { bytes })?;
        slots.extend((0..len).map(|at| {
            // Each is linked to the one behind it; the last one's link is made when it is pushed.
            let next = (first + at + 2) << 1 | 1;
            Slot(AtomicPtr::new(ptr::without_provenance_mut(next)))
        }));
        let segment: *mut [Slot<T>] = Box::into_raw(slots.into_boxed_slice());
        // Release: the slots are seen initialised by walkers.
        let made = self.segments.0[number].compare_exchange(
            ptr::null_mut(),
            segment.cast(),
            Ordering::AcqRel,
            Ordering::Relaxed,
        );
        if made.is_err() {
            // SAFETY: from `into_raw` above, and not shared.
            drop(unsafe { Box::from_raw(segment) });
            return Ok(());
        }
        self.push(first, first + len - 1);
        Ok(())
    }

    fn slot(&self, index: usize) -> &Slot<T> {
        let number = (index / FIRST + 1).ilog2() as usize;
        // Acquire: an index comes from the stack, which orders this already; the model checker likes it.
        let segment = self.segments.0[number].load(Ordering::Acquire);
        // SAFETY: an index is in a segment that was made; segments live as long as the list.
        unsafe { &*segment.add(index - start_of(number)) }
    }

    fn slots<'a>(&'a self, mut visit: impl FnMut(&'a Slot<T>)) {
        for (number, segment) in self.segments.0.iter().enumerate() {
            // Acquire pairs with the release in `grow`.
            let segment = segment.load(Ordering::Acquire);
            if segment.is_null() {
                return;
            }
            // SAFETY: made with this length in `grow`, and lives as long as the list.
            unsafe { core::slice::from_raw_parts(segment, FIRST << number) }
                .iter()
                .for_each(&mut visit);
        }
    }
}

impl<T> Drop for Shard<T> {
    fn drop(&mut self) {
        for (number, segment) in self.segments.0.iter().enumerate() {
            let segment = segment.load(Ordering::Relaxed);
            if !segment.is_null() {
                let slots = ptr::slice_from_raw_parts_mut(segment, FIRST << number);
                // SAFETY: from `into_raw` in `grow`, with this length; no place is left, for they borrow the list.
                drop(unsafe { Box::from_raw(slots) });
            }
        }
    }
}

/// Index of the first slot of segment `number`.
const fn start_of(number: usize) -> usize {
    FIRST * ((1 << number) - 1)
}

/// The bits of a head that are one above an index.
const INDEX: u64 = u32::MAX as u64;

fn index_of(head: u64) -> Option<usize> {
    (head & INDEX).checked_sub(1).map(|index| index as usize)
}

/// The next number of changes, in place.
const fn above(head: u64) -> u64 {
    (head & !INDEX).wrapping_add(INDEX + 1)
}

/// Tasks, and beside them a list of mms that walks go through.
pub struct Listed<K: TaskKernel> {
    tasks: Tasks<K>,
    mms: MmList<Mm<K>>,
}

impl<K: TaskKernel> Listed<K> {
    /// Puts `mms` beside `tasks`.
    #[must_use]
    pub fn new(tasks: Tasks<K>, mms: MmList<Mm<K>>) -> Self {
        Self { tasks, mms }
    }

    /// The tasks.
    #[must_use]
    pub fn tasks(&self) -> &Tasks<K> {
        &self.tasks
    }
}

// SAFETY: an mm joins before its first publication returns and leaves with its last reference, which every task and every
// CPU that has it loaded holds one of. No lock is taken at all.
unsafe impl<K: TaskKernel> Walkers<K> for Listed<K> {
    type Place = MmPlace<Mm<K>>;

    fn place(&'static self) -> Result<MmPlace<Mm<K>>, OutOfHeap> {
        self.mms.place()
    }

    fn for_each_published(&self, _rcu: &RcuGuard<K>, visit: &mut dyn FnMut(&Mm<K>)) {
        // SAFETY: the guard; an mm that leaves is dropped by RCU.
        unsafe { self.mms.for_each(visit) };
    }

    /// Nothing: what a CPU has loaded is on the list.
    fn for_each_loaded(&self, _rcu: &RcuGuard<K>, _visit: &mut dyn FnMut(&Mm<K>)) {}
}

// SAFETY: it stores and clears what it is told.
unsafe impl<K: TaskKernel> Place<K> for MmPlace<Mm<K>> {
    unsafe fn join(&self, mm: &Mm<K>) {
        // SAFETY: the caller's promise.
        unsafe { self.join(mm) };
    }

    fn leave(&self) {
        self.leave();
    }
}
