//! The time between having a pid and being findable under it.

use alloc::sync::Arc;
use core::fmt;
use core::mem;

use kernel_sync::Rcu;

use super::PidTable;
use super::number::Pid;

/// Pid that is taken and not yet published. Dropping it frees the pid: that is the whole of the
/// error path of a fork that fails before publication.
#[must_use = "a reservation that is dropped gives its pid back"]
pub struct PidReservation<'a, T: Send + Sync + 'static, R: Rcu> {
    table: &'a PidTable<T, R>,
    pid: Pid,
}

impl<'a, T: Send + Sync + 'static, R: Rcu> PidReservation<'a, T, R> {
    /// The caller has set the pid's bit.
    pub(super) fn new(table: &'a PidTable<T, R>, pid: Pid) -> Self {
        Self { table, pid }
    }

    /// Returns the pid.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Publishes `task` under the pid: from this store on, walkers and [`PidTable::get`] find it.
    ///
    /// This is the publication of the protocol (fork in the head of `mm-generic`): the task, with
    /// its mm, is findable now. The store is a *release*: who finds the task sees it initialised. It
    /// does **not** order anything that follows. The caller's next step is a full barrier
    /// ([`kernel_sync::smp_mb`] in a function that names its partner), and only then does it read
    /// what a walker might be changing.
    pub fn publish(self, task: Arc<T>) -> Pid {
        let pid = self.pid;
        let (place, bit) = self.table.place(pid).expect("a reserved pid has a chunk");
        place.slot(bit).publish(task);
        // The pid now belongs to the table, until `remove`.
        mem::forget(self);
        pid
    }
}

impl<T: Send + Sync + 'static, R: Rcu> Drop for PidReservation<'_, T, R> {
    fn drop(&mut self) {
        let (place, bit) = self.table.place(self.pid).expect("a reserved pid has a chunk");
        place.give_back(bit);
    }
}

impl<T: Send + Sync + 'static, R: Rcu> fmt::Debug for PidReservation<'_, T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PidReservation").field("pid", &self.pid).finish_non_exhaustive()
    }
}
