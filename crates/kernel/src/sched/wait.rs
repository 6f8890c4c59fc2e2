//! Sleeping until something is the case, and queues of those who do.
//!
//! A waiter stays on a queue until it takes itself off: who wakes only makes it runnable. So a
//! handler that wakes never drops a reference, which might be the last one.

use super::current;
use super::entity::State;
use super::run_queue::{schedule, wake};
use super::tick::WakeUp;
use crate::cpu::clock;
use crate::os::TaskRef;
use crate::sync::IrqMutex;
use alloc::sync::Arc;
use alloc::vec::Vec;
use kernel_sync::atomic::{AtomicUsize, Ordering};
use thiserror::Error;

/// How often a task looks by itself that has found no place on a queue, in nanoseconds.
const LOOK: u64 = 10_000_000;

/// Tasks that wait for the same thing.
pub struct WaitQueue {
    waiters: IrqMutex<Vec<TaskRef>>,
    /// Queues that are woken with this one. Changed in process context only, so a handler never drops the last
    /// reference to one.
    listeners: IrqMutex<Vec<Arc<WaitQueue>>>,
    /// Length of both lists, for who wakes: nobody there is the usual case.
    len: AtomicUsize,
}

impl WaitQueue {
    /// Makes a queue that nobody waits on.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            waiters: IrqMutex::new(Vec::new()),
            listeners: IrqMutex::new(Vec::new()),
            len: AtomicUsize::new(0),
        }
    }

    /// Wakes all who wait here. They look again at what they wait for.
    ///
    /// The change that they wait for is made before, under a lock that their check takes too, or
    /// followed by a full barrier: otherwise one that is just coming may be overlooked.
    pub fn wake_all(&self) {
        if self.len.load(Ordering::Relaxed) == 0 {
            return;
        }
        for task in self.waiters.lock().iter() {
            wake(task);
        }
        self.wake_listeners();
    }

    /// Wakes those who wait on the listeners alone.
    fn wake_listeners(&self) {
        if self.len.load(Ordering::Relaxed) == 0 {
            return;
        }
        // One below the other, and never in a circle (`files::epoll`).
        for listener in self.listeners.lock().iter() {
            listener.wake_all();
        }
    }

    /// Puts `task` on the queue; false when there is no memory for that.
    fn enter(&self, task: TaskRef) -> bool {
        let mut waiters = self.waiters.lock();
        let has_room = waiters.try_reserve(1).is_ok();
        if has_room {
            waiters.push(task);
            self.len.fetch_add(1, Ordering::Relaxed);
        }
        has_room
    }

    fn leave(&self, task: &TaskRef) {
        let mut waiters = self.waiters.lock();
        let place = waiters.iter().position(|waiter| waiter.ptr_eq(task));
        let left = place.map(|place| waiters.swap_remove(place));
        self.len.fetch_sub(usize::from(left.is_some()), Ordering::Relaxed);
        drop(waiters);
        drop(left);
    }
}

impl Default for WaitQueue {
    fn default() -> Self {
        Self::new()
    }
}

/// What ends a sleep early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Any signal that is not blocked or ignored.
    UntilSignal,
    /// A signal that kills the task.
    UntilKilled,
    /// Nothing.
    Endless,
}

/// Why a sleep ended before what it waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Woken {
    /// By a signal.
    #[error("woken by a signal")]
    Signal,
    /// By its deadline.
    #[error("the deadline has passed")]
    Deadline,
}

/// Sleeps until `ready` has an answer; it is asked at once, and whenever one of `queues` wakes.
///
/// `deadline` is in nanoseconds since boot. `ready` does not sleep and touches no user memory. Where there is no memory for a place on a queue,
/// it is asked every now and then.
///
/// # Errors
///
/// [`Woken`]; `ready` had no answer just before.
pub fn sleep_until<T>(
    queues: &[&WaitQueue],
    patience: Patience,
    deadline: Option<u64>,
    mut ready: impl FnMut() -> Option<T>,
) -> Result<T, Woken> {
    if let Some(answer) = ready() {
        return Ok(answer);
    }
    let me = current();
    let mut looks = None;
    for queue in queues {
        if !queue.enter(me.clone()) {
            looks = Some(clock::now() + LOOK);
        }
    }
    let wake_at = deadline.into_iter().chain(looks).min();
    let mut wake_up = wake_at.map(|at| WakeUp::at(at, me.clone()));
    let state = match patience {
        Patience::UntilSignal => State::Interruptible,
        Patience::UntilKilled => State::Killable,
        Patience::Endless => State::Uninterruptible,
    };
    let result = loop {
        me.parts().sched.about_to_sleep(state);
        if let Some(answer) = ready() {
            break Ok(answer);
        }
        let is_disturbed = match patience {
            Patience::UntilSignal => me.parts().has_signal(),
            Patience::UntilKilled => me.parts().is_killed(),
            Patience::Endless => false,
        };
        if is_disturbed {
            break Err(Woken::Signal);
        }
        if deadline.is_some_and(|deadline| clock::now() >= deadline) {
            break Err(Woken::Deadline);
        }
        schedule();
        if looks.is_some() {
            drop(wake_up.take());
            wake_up = Some(WakeUp::at(clock::now() + LOOK, me.clone()));
        }
    };
    me.parts().sched.stay_awake();
    drop(wake_up);
    for queue in queues {
        queue.leave(&me);
    }
    result
}

/// Sleeps, stopped by a signal, until `ready` has an answer; it is asked whenever the task is woken.
pub fn sleep_stopped(mut ready: impl FnMut() -> Option<()>) {
    let me = current();
    loop {
        me.parts().sched.about_to_sleep(State::Stopped);
        if ready().is_some() {
            break;
        }
        schedule();
    }
    me.parts().sched.stay_awake();
}

impl files::WaitQueue for WaitQueue {
    fn new() -> Self {
        Self::new()
    }

    fn wake_all(&self) {
        self.wake_all();
    }

    fn add_listener(&self, listener: &Arc<Self>) {
        let mut listeners = self.listeners.lock();
        listeners.push(listener.clone());
        self.len.fetch_add(1, Ordering::Relaxed);
    }

    fn remove_listener(&self, listener: &Arc<Self>) {
        let mut listeners = self.listeners.lock();
        let place = listeners.iter().position(|other| Arc::ptr_eq(other, listener));
        let removed = place.map(|place| listeners.swap_remove(place));
        self.len.fetch_sub(usize::from(removed.is_some()), Ordering::Relaxed);
        drop(listeners);
        drop(removed);
    }

    fn wake_listeners(&self) {
        self.wake_listeners();
    }
}
