//! Pids, and the task list that walkers read: one table, no lock, no line that every fork writes.
//!
//! Linux keeps the two apart: pids in an IDR under `pidmap_lock`, tasks on a list under
//! `tasklist_lock`, both taken by every fork and every exit. Here a pid *is* a place in the task
//! list. Reserving it is one atomic `or` on a word that, as a rule, one CPU alone writes;
//! publishing is one store, unlinking one swap. Walkers read under RCU.
//!
//! # States of a pid
//!
//! | state     | bit in `taken` | slot    | left by                                                   |
//! |-----------|----------------|---------|-----------------------------------------------------------|
//! | free      | clear          | null    | [`PidTable::alloc`]                                       |
//! | reserved  | set            | null    | [`PidReservation::publish`], or its drop: free again      |
//! | published | set            | a task  | [`PidTable::remove`]: the slot first, then the bit        |
//!
//! `remove` gives up the table's reference. The task itself goes one grace period after its last
//! reference; the pid is free at once, but comes up again only when the cursor has been round.
//!
//! Sixty-four pids share a chunk (`pid/chunk.rs` has its states), and chunks that may hold a task
//! are in a summary of one bit each (`pid/directory.rs`). INVARIANT: *while a pid is reserved or
//! published, its chunk is in the summary*; bits are set before the chunk's pids can be had, and
//! cleared only after the chunk was closed, which fails while any pid in it is taken.
//!
//! # Why a walker cannot miss a published task
//!
//! Publication is half of a store-buffering pattern; the other half is whatever the walker makes
//! known before it walks (for the PGD: the new entry of the reference).
//!
//! ```text
//! CPU A: fork                                  CPU B: growth
//! a1  summary bit of the chunk is set          b1  store the reference entry
//! a2  taken |= bit        (alloc)              b2  FULL BARRIER (B), the caller's
//! a3  slot = task         (publish)            b3  for_each: load summary, taken, slot
//! a4  FULL BARRIER (A), the caller's
//! a5  load the reference entry
//! ```
//!
//! One of the two barriers comes first in the order of all full barriers.
//!
//! - (A) before (B): a1, a2 and a3 happen before (A), so each load of b3 returns that store or a
//!   later one. a1 may have been done by another CPU, long ago; it happens before a2, because a2
//!   acquires `taken`, which whoever opened the chunk released after a1. Nothing later undoes them
//!   while the task is published: the summary bit is cleared only after `taken` was seen empty, the
//!   `taken` bit only after the slot. So B visits the task.
//! - (B) before (A): b1 happens before (B), so a5 returns it or a later value. A sees the growth.
//!
//! All three loads of b3 have to be *after* (B), none of them needs to be more than a plain load for
//! this argument. They are acquire loads for another reason: to see initialised what they lead to.
//! If the publication happens before the walk in the ordinary sense, through a lock or a message,
//! the same three loads find it without any barrier.
//!
//! A walk may or may not see what is published while it runs, and what is removed while it runs.
//!
//! # What a fork and an exit write
//!
//! In the steady state `alloc` writes the CPU's position and its chunk's `taken`, `publish` the
//! slot, `remove` the slot and `taken`: lines that only this CPU's tasks use, if tasks exit where
//! they were forked (an exit elsewhere moves two lines, as freeing the task itself does). Words that
//! all CPUs share are two, and each is written in one place only: the cursor, when a CPU's batch is
//! used up (`PidTable::claim`), and the summary, when a chunk is opened or closed
//! (`Place::open`, `Place::close`). That makes at most three shared writes per sixty-four
//! pids. A test in this file freezes both and forks a batch through.
//!
//! # What a walk costs
//!
//! One word of summary per 4096 pids of the limit (8 words by default, 128 cache lines at the
//! largest limit), and three loads for every chunk that holds a task, is some CPU's batch, or became
//! empty since the last walk. Walkers drop the latter from the summary, so a burst of forks does not
//! slow walks down for good.

mod batch;
mod chunk;
mod directory;
mod error;
mod number;
mod reservation;
mod slot;

use alloc::boxed::Box;
use core::fmt;

use kernel_sync::{Rcu, RcuArc};

use batch::{Batch, Cursor, Position, after_wrap};
use chunk::{CHUNK_PIDS, Place};
use directory::{Directory, boxed_slice};

pub use error::PidError;
pub use number::{PID_MAX_DEFAULT, PID_MAX_LIMIT, Pid, RESERVED_PIDS};
pub use reservation::PidReservation;

/// Smallest limit of a table: pid 1 and no other.
const MIN_LIMIT: u32 = 2;

