//! A queue of tasks that allocates nothing: each task holds the link to the next.
//!
//! Waking happens in interrupt handlers and when memory is exhausted, so a run queue must not need
//! any. A task has one link and is on one run queue at most.

use crate::os::{Task, TaskRef};
use core::ptr::{NonNull, null_mut};
use kernel_sync::RcuArc;
use kernel_sync::atomic::Ordering;

/// Tasks, first in first out. It owns a reference to each.
#[derive(Debug)]
pub(super) struct TaskList {
    // INVARIANT: the chain from `head` through the tasks' links is null-terminated, ends at `tail`,
    // has `len` tasks, and each is a reference given up by `into_raw`.
    head: *mut Task,
    tail: *mut Task,
    len: usize,
}

// SAFETY: a list is the references in it, and those are `Send`.
unsafe impl Send for TaskList {}

/// The link of a task that this list may reach.
///
/// # Safety
///
/// `task` is in a list, or a reference to it is held.
unsafe fn link<'a>(task: *mut Task) -> &'a kernel_sync::atomic::AtomicPtr<Task> {
    // SAFETY: the caller's promise keeps the task alive.
    unsafe { &(*task).parts().sched.next }
}

impl TaskList {
    pub(super) const fn new() -> Self {
        Self { head: null_mut(), tail: null_mut(), len: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Adds `task` at the end. It must be on no list.
    pub(super) fn push(&mut self, task: TaskRef) {
        let task = task.into_raw();
        // INVARIANT: linked behind the tail, or alone.
        // SAFETY: the reference is the list's from here on; the tail is in the list.
        unsafe {
            link(task).store(null_mut(), Ordering::Relaxed);
            match NonNull::new(self.tail) {
                Some(tail) => link(tail.as_ptr()).store(task, Ordering::Relaxed),
                None => self.head = task,
            }
        }
        self.tail = task;
        self.len += 1;
    }

    /// Takes the first task that fits.
    pub(super) fn take(&mut self, fits: impl Fn(&Task) -> bool) -> Option<TaskRef> {
        let mut previous: *mut Task = null_mut();
        let mut at = self.head;
        while !at.is_null() {
            // SAFETY: `at` is in the list.
            let (task, next) = unsafe { (&*at, link(at).load(Ordering::Relaxed)) };
            if !fits(task) {
                (previous, at) = (at, next);
                continue;
            }
            // INVARIANT: the chain goes around the task.
            if previous.is_null() {
                self.head = next;
            } else {
                // SAFETY: `previous` is in the list.
                unsafe { link(previous).store(next, Ordering::Relaxed) };
            }
            if next.is_null() {
                self.tail = previous;
            }
            self.len -= 1;
            // SAFETY: given up by `into_raw` in `push`, and no longer in the list.
            return Some(unsafe { RcuArc::from_raw(at) });
        }
        None
    }
}
