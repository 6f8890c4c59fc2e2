//! Signals that have been sent and not taken.

use super::info::Info;
use super::numbers::{Signal, SignalSet};
use alloc::vec::Vec;
use kernel_sync::Mutex;
use kernel_sync::atomic::{AtomicU64, Ordering};
use thiserror::Error;

/// First signal of which several are kept (`SIGRTMIN`).
const FIRST_QUEUED: u8 = 32;

/// Signals from [`FIRST_QUEUED`] on that are kept at most, so that senders cannot fill the heap.
const LIMIT: usize = 1024;

/// No more of these are taken. The signals below [`FIRST_QUEUED`] always are: SIGKILL is one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{waiting} signals wait, and there is no place for one more")]
pub struct Full {
    /// Signals that wait.
    pub waiting: usize,
}

/// Signals that wait, of a thread or of a process.
#[derive(Debug, Default)]
pub struct Pending {
    /// Which signals are in the list, for a look without the lock.
    set: AtomicU64,
    infos: Mutex<Vec<Info>>,
}

impl Pending {
    /// Makes an empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns which signals wait.
    #[inline]
    #[must_use]
    pub fn set(&self) -> SignalSet {
        SignalSet(self.set.load(Ordering::Acquire))
    }

    /// Adds a signal. Of one that waits already there is no second, unless it is a real-time signal.
    ///
    /// # Errors
    ///
    /// [`Full`], for real-time signals.
    pub fn add(&self, info: Info) -> Result<(), Full> {
        let mut infos = self.infos.lock();
        let waiting = infos.len();
        if info.signal.number() < FIRST_QUEUED {
            if self.set().contains(info.signal) {
                return Ok(());
            }
        } else {
            let full = Full { waiting };
            if waiting >= LIMIT {
                return Err(full);
            }
            // Room for all others, too: those need no memory that there may not be.
            infos.try_reserve(usize::from(FIRST_QUEUED)).map_err(|_| full)?;
        }
        infos.push(info);
        self.publish(&infos);
        Ok(())
    }

    /// Takes the next signal that is not in `blocked`.
    pub fn take(&self, blocked: SignalSet) -> Option<Info> {
        self.set().without(blocked).first()?;
        let mut infos = self.infos.lock();
        let signal = self.set().without(blocked).first()?;
        self.take_first(&mut infos, signal)
    }

    /// Takes the next signal that is in `wanted` (`sigtimedwait`).
    pub fn take_of(&self, wanted: SignalSet) -> Option<Info> {
        self.take(SignalSet(!wanted.0))
    }

    /// Drops what waits of `signals`.
    pub fn discard(&self, signals: SignalSet) {
        if self.set().and(signals).is_empty() {
            return;
        }
        let mut infos = self.infos.lock();
        infos.retain(|info| !signals.contains(info.signal));
        self.publish(&infos);
    }

    fn take_first(&self, infos: &mut Vec<Info>, signal: Signal) -> Option<Info> {
        let place = infos.iter().position(|info| info.signal == signal)?;
        let info = infos.remove(place);
        self.publish(infos);
        Some(info)
    }

    fn publish(&self, infos: &[Info]) {
        let set = infos
            .iter()
            .fold(SignalSet::default(), |set, info| set.with(SignalSet::of(info.signal)));
        self.set.store(set.0, Ordering::Release);
    }
}
