//! Putting a new task where walkers find it: the publication point of fork.

use kernel_sync::OutOfHeap;
use mm_generic::mm::MmUser;
use mm_generic::publish::PublicationPoint;

use crate::kernel::TaskKernel;
use crate::pid::PidReservation;
use crate::process::{JoinError, ProcessRef};
use crate::task::{Task, TaskKind, TaskRef};
use crate::tasks::Tasks;

/// A task that is complete but for its place on the task list.
///
/// Dropping it gives the pid back.
#[must_use = "a task that is not inserted does not exist"]
pub struct Insertion<'a, K: TaskKernel> {
    reservation: PidReservation<'a, Task<K>, K::Rcu>,
    task: TaskRef<K>,
}

impl<'a, K: TaskKernel> Insertion<'a, K> {
    /// Makes a task under a pid reserved in `tasks`, without mm, in the thread group `process`.
    ///
    /// # Errors
    ///
    /// [`OutOfHeap`]; the pid is free again, and `parts` are dropped.
    pub fn try_new(
        tasks: &'static Tasks<K>,
        reservation: PidReservation<'a, Task<K>, K::Rcu>,
        process: ProcessRef<K>,
        kind: TaskKind,
        parts: K::Parts,
    ) -> Result<Self, OutOfHeap> {
        let task = Task::try_new(tasks.task_cache(), reservation.pid(), process, kind, parts)?;
        Ok(Self { reservation, task })
    }

    /// The task to be inserted.
    #[must_use]
    pub fn task(&self) -> &Task<K> {
        &self.task
    }

    /// Inserts a thread that shares `mm` with its process (`CLONE_THREAD`).
    ///
    /// No publication of the mm: a walk finds a process's mm through any of its threads, and the
    /// creator has it until this returns. The order is: mm, thread list, task list.
    ///
    /// # Errors
    ///
    /// [`JoinError`]; nothing has become visible, and the pid is free again.
    pub fn insert_thread(self, mm: MmUser<K>) -> Result<TaskRef<K>, JoinError> {
        *self.task.lock_mm() = Some(mm);
        if let Err(error) = self.task.process().join(self.task.clone()) {
            // Here and not when the task is freed: that happens in an RCU callback.
            drop(self.task.take_mm());
            return Err(error);
        }
        self.reservation.publish(self.task.clone());
        Ok(self.task)
    }

    /// Inserts a task that has no mm: a kernel thread.
    pub fn insert_without_mm(self) -> TaskRef<K> {
        self.reservation.publish(self.task.clone());
        self.task
    }
}

// SAFETY: the task has the mm before the release store that puts it on the task list, where every walk that begins later finds it;
// it stays the task's until exec or exit.
unsafe impl<K: TaskKernel> PublicationPoint<K> for Insertion<'_, K> {
    type Published = TaskRef<K>;

    #[inline]
    fn publish(self, mm: MmUser<K>) -> TaskRef<K> {
        *self.task.lock_mm() = Some(mm);
        self.reservation.publish(self.task.clone());
        self.task
    }
}
