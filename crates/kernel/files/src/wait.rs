//! Waiting: what this crate asks of the kernel's wait queues, and how no wake-up gets lost.
//!
//! Operations here never sleep. An operation that cannot go on returns [`Errno::AGAIN`], and the
//! kernel waits, where the description is not [`OpenFlags::NONBLOCK`], for a bit of
//! [`OpenFile::poll`] to come up:
//!
//! ```text
//! loop {
//!     match file.read(buffer) {
//!         Err(Errno::AGAIN) if !file.flags().contains(OpenFlags::NONBLOCK) => {
//!             let ready = || file.poll().intersects(Ready::IN | Ready::HUP | Ready::ERR);
//!             file.queue().expect("what returns AGAIN has a queue").sleep_until(ready)?   // EINTR
//!         }
//!         result => return result,
//!     }
//! }
//! ```
//!
//! (`sleep_until` is the kernel's. For write the bits are `OUT | ERR`.) poll(2) does the same with
//! the queues of all its files.
//!
//! # The protocol
//!
//! State, in each object: the bits that `poll` computes, under the object's lock.
//!
//! - Who waits: checks; puts itself on the queue; **checks again**; sleeps only if the second check
//!   still says no. After waking: takes itself off the queue.
//! - Who changes: changes the object under its lock, releases the lock, and then calls
//!   [`WaitQueue::wake_all`], for **every change of a bit from 0 to 1**. A change that leaves the bits
//!   as they were (more bytes in a pipe that had some) wakes nobody, because nobody waits for a bit
//!   that is set.
//!
//! The race: CPU A waits, CPU B changes. Both take the object's lock once, A for its second check, B
//! for its change, so one of them comes first.
//!
//! - B first: A's check sees the change. A does not sleep.
//! - A first: A was on the queue before it took the object's lock, and B calls `wake_all` after it
//!   took that lock, so `wake_all` finds A on the queue. The lock's release by A and its acquisition
//!   by B order A's enqueueing before `wake_all`, so even a `wake_all` that looks at a relaxed
//!   "somebody is there" flag first, without the queue's lock, finds it set.
//!
//! A then is "on the queue, not yet asleep": the kernel's sleep must see a wake-up that comes between
//! the second check and the switch to another task (set the task's state before the second check, as
//! Linux's `prepare_to_wait` does).
//!
//! One queue serves all waiters of an object's end, for whatever bit: a waiter that was woken for
//! another bit checks and sleeps again.
//!
//! # Listeners
//!
//! [`Epoll`](crate::epoll::Epoll) watches many files and is waited for at one place, its own queue. That queue listens to
//! the queues of the files: who wakes one of those wakes it too. The argument above holds with "the queue"
//! read as "the listening queue", because the listener is there before its waiters check.
//!
//! Edge-triggered waiting wants more than the bits: that bytes have come, although there were some. So each object
//! counts its edges ([`OpenFile::edges`]): bits that came up, and arrivals that changed no bit. The latter are told to
//! listeners only.
//!
//! [`OpenFile::edges`]: crate::OpenFile::edges
//! [`Errno::AGAIN`]: crate::Errno::AGAIN
//! [`OpenFlags::NONBLOCK`]: crate::OpenFlags::NONBLOCK
//! [`OpenFile::poll`]: crate::OpenFile::poll

use alloc::sync::Arc;
use kernel_sync::Mutex;
use kernel_sync::atomic::{AtomicU64, Ordering};

/// A queue of tasks that wait for something to become ready. The kernel implements it.
pub trait WaitQueue: Send + Sync + 'static {
    /// Makes an empty queue.
    fn new() -> Self;

    /// Wakes everybody who is on the queue. Called without locks of this crate held, from process
    /// context. Cheap when the queue is empty: pipes call it with every change of readiness.
    fn wake_all(&self);

    /// Lets `listener` be woken whenever this queue is, until [`WaitQueue::remove_listener`]. One that is added twice
    /// has to be removed twice.
    fn add_listener(&self, listener: &Arc<Self>);

    /// Takes a listener off.
    fn remove_listener(&self, listener: &Arc<Self>);

    /// Wakes those who wait on the listeners, and not those who wait here.
    fn wake_listeners(&self);
}

/// What can be ready, and in how many ways.
pub(crate) trait Level {
    /// Returns one bit for each condition that somebody may wait for.
    fn level(&self) -> u32;

    /// Returns a number that is another one after something has arrived.
    fn arrivals(&self) -> u64 {
        0
    }
}

/// A state, its lock, and the queue on which its changes are announced: the one place where the rule
/// about waking is kept.
#[derive(Debug)]
pub(crate) struct Watched<T, Q> {
    state: Mutex<T>,
    queue: Q,
    /// Changed under the lock, so that who sees a state has not missed the edges before it.
    edges: AtomicU64,
}

impl<T: Level, Q: WaitQueue> Watched<T, Q> {
    pub(crate) fn new(state: T) -> Self {
        Self { state: Mutex::new(state), queue: Q::new(), edges: AtomicU64::new(0) }
    }

    pub(crate) fn queue(&self) -> &Q {
        &self.queue
    }

    /// Returns how many edges there were: read before the state, one that comes in between counts as later.
    pub(crate) fn edges(&self) -> u64 {
        self.edges.load(Ordering::Acquire)
    }

    /// Looks at the state, or changes what no level depends on.
    pub(crate) fn look<R>(&self, look: impl FnOnce(&mut T) -> R) -> R {
        look(&mut self.state.lock())
    }

    /// Says that there is news which the state does not show: something else that this object's readiness depends on
    /// has come up. After that has been changed, and its lock released.
    pub(crate) fn announce(&self) {
        self.edges.fetch_add(1, Ordering::Release);
        self.queue.wake_all();
    }

    /// Changes the state, and wakes everybody if a bit of its level came up.
    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let mut state = self.state.lock();
        let (before, arrivals) = (state.level(), state.arrivals());
        let result = change(&mut state);
        let has_risen = state.level() & !before != 0;
        let has_arrived = state.arrivals() != arrivals;
        if has_risen || has_arrived {
            self.edges.fetch_add(1, Ordering::Release);
        }
        // Who is woken takes this lock at once.
        drop(state);
        if has_risen {
            self.queue.wake_all();
        } else if has_arrived {
            self.queue.wake_listeners();
        }
        result
    }
}
