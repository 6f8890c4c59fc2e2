//! What is to be done after a grace period, queued through the object that it ends.
//!
//! An object is retired where nothing can be refused any more: it is off its lists, its last reference is gone, a walk may still
//! be visiting it. So its way through RCU takes no memory. It carries an [`RcuHead`] from the beginning (Linux's
//! `struct rcu_head`), by which a queue links it; what has no object of its own gets room on the heap while
//! that can still fail, a [`CallbackRoom`].
//!
//! ```
//! use kernel_sync::{CallbackQueue, CallbackRoom};
//!
//! let room = CallbackRoom::try_new().expect("a little memory");
//! let (tables, mut queue) = (vec![7], CallbackQueue::new());
//! // From here on nothing is allocated.
//! queue.push(room.fill(tables, |tables| assert_eq!(tables, [7])));
//! queue.pop().expect("one").run();
//! ```

use alloc::boxed::Box;
use core::cell::UnsafeCell;
use core::mem::offset_of;
use core::ptr::NonNull;

use crate::{OutOfHeap, try_box};

/// An object's place in a queue of callbacks, and what becomes of the object.
pub struct RcuHead {
    /// Whose who has the [`Callback`].
    next: UnsafeCell<Option<NonNull<RcuHead>>>,
    end: unsafe fn(NonNull<RcuHead>),
}

impl RcuHead {
    /// Makes the head of an object that `end` will be called for.
    #[must_use]
    pub const fn new(end: unsafe fn(NonNull<RcuHead>)) -> Self {
        Self { next: UnsafeCell::new(None), end }
    }
}

/// An object that is to end: to be given to RCU, and run once, on any CPU. Dropped instead, it leaks the object.
#[must_use = "an object that is neither queued nor run is leaked"]
pub struct Callback(
    // INVARIANT: in a live object, of which this is the only owner, and `end` may be called with it on any CPU.
    NonNull<RcuHead>,
);

// SAFETY: by the invariant any CPU may run it.
unsafe impl Send for Callback {}

impl Callback {
    /// Takes over the object with `head` in it.
    ///
    /// # Safety
    ///
    /// * `head` is live until its `end` is called, which may be on any CPU, and nobody else queues it.
    /// * It may be used to reach whatever of its object `end` reaches from it.
    pub const unsafe fn new(head: NonNull<RcuHead>) -> Self {
        // INVARIANT: the caller's promise.
        Self(head)
    }

    /// Gives the object up, to a queue that takes pointers; [`Callback::new`] takes it back.
    pub const fn into_head(self) -> NonNull<RcuHead> {
        self.0
    }

    /// Makes a callback of a closure.
    ///
    /// # Errors
    ///
    /// [`OutOfHeap`]; the closure is dropped.
    pub fn try_new<F: FnOnce() + Send + 'static>(closure: F) -> Result<Self, OutOfHeap> {
        Ok(CallbackRoom::try_new()?.fill(closure, |closure: F| closure()))
    }

    /// Ends the object.
    #[inline]
    pub fn run(self) {
        // SAFETY: live, by the invariant.
        let end = unsafe { self.0.as_ref() }.end;
        // SAFETY: the invariant; and `self` is consumed, so it is called once.
        unsafe { end(self.0) };
    }
}

/// Callbacks, first in, first out, linked through their objects. Dropped, it leaks them.
pub struct CallbackQueue {
    /// INVARIANT: each head from the first to the last is of a [`Callback`] that this queue took over, and leads to the next.
    ends: Option<Ends>,
    len: usize,
}

#[derive(Clone, Copy)]
struct Ends {
    first: NonNull<RcuHead>,
    last: NonNull<RcuHead>,
}

// SAFETY: it holds callbacks, which are `Send`.
unsafe impl Send for CallbackQueue {}

impl CallbackQueue {
    /// Makes an empty queue.
    #[must_use]
    pub const fn new() -> Self {
        Self { ends: None, len: 0 }
    }

    /// Number of callbacks.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Tells whether there is no callback.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts `callback` at the end.
    #[inline]
    pub fn push(&mut self, callback: Callback) {
        let head = callback.into_head();
        self.append(Self { ends: Some(Ends { first: head, last: head }), len: 1 });
    }

    /// Puts all of `others` at the end, in a step.
    #[inline]
    pub fn append(&mut self, others: Self) {
        let Some(added) = others.ends else { return };
        // INVARIANT: the last one here leads to the first one there. What the last one of all leads to is nobody's business.
        self.ends = Some(match self.ends {
            Some(Ends { first, last }) => {
                // SAFETY: live and this queue's, by the invariant.
                unsafe { *last.as_ref().next.get() = Some(added.first) };
                Ends { first, last: added.last }
            }
            None => added,
        });
        self.len += others.len;
    }

