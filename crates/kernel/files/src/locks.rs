//! Locks on files: flock(2), and those of fcntl(2) on ranges of bytes, of processes and of descriptions.
//!
//! Locks are advice: who does not ask for one is not kept from anything. Those of flock and those of fcntl do not know of
//! each other. A process that sets a lock where it has one replaces that part of it.
//!
//! Nothing waits here. Who has to wait tries again whenever [`Locks::queue`] is woken, which any release does; so few programs
//! wait for locks that one queue is enough for all.

use crate::{DeviceNumber, Errno, WaitQueue};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;
use kernel_sync::Mutex;

/// Whose a lock is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// A process: `F_SETLK`.
    Process(u32),
    /// A description, by a number that is its own: `F_OFD_SETLK`.
    Description(u64),
    /// A description, and its lock is flock's.
    Whole(u64),
}

impl Owner {
    const fn is_flock(self) -> bool {
        matches!(self, Self::Whole(_))
    }
}

/// A file: its device and its inode's number.
pub type Key = (DeviceNumber, u64);

/// A lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    /// Whose it is.
    pub owner: Owner,
    /// The bytes; to `u64::MAX` for all that follow.
    pub range: Range<u64>,
    /// Nobody else has one.
    pub exclusive: bool,
}

impl Lock {
    fn overlaps(&self, range: &Range<u64>) -> bool {
        self.range.start < range.end && range.start < self.range.end
    }

    fn excludes(&self, other: &Self) -> bool {
        self.owner != other.owner
            && self.owner.is_flock() == other.owner.is_flock()
            && (self.exclusive || other.exclusive)
            && self.overlaps(&other.range)
    }
}

/// All locks.
pub struct Locks<Q> {
    table: Mutex<Table>,
    queue: Q,
}

#[derive(Default)]
struct Table {
    locks: BTreeMap<Key, Vec<Lock>>,
    /// Which process waits for a lock of which.
    waits: BTreeMap<u32, u32>,
}

impl<Q> fmt::Debug for Locks<Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Locks({} files)", self.table.lock().locks.len())
    }
}

impl<Q: WaitQueue> Default for Locks<Q> {
    fn default() -> Self {
        Self { table: Mutex::default(), queue: Q::new() }
    }
}

impl<Q: WaitQueue> Locks<Q> {
    /// Returns where releases are announced.
    #[must_use]
    pub fn queue(&self) -> &Q {
        &self.queue
    }

    /// Returns a lock that keeps `wanted` from being set.
    #[must_use]
    pub fn find_conflict(&self, file: Key, wanted: &Lock) -> Option<Lock> {
        let table = self.table.lock();
        table.locks.get(&file)?.iter().find(|lock| lock.excludes(wanted)).cloned()
    }

    /// Sets a lock. With `waits`, the caller tries again until it has it, or calls [`Locks::give_up`].
    ///
    /// # Errors
    ///
    /// [`Errno::AGAIN`] when another one excludes it; [`Errno::DEADLK`] if those processes wait for each other then;
    /// [`Errno::NOLCK`] without memory.
    pub fn set(&self, file: Key, wanted: Lock, waits: bool) -> Result<(), Errno> {
        let mut table = self.table.lock();
        let Table { locks, waits: waiting } = &mut *table;
        let here = locks.entry(file).or_default();
        let conflict = here.iter().find(|lock| lock.excludes(&wanted)).map(|lock| lock.owner);
        if let Some(conflict) = conflict {
            if here.is_empty() {
                locks.remove(&file);
            }
            if let (Owner::Process(own), Owner::Process(other), true) =
                (wanted.owner, conflict, waits)
            {
                if leads_to(waiting, other, own) {
                    waiting.remove(&own);
                    return Err(Errno::DEADLK);
                }
                waiting.insert(own, other);
            }
            return Err(Errno::AGAIN);
        }
        if let Owner::Process(own) = wanted.owner {
            waiting.remove(&own);
        }
        // What is left of older ones: two pieces at most of one of them, and the new one.
        here.try_reserve(3).map_err(|_| Errno::NOLCK)?;
        let has_released = carve(here, wanted.owner, &wanted.range);
        here.push(wanted);
        drop(table);
        if has_released {
            self.queue.wake_all();
        }
        Ok(())
    }

    /// Says that a process waits no more.
    pub fn give_up(&self, process: u32) {
        self.table.lock().waits.remove(&process);
    }

    /// Releases what `owner` has in `range` of a file.
    ///
    /// # Errors
    ///
    /// [`Errno::NOLCK`] without memory for the two parts of a lock that is cut.
    pub fn release(&self, file: Key, owner: Owner, range: &Range<u64>) -> Result<(), Errno> {
        let mut table = self.table.lock();
        let Some(here) = table.locks.get_mut(&file) else { return Ok(()) };
        here.try_reserve(2).map_err(|_| Errno::NOLCK)?;
        let has_released = carve(here, owner, range);
        if here.is_empty() {
            table.locks.remove(&file);
        }
        drop(table);
        if has_released {
            self.queue.wake_all();
        }
        Ok(())
    }

    /// Releases all that `owner` has: it is gone.
    pub fn release_all(&self, owner: Owner) {
        let mut table = self.table.lock();
        let mut has_released = false;
        table.locks.retain(|_, here| {
            let before = here.len();
            here.retain(|lock| lock.owner != owner);
            has_released |= here.len() != before;
            !here.is_empty()
        });
        drop(table);
        if has_released {
            self.queue.wake_all();
        }
    }
}

