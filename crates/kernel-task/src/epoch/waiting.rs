//! Callbacks that wait for their grace period, by how long they have.
//!
//! A grace period is over when the epoch has advanced twice since the callbacks were sealed, so how long ago that was has three answers
//! that matter (Fraser's limbo lists): in this epoch, in the one before, earlier. A queue for each, and callbacks
//! move on when the epoch does, all of a queue in one step. Nothing is allocated: the queues link their callbacks through the objects they end.

use kernel_sync::atomic::{AtomicU64, Ordering};
use kernel_sync::{Callback, CallbackQueue, Mutex};

use super::member::Parity;
use super::section::{Epoch, OVER};

/// Callbacks that a CPU queues before it looks at the epoch, and the most that it runs at a time.
pub(super) const BATCH: usize = 64;

/// Sealed callbacks, of one CPU or the common ones.
#[derive(Default)]
pub(super) struct Waiting {
    /// The latest epoch that this has heard of.
    now: Epoch,
    /// INVARIANT: what is in `by_age[n]` was sealed `n` epochs before `now`, or in the last of them earlier still. By parity, for the barriers.
    by_age: [[CallbackQueue; 2]; OVER + 1],
}

impl Waiting {
    /// Adds callbacks that were sealed in epoch `sealed_in`.
    pub(super) fn add(&mut self, sealed_in: Epoch, parity: Parity, callbacks: CallbackQueue) {
        self.advance_to(sealed_in);
        // INVARIANT: their age. Those that another CPU hands over may have been sealed before `now`.
        self.by_age[sealed_in.age_in(self.now)][parity as usize].append(callbacks);
    }

    /// Adds all that another one has.
    pub(super) fn add_all(&mut self, other: Self) {
        self.advance_to(other.now);
        let behind = other.now.age_in(self.now);
        for (age, queues) in other.by_age.into_iter().enumerate() {
            // INVARIANT: older by what the other has not heard of.
            let mine = &mut self.by_age[(age + behind).min(OVER)];
            mine.iter_mut().zip(queues).for_each(|(mine, queue)| mine.append(queue));
        }
    }

    /// An epoch in which callbacks were sealed, the earliest of those that are not over yet; `None` without callbacks.
    pub(super) fn oldest(&self) -> Option<Epoch> {
        let has_some = |queues: &[CallbackQueue; 2]| queues.iter().any(|queue| !queue.is_empty());
        self.by_age.iter().rposition(has_some).map(|age| self.now.before(age))
    }

    pub(super) fn has(&self, parity: Parity) -> bool {
        self.by_age.iter().any(|queues| !queues[parity as usize].is_empty())
    }

    /// Takes some callbacks of one parity whose grace period is over by epoch `now`, at most [`BATCH`].
    pub(super) fn take_over(&mut self, now: Epoch) -> Option<(Parity, CallbackQueue)> {
        self.advance_to(now);
        let over = &mut self.by_age[OVER];
        let parity = Parity::BOTH.into_iter().find(|&parity| !over[parity as usize].is_empty())?;
        Some((parity, over[parity as usize].take_first(BATCH)))
    }

    /// Takes one callback, whatever its age.
    fn take_any(&mut self) -> Option<Callback> {
        self.by_age.iter_mut().flatten().find_map(CallbackQueue::pop)
    }

    fn advance_to(&mut self, now: Epoch) {
        // INVARIANT: each step makes all of them older by one epoch; after two, all are in the last queues.
        for _ in 0..self.now.age_in(now) {
            for parity in Parity::BOTH.map(|parity| parity as usize) {
                for age in (0..OVER).rev() {
                    let queue = core::mem::take(&mut self.by_age[age][parity]);
                    self.by_age[age + 1][parity].append(queue);
                }
            }
        }
        self.now = self.now.max(now);
    }
}

/// Callbacks whose CPU will not run them itself: it went idle, left, or a barrier waits.
///
/// On lines of its own: every CPU reads `oldest` now and then, and in the steady state nobody writes.
#[repr(align(128))]
pub(super) struct Common {
    /// Raw epoch of [`Waiting::oldest`], [`EMPTY`] without one; a hint that spares quiescing CPUs the lock.
    oldest: AtomicU64,
    waiting: Mutex<Waiting>,
}

const EMPTY: u64 = u64::MAX;

