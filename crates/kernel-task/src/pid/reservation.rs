//! The time between having a pid and being findable under it.

use core::fmt;
use core::mem;

use kernel_sync::{Rcu, RcuArc};

use super::chunk::Place;
use super::number::Pid;

/// Pid that is taken and not yet published. Dropping it frees the pid: that is the whole of the
/// error path of a fork that fails before publication.
#[must_use = "a reservation that is dropped gives its pid back"]
pub struct PidReservation<'a, T: Send + Sync + 'static, R: Rcu> {
    place: Place<'a, T, R>,
    bit: u32,
    pid: Pid,
}

impl<'a, T: Send + Sync + 'static, R: Rcu> PidReservation<'a, T, R> {
    /// Wraps up `pid`, which is at `bit` of `place`, and which the caller has taken.
    pub(super) fn new(place: Place<'a, T, R>, bit: u32, pid: Pid) -> Self {
        Self { place, bit, pid }
    }

    /// Returns the pid.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Publishes `task` under the pid: from this store on, walkers and
    /// [`PidTable::get`](super::PidTable::get) find it.
    ///
    /// This store *is* the publication that fork's full barrier comes after. It is a release: who
    /// finds the task sees it initialised, with its mm. It does **not** order anything that follows
    /// it. The caller's next step is that barrier ([`kernel_sync::smp_mb`] in a function that names
    /// its partner), and only then does it read what a walker might be changing. The head of
    /// `pid.rs` walks the race.
    pub fn publish(self, task: RcuArc<T, R>) -> Pid {
        let pid = self.pid;
        self.place.slot(self.bit).publish(task);
        // The pid now belongs to the table, until `remove`.
        mem::forget(self);
        pid
    }
}

impl<T: Send + Sync + 'static, R: Rcu> Drop for PidReservation<'_, T, R> {
    fn drop(&mut self) {
        self.place.give_back(self.bit);
    }
}

impl<T: Send + Sync + 'static, R: Rcu> fmt::Debug for PidReservation<'_, T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PidReservation").field("pid", &self.pid).finish_non_exhaustive()
    }
}