/// Tells whether process `from` waits for `to`, maybe through others.
fn leads_to(waits: &BTreeMap<u32, u32>, from: u32, to: u32) -> bool {
    let mut at = from;
    for _ in 0..=waits.len() {
        if at == to {
            return true;
        }
        match waits.get(&at) {
            Some(&next) => at = next,
            None => return false,
        }
    }
    false
}

/// Takes `range` out of the locks of `owner`; tells whether there was something to take.
fn carve(locks: &mut Vec<Lock>, owner: Owner, range: &Range<u64>) -> bool {
    let mut has_changed = false;
    let mut at = 0;
    while at < locks.len() {
        if locks[at].owner != owner || !locks[at].overlaps(range) {
            at += 1;
            continue;
        }
        has_changed = true;
        let old = locks.swap_remove(at);
        // Neither overlaps any more, so both are passed by when they are met.
        for part in [old.range.start..range.start, range.end..old.range.end] {
            if part.start < part.end {
                locks.push(Lock { range: part, ..old.clone() });
            }
        }
    }
    has_changed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Bell;
    use alloc::vec;
    use proptest::prelude::*;

    const FILE: Key = (DeviceNumber { major: 0, minor: 2 }, 7);
    const ONE: Owner = Owner::Process(1);
    const TWO: Owner = Owner::Process(2);

    fn lock(owner: Owner, range: Range<u64>, exclusive: bool) -> Lock {
        Lock { owner, range, exclusive }
    }

    fn set(
        locks: &Locks<Bell>,
        owner: Owner,
        range: Range<u64>,
        exclusive: bool,
    ) -> Result<(), Errno> {
        locks.set(FILE, lock(owner, range, exclusive), false)
    }

    #[test]
    fn readers_share_and_a_writer_is_alone() {
        let locks = Locks::default();
        assert_eq!(set(&locks, ONE, 0..10, false), Ok(()));
        assert_eq!(set(&locks, TWO, 5..15, false), Ok(()));
        assert_eq!(set(&locks, TWO, 5..15, true), Err(Errno::AGAIN));
        assert_eq!(set(&locks, TWO, 10..15, true), Ok(()), "only what it has itself");
        let conflict = locks.find_conflict(FILE, &lock(ONE, 0..u64::MAX, false));
        assert_eq!(conflict, Some(lock(TWO, 10..15, true)));
        locks.release_all(TWO);
        assert_eq!(set(&locks, ONE, 0..u64::MAX, true), Ok(()));
    }

    #[test]
    fn flock_and_fcntl_do_not_know_of_each_other_and_descriptions_are_owners() {
        let locks = Locks::default();
        assert_eq!(set(&locks, ONE, 0..u64::MAX, true), Ok(()));
        assert_eq!(set(&locks, Owner::Whole(1), 0..u64::MAX, true), Ok(()));
        assert_eq!(set(&locks, Owner::Whole(2), 0..u64::MAX, false), Err(Errno::AGAIN));
        assert_eq!(set(&locks, Owner::Description(1), 0..1, false), Err(Errno::AGAIN));
    }

    #[test]
    fn a_circle_of_waits_is_a_deadlock() {
        let locks = Locks::<Bell>::default();
        for n in 0..3 {
            assert_eq!(
                set(&locks, Owner::Process(n), u64::from(n)..u64::from(n) + 1, true),
                Ok(())
            );
        }
        let wait =
            |n: u32, at: u64| locks.set(FILE, lock(Owner::Process(n), at..at + 1, true), true);
        assert_eq!(wait(0, 1), Err(Errno::AGAIN));
        assert_eq!(wait(1, 2), Err(Errno::AGAIN));
        assert_eq!(wait(2, 0), Err(Errno::DEADLK));
        locks.give_up(1);
        assert_eq!(wait(2, 0), Err(Errno::AGAIN), "no circle any more");
    }

    proptest! {
        #[test]
        fn ranges_behave_as_bytes(
            ops in proptest::collection::vec((0..3_u32, 0..12_u64, 1..6_u64, 0..3_u8), 1..40)
        ) {
            let locks = Locks::<Bell>::default();
            // For each byte and process: none, shared, exclusive.
            let mut model = vec![[0_u8; 20]; 3];
            for (process, start, len, kind) in ops {
                let (range, owner) = (start..start + len, Owner::Process(process));
                let bytes = start as usize..(start + len) as usize;
                if kind == 0 {
                    prop_assert_eq!(locks.release(FILE, owner, &range), Ok(()));
                    model[process as usize][bytes].fill(0);
                    continue;
                }
                let excluded = (0..3).filter(|&other| other != process).any(|other| {
                    model[other as usize][bytes.clone()].iter().any(|&held| held + kind > 2)
                });
                let result = locks.set(FILE, lock(owner, range, kind == 2), false);
                prop_assert_eq!(result, if excluded { Err(Errno::AGAIN) } else { Ok(()) });
                if !excluded {
                    model[process as usize][bytes].fill(kind);
                }
            }
            for process in 0..3 {
                locks.release_all(Owner::Process(process));
            }
            prop_assert!(locks.table.lock().locks.is_empty());
        }
    }
}