/// Pid allocator and task list in one.
///
/// `T` is the task, `R` the kernel's RCU domain: everything read through the table is read under a
/// guard of `R` and dropped through `R`. A task found under a guard lives as long as the guard, even if
/// the table does not; dropping the table gives up its references to the tasks still published.
pub struct PidTable<T: Send + Sync + 'static, R: Rcu> {
    directory: Directory<T, R>,
    batches: Box<[Batch]>,
    cursor: Cursor,
}

impl<T: Send + Sync + 'static, R: Rcu> PidTable<T, R> {
    /// Makes an empty table for pids `1..limit` and `cpus` CPUs, numbered from 0.
    ///
    /// # Errors
    ///
    /// [`PidError::BadLimit`] if `limit` is not within `2..=PID_MAX_LIMIT`;
    /// [`PidError::NoMemory`] if there is none for what a table needs from the start: 16 bytes per
    /// 4096 pids of the limit and 128 bytes per CPU.
    pub fn new(limit: u32, cpus: usize) -> Result<Self, PidError> {
        if !(MIN_LIMIT..=PID_MAX_LIMIT).contains(&limit) {
            return Err(PidError::BadLimit { limit, min: MIN_LIMIT, max: PID_MAX_LIMIT });
        }
        Ok(Self {
            directory: Directory::new(limit)?,
            batches: boxed_slice(cpus, Batch::new)?,
            cursor: Cursor::new(),
        })
    }

    /// Returns one above the largest pid.
    #[must_use]
    pub fn limit(&self) -> u32 {
        self.directory.limit()
    }

    /// Returns how many turns of the shared cursor were taken, which is the number of batches so
    /// far and of chunks skipped because they were full. Each turn stands for at most three writes
    /// of lines that all CPUs share. A figure for measurements: it is stale when it arrives.
    #[must_use]
    pub fn batches_claimed(&self) -> u64 {
        self.cursor.turns()
    }

    /// Reserves a pid for a task that is being forked on `cpu`.
    ///
    /// Pids ascend on each CPU and wrap at the limit; after the wrap they start at
    /// [`RESERVED_PIDS`], if the limit is above that. The first pid of a table is 1. When nothing
    /// else is left, pids out of the batches of other CPUs and, unlike in Linux, reserved ones are
    /// given out before fork fails.
    ///
    /// Runs with preemption off, as reading the CPU's number does. If a kernel lets two tasks
    /// allocate for one CPU at once, pids stay unique but may be out of order.
    ///
    /// # Errors
    ///
    /// - [`PidError::NoSuchCpu`] if the table was not made for that many CPUs.
    /// - [`PidError::Exhausted`] if no pid was free during the whole call.
    /// - [`PidError::NoMemory`] if the chunk whose turn it is cannot be allocated.
    pub fn alloc(&self, cpu: usize) -> Result<PidReservation<'_, T, R>, PidError> {
        let batch =
            self.batches.get(cpu).ok_or(PidError::NoSuchCpu { cpu, cpus: self.batches.len() })?;
        loop {
            let at = batch.position();
            let Some(Position { chunk, bit }) = at else {
                let Some(turn) = self.claim()? else {
                    return self.alloc_anywhere();
                };
                if !batch.replace(None, Some(turn)) {
                    // Another task of this CPU has just installed a batch.
                    self.directory.find_or_make(turn.chunk)?.retire();
                }
                continue;
            };
            let place = self.directory.find_or_make(chunk)?;
            if let Some(bit) = place.take(bit) {
                // Failure means that someone moved the position; the pid is ours all the same.
                batch.replace(at, Some(Position { chunk, bit: bit + 1 }));
                return Ok(reservation_at(place, chunk, bit));
            }
            if batch.replace(at, None) {
                place.retire();
            }
        }
    }

    /// Makes the next chunk with a free pid a batch; `None` after a whole lap without one.
    fn claim(&self) -> Result<Option<Position>, PidError> {
        let chunks = self.directory.chunks();
        let first = self.cursor.advance();
        for number in first..first + chunks as u64 {
            let turn = Cursor::turn(number, self.limit(), chunks);
            if self.directory.find_or_make(turn.chunk)?.claim(turn.bit) {
                if number > first {
                    self.cursor.advance_to(number + 1);
                }
                return Ok(Some(turn));
            }
        }
        Ok(None)
    }

    /// Reserves any pid that is free, wherever it is; the reserved ones last.
    fn alloc_anywhere(&self) -> Result<PidReservation<'_, T, R>, PidError> {
        let chunks = self.directory.chunks();
        let start = after_wrap(self.limit());
        let unreserved = (start.chunk..chunks)
            .map(|chunk| Position { chunk, bit: if chunk == start.chunk { start.bit } else { 0 } });
        let reserved = (0..chunks.min(start.chunk + 1)).map(|chunk| Position { chunk, bit: 0 });
        for Position { chunk, bit } in unreserved.chain(reserved) {
            let place = self.directory.find_or_make(chunk)?;
            if let Some(bit) = place.take_or_full(bit) {
                return Ok(reservation_at(place, chunk, bit));
            }
        }
        Err(PidError::Exhausted { limit: self.limit() })
    }

    /// Returns where this pid lives, if its chunk was ever made.
    fn place(&self, pid: Pid) -> Option<(Place<'_, T, R>, u32)> {
        // A pid is below 2^22.
        let place = self.directory.find((pid.get() / CHUNK_PIDS) as usize)?;
        Some((place, pid.get() % CHUNK_PIDS))
    }

    /// Unlinks the task published under `pid` and frees the pid.
    ///
    /// Readers may go on using the task until their sections end. Of several racing calls exactly one
    /// succeeds.
    ///
    /// # Errors
    ///
    /// [`PidError::NotPublished`] if there is no task under this pid, be it free, reserved, beyond
    /// the limit, or removed by someone else.
    pub fn remove(&self, pid: Pid) -> Result<(), PidError> {
        let (place, bit) = self.place(pid).ok_or(PidError::NotPublished { pid })?;
        if !place.slot(bit).unlink() {
            return Err(PidError::NotPublished { pid });
        }
        // After the slot, so that the next owner of the pid finds it empty.
        place.give_back(bit);
        Ok(())
    }

    /// Returns the task published under `pid`, for as long as the read-side section lasts.
    pub fn get<'g>(&self, pid: Pid, guard: &'g R::Guard) -> Option<&'g T> {
        let (place, bit) = self.place(pid)?;
        place.slot(bit).get(guard)
    }

    /// Returns a reference of the caller's own to the task published under `pid`: one that may
    /// leave the read-side section. `None` also if the last reference is gone by now.
    pub fn get_ref(&self, pid: Pid, guard: &R::Guard) -> Option<RcuArc<T, R>> {
        let (place, bit) = self.place(pid)?;
        place.slot(bit).get_ref(guard)
    }

    /// Calls `visit` with every task that was published before the call and is not removed.
    ///
    /// "Before" is happens-before, or the order of the full barriers that the publisher executes
    /// after publishing and the caller before this call. Tasks published or removed meanwhile may or
    /// may not be seen. `visit` may call anything of this table.
    pub fn for_each<'g>(&self, guard: &'g R::Guard, visit: &mut dyn FnMut(&'g T)) {
        self.directory.for_each_listed(|place| {
            place.walk(|slot| {
                if let Some(task) = slot.get(guard) {
                    visit(task);
                }
            });
        });
    }
}