impl Common {
    pub(super) fn new() -> Self {
        Self { oldest: AtomicU64::new(EMPTY), waiting: Mutex::new(Waiting::default()) }
    }

    /// Adds what a CPU hands over. Takes a lock that nobody holds while running callbacks.
    pub(super) fn add_all(&self, handed_over: Waiting) {
        let mut waiting = self.waiting.lock();
        waiting.add_all(handed_over);
        self.note_oldest(&waiting);
    }

    /// As [`Waiting::oldest`]. May overlook callbacks that are being added.
    pub(super) fn oldest(&self) -> Option<Epoch> {
        // Relaxed: the lock orders the callbacks themselves.
        match self.oldest.load(Ordering::Relaxed) {
            EMPTY => None,
            raw => Some(Epoch::from_raw(raw)),
        }
    }

    /// As [`Waiting::take_over`].
    pub(super) fn take_over(&self, now: Epoch) -> Option<(Parity, CallbackQueue)> {
        if !self.oldest().is_some_and(|sealed_in| sealed_in.is_over_by(now)) {
            return None;
        }
        let mut waiting = self.waiting.lock();
        let taken = waiting.take_over(now);
        self.note_oldest(&waiting);
        taken
    }

    fn note_oldest(&self, waiting: &Waiting) {
        let oldest = waiting.oldest().map_or(EMPTY, Epoch::to_raw);
        self.oldest.store(oldest, Ordering::Relaxed);
    }
}

impl Drop for Common {
    /// Runs what is left. The domain is gone, and with it every guard.
    fn drop(&mut self) {
        loop {
            // Taken out under the lock and run outside of it: a callback may hold the last
            // reference to something that queues another.
            let Some(callback) = self.waiting.lock().take_any() else { return };
            callback.run();
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use alloc::sync::Arc;
    use core::sync::atomic::{AtomicUsize, Ordering};

    use kernel_sync::{Callback, CallbackQueue};

    use super::{BATCH, Waiting};
    use crate::epoch::member::Parity;
    use crate::epoch::section::Epoch;

    fn callbacks(number: usize, ran: &Arc<AtomicUsize>) -> CallbackQueue {
        let mut queue = CallbackQueue::new();
        for _ in 0..number {
            let ran = Arc::clone(ran);
            let count = move || {
                ran.fetch_add(1, Ordering::Relaxed);
            };
            queue.push(Callback::try_new(count).expect("heap"));
        }
        queue
    }

    /// Takes and runs all that is over by epoch `now`; returns how many of each parity.
    fn run(waiting: &mut Waiting, now: u64) -> [usize; 2] {
        let mut taken = [0; 2];
        while let Some((parity, mut queue)) = waiting.take_over(Epoch::from_raw(now)) {
            assert!(queue.len() <= BATCH);
            taken[parity as usize] += queue.len();
            while let Some(callback) = queue.pop() {
                callback.run();
            }
        }
        taken
    }

    #[test]
    fn callbacks_wait_for_two_epochs_whoever_hands_them_over_and_when() {
        let ran = Arc::new(AtomicUsize::new(0));
        let at = Epoch::from_raw;
        let mut own = Waiting::default();
        own.add(at(5), Parity::Even, callbacks(100, &ran));
        own.add(at(6), Parity::Odd, callbacks(1, &ran));
        assert_eq!(own.oldest(), Some(at(5)));
        assert!(own.has(Parity::Even) && own.has(Parity::Odd));
        assert_eq!(run(&mut own, 6), [0, 0]);
        assert_eq!(run(&mut own, 7), [100, 0]);
        assert_eq!(own.oldest(), Some(at(6)));
        own.add(at(7), Parity::Even, callbacks(2, &ran));

        // To one that is ahead, and with what is younger from one that is behind.
        let mut common = Waiting::default();
        common.add(at(8), Parity::Odd, callbacks(4, &ran));
        common.add_all(own);
        let mut late = Waiting::default();
        late.add(at(3), Parity::Even, callbacks(8, &ran));
        common.add_all(late);
        assert_eq!(run(&mut common, 8), [8, 1]);
        assert_eq!(run(&mut common, 9), [2, 0]);
        assert_eq!(common.oldest(), Some(at(8)));
        assert_eq!(run(&mut common, 20), [0, 4]);
        assert_eq!(common.oldest(), None);
        assert_eq!(ran.load(Ordering::Relaxed), 115);
    }
}