    /// Takes the first callback out.
    #[inline]
    pub fn pop(&mut self) -> Option<Callback> {
        let Ends { first, last } = self.ends?;
        self.len -= 1;
        self.ends = match self.len {
            0 => None,
            // SAFETY: live and this queue's, by the invariant; it is not the last, so it leads to another.
            _ => unsafe { *first.as_ref().next.get() }.map(|first| Ends { first, last }),
        };
        // INVARIANT: this queue took it over from a callback, and has no more of it.
        Some(Callback(first))
    }

    /// Takes the first callbacks out, at most `most` of them.
    #[must_use]
    pub fn take_first(&mut self, most: usize) -> Self {
        if self.len <= most {
            return core::mem::take(self);
        }
        let mut taken = Self::new();
        while taken.len < most
            && let Some(callback) = self.pop()
        {
            taken.push(callback);
        }
        taken
    }
}

impl Default for CallbackQueue {
    fn default() -> Self {
        Self::new()
    }
}

/// Room for a callback with a `T`, had before it is needed.
pub struct CallbackRoom<T>(Box<Node<T>>);

struct Node<T> {
    head: RcuHead,
    /// `None` until the room is filled.
    content: Option<(T, fn(T))>,
}

impl<T: Send + 'static> CallbackRoom<T> {
    /// Takes room from the heap.
    ///
    /// # Errors
    ///
    /// [`OutOfHeap`].
    pub fn try_new() -> Result<Self, OutOfHeap> {
        Ok(Self(try_box(Node { head: RcuHead::new(end_node::<T>), content: None })?))
    }

    /// Makes a callback that calls `then` with `value`.
    pub fn fill(mut self, value: T, then: fn(T)) -> Callback {
        self.0.content = Some((value, then));
        let node = NonNull::from(Box::leak(self.0));
        // SAFETY: within the node, which is live.
        let head = unsafe { node.byte_add(offset_of!(Node<T>, head)) }.cast();
        // SAFETY: the node was this room's alone and is leaked; `end_node` takes it back, and `T` is `Send`.
        unsafe { Callback::new(head) }
    }
}

/// # Safety
///
/// `head` is in a `Node<T>` that [`CallbackRoom::fill`] leaked, and this is called once.
unsafe fn end_node<T>(head: NonNull<RcuHead>) {
    // SAFETY: the caller's promise: the head lies so many bytes into its node.
    let node = unsafe { head.byte_sub(offset_of!(Node<T>, head)) }.cast::<Node<T>>();
    // SAFETY: the caller's promise; it was a box.
    let node = unsafe { Box::from_raw(node.as_ptr()) };
    if let Some((value, then)) = node.content {
        then(value);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use alloc::sync::Arc;
    use alloc::vec::Vec;
    use core::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::Mutex;

    use super::{Callback, CallbackQueue, CallbackRoom};

    /// A queue of callbacks that write their numbers down.
    fn queue(numbers: core::ops::Range<usize>, ran: &Arc<Mutex<Vec<usize>>>) -> CallbackQueue {
        let mut queue = CallbackQueue::new();
        for number in numbers {
            let ran = Arc::clone(ran);
            let write_down = move || ran.lock().expect("no panic").push(number);
            queue.push(Callback::try_new(write_down).expect("heap"));
        }
        queue
    }

    #[test]
    fn callbacks_come_out_in_the_order_they_went_in() {
        let ran = Arc::default();
        let mut all = queue(0..3, &ran);
        all.append(CallbackQueue::new());
        all.append(queue(3..8, &ran));
        assert_eq!(all.len(), 8);
        let mut first = all.take_first(5);
        assert_eq!((first.len(), all.len()), (5, 3));
        first.append(all.take_first(100));
        assert!(all.is_empty() && all.pop().is_none());
        all.append(first);
        while let Some(callback) = all.pop() {
            callback.run();
        }
        assert_eq!(*ran.lock().expect("no panic"), (0..8).collect::<Vec<_>>());
    }

    #[test]
    fn a_closure_of_any_size_runs_once_and_drops_what_it_captured() {
        #[derive(Clone, Copy)]
        #[repr(align(64))]
        struct Aligned(u8);
        let (count, ran) = (Arc::new(()), Arc::new(AtomicUsize::new(0)));
        let check = |captured: Aligned, many: [u64; 64]| {
            let (held, ran) = (Arc::clone(&count), Arc::clone(&ran));
            Callback::try_new(move || {
                let _held = held;
                assert_eq!((captured.0, many[63]), (3, 7));
                ran.fetch_add(1, Ordering::Relaxed);
            })
            .expect("heap")
        };
        let callback = check(Aligned(3), [7; 64]);
        assert_eq!(Arc::strong_count(&count), 2);
        // SAFETY: given up by the line before, and queued by nobody.
        let callback = unsafe { Callback::new(callback.into_head()) };
        std::thread::spawn(|| callback.run()).join().expect("no panic");
        assert_eq!((Arc::strong_count(&count), ran.load(Ordering::Relaxed)), (1, 1));
    }

    #[test]
    fn room_that_is_not_filled_is_given_back() {
        // Seen by the leak checker, which runs this.
        drop(CallbackRoom::<[u64; 8]>::try_new().expect("heap"));
    }
}