/// Makes a reservation of the pid at `bit` of `place`, chunk number `chunk`, which was just taken.
fn reservation_at<T: Send + Sync + 'static, R: Rcu>(
    place: Place<'_, T, R>,
    chunk: usize,
    bit: u32,
) -> PidReservation<'_, T, R> {
    let raw = u32::try_from(chunk).ok().map(|chunk| chunk * CHUNK_PIDS + bit);
    let pid = raw.and_then(Pid::new).expect("pid 0 and those beyond the limit are never free");
    PidReservation::new(place, bit, pid)
}

impl<T: Send + Sync + 'static, R: Rcu> fmt::Debug for PidTable<T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PidTable")
            .field("limit", &self.limit())
            .field("cpus", &self.batches.len())
            .field("batches_claimed", &self.batches_claimed())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use kernel_sync::{Callback, Rcu, RcuArc};

    use super::{Pid, PidTable};

    /// One thread and no guards held across a removal: every grace period is over at once.
    struct Immediate;

    // SAFETY: the test below holds no guard when it removes.
    unsafe impl Rcu for Immediate {
        type Guard = ();

        fn read_lock() {}

        fn call_rcu(callback: Callback) {
            callback.run();
        }
    }

    #[test]
    fn forks_and_exits_within_a_batch_leave_the_shared_words_alone() {
        let table: PidTable<u32, Immediate> = PidTable::new(32_768, 2).expect("good limit");
        let fork = |task| -> Pid {
            let task = RcuArc::try_new(task).expect("heap");
            table.alloc(0).expect("a free pid").publish(task)
        };
        let shared = || (table.cursor.turns(), table.directory.summary());
        for batch in 0..8 {
            // The first pid of a batch pays for all: a turn of the cursor, and a chunk opened, and
            // the previous one closed.
            let first = fork(0);
            let before = shared();
            assert_eq!(before.0, batch + 1);
            table.remove(first).expect("published");
            // Pid 0 is not handed out, so the first batch has one pid less.
            for task in 1..if batch == 0 { 63 } else { 64 } {
                table.remove(fork(task)).expect("published");
                assert!(shared() == before, "task {task} of batch {batch} wrote a shared word");
            }
        }
        // Each batch but the current one was closed behind the CPU.
        assert_eq!(table.directory.summary()[0].count_ones(), 1);
    }
}
