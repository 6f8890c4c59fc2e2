//! Sixty-four pids with one word that says which are taken, and how a chunk gets on and off the
//! summary that walkers read.
//!
//! # States
//!
//! | state      | bit in the summary | `taken`              | who may move it on                    |
//! |------------|--------------------|----------------------|---------------------------------------|
//! | `Unlisted` | clear              | closed: all ones     | anyone, by compare-exchange           |
//! | `Moving`   | changing           | opening or closing   | whoever moved it here                 |
//! | `Listed`   | set                | one bit per pid      | anyone, by compare-exchange           |
//! | `Batch`    | set                | one bit per pid      | the CPU that hands out from it        |
//!
//! A pid is reserved by setting its bit in `taken`, and that word alone decides: a bit is had by
//! whoever changed it from clear to set. The states only steer CPUs apart and keep the summary.
//! Whether a chunk is `Listed` or some CPU's `Batch` is advice: taking a bit out of another CPU's
//! batch is correct, merely slow.
//!
//! # Transitions
//!
//! *Open*, `Unlisted` to `Moving` to `Listed` or `Batch`: set the summary bit, **then** clear
//! `taken`. Nobody can reserve a pid before the second step, so every reserved pid has its chunk
//! in the summary.
//!
//! *Close*, `Listed` or `Batch` to `Moving` to `Unlisted`: change `taken` from empty to all ones in
//! one compare-exchange, **then** clear the summary bit. The exchange succeeds only if no pid of the
//! chunk is taken, and from then on none can be. Clearing the bit of a chunk that merely *looked*
//! empty is the mistake to keep away from: a fork may reserve and publish between the look and the
//! clear, and setting the bit again afterwards comes too late for a walker that has passed.
//!
//! ```text
//! CPU A (retires its empty batch)        CPU B (reserves in the same chunk)
//! taken: empty -> all ones   succeeds    taken |= bit: was set already, B goes elsewhere
//! taken: empty -> all ones   fails       taken |= bit: was clear, B has the pid; the chunk stays
//! ```
//!
//! # The version in the state
//!
//! A full chunk and a closed one have the same `taken`. The search that must not overlook a free
//! pid ([`Place::take_or_full`]) tells them apart by reading the state before and after: every
//! transition changes the version, and closing enters `Moving` before it touches `taken`.

use core::array;

use kernel_sync::Rcu;
use kernel_sync::atomic::{AtomicU64, Ordering};
use kernel_sync::cpu_relax;

use super::slot::Slot;

/// Pids per chunk. Two in the model checker, so that filling one is a short story.
pub(super) const CHUNK_PIDS: u32 = if cfg!(loom) { 2 } else { 64 };

/// `taken` of a chunk in which no pid can be had: all are taken, or the chunk is closed.
pub(super) const FULL: u64 = u64::MAX >> (64 - CHUNK_PIDS);

const _: () = assert!(CHUNK_PIDS >= 1 && CHUNK_PIDS <= 64, "`taken` is one word");

/// Where a chunk is in its life; see the table at the head of the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Unlisted,
    Moving,
    Listed,
    Batch,
}

/// Value of the state word: a kind in the low two bits, above it the number of transitions so far.
/// The number cannot come round within one search: it has 62 bits.
#[derive(Clone, Copy, PartialEq, Eq)]
struct State(u64);

impl State {
    const FRESH: Self = Self(0);

    fn kind(self) -> Kind {
        match self.0 & 3 {
            0 => Kind::Unlisted,
            1 => Kind::Moving,
            2 => Kind::Listed,
            _ => Kind::Batch,
        }
    }

    fn next(self, kind: Kind) -> Self {
        let bits = match kind {
            Kind::Unlisted => 0,
            Kind::Moving => 1,
            Kind::Listed => 2,
            Kind::Batch => 3,
        };
        Self((((self.0 >> 2) + 1) << 2) | bits)
    }
}

/// Chunk of [`CHUNK_PIDS`] consecutive pids. Aligned to two cache lines, because processors fetch
/// lines in pairs: a CPU's fork and exit write no line that another CPU's batch lies in.
#[repr(align(128))]
pub(super) struct Chunk<T: Send + Sync + 'static, R: Rcu> {
    /// One bit per pid, set while the pid is reserved or published.
    taken: AtomicU64,
    state: AtomicU64,
    slots: [Slot<T, R>; CHUNK_PIDS as usize],
}

impl<T: Send + Sync + 'static, R: Rcu> Chunk<T, R> {
    /// Makes a chunk that is closed and not in the summary.
    pub(super) fn new() -> Self {
        #[cfg(not(loom))]
        const {
            assert!(size_of::<Self>() == 640, "two words, 64 slots, padding to 128 bytes");
        };
        Self {
            taken: AtomicU64::new(FULL),
            state: AtomicU64::new(State::FRESH.0),
            slots: array::from_fn(|_| Slot::new()),
        }
    }
}

/// A chunk together with its bit in the summary and the pids in it that do not exist.
pub(super) struct Place<'a, T: Send + Sync + 'static, R: Rcu> {
    chunk: &'a Chunk<T, R>,
    /// Word of the summary that the chunk's bit is in.
    summary: &'a AtomicU64,
    /// The chunk's bit in `summary`, as a mask.
    listed: u64,
    /// `taken` of this chunk when it is empty: the bits of pids that cannot be handed out, which
    /// are pid 0 and those at or above the limit.
    empty: u64,
}

impl<'a, T: Send + Sync + 'static, R: Rcu> Place<'a, T, R> {
    pub(super) fn new(
        chunk: &'a Chunk<T, R>,
        summary: &'a AtomicU64,
        listed: u64,
        empty: u64,
    ) -> Self {
        Self { chunk, summary, listed, empty }
    }

    /// Returns the slot of the pid at `bit` of this chunk.
    pub(super) fn slot(&self, bit: u32) -> &'a Slot<T, R> {
        &self.chunk.slots[bit as usize]
    }

    /// Reserves the lowest free pid at or above `from` (a bit index, up to [`CHUNK_PIDS`] for
    /// "none"); returns its bit.
    ///
    /// `None` says that at some moment of the call none was free, or that the chunk was closed.
    pub(super) fn take(&self, from: u32) -> Option<u32> {
        let above = if from < CHUNK_PIDS { FULL << from } else { 0 };
        loop {
            // Acquire: `take_or_full` must see the `Moving` that came before a close.
            let free = !self.chunk.taken.load(Ordering::Acquire) & FULL & above;
            if free == 0 {
                return None;
            }
            let bit = free.trailing_zeros();
            // Acquire, twice over: whoever freed the pid emptied its slot before, and whoever
            // opened the chunk put it in the summary before. Both then happen before our publishing.
            let before = self.chunk.taken.fetch_or(1 << bit, Ordering::Acquire);
            if before & (1 << bit) == 0 {
                return Some(bit);
            }
        }
    }

    /// Frees the pid at `bit`, which the caller reserved or unlinked.
    pub(super) fn give_back(&self, bit: u32) {
        // Release: the slot is seen empty by whoever reserves the pid next.
        self.chunk.taken.fetch_and(!(1 << bit), Ordering::Release);
    }

    /// Makes the chunk the caller's batch if nobody hands out from it and it has a free pid at or
    /// above `from`.
    pub(super) fn claim(&self, from: u32) -> bool {
        let seen = State(self.chunk.state.load(Ordering::Acquire));
        match seen.kind() {
            Kind::Unlisted => match self.shift(seen, Kind::Moving) {
                Some(moving) => {
                    self.open(moving, Kind::Batch);
                    true
                }
                None => false,
            },
            Kind::Listed => {
                let free = !self.chunk.taken.load(Ordering::Relaxed) & FULL;
                free >> from != 0 && self.shift(seen, Kind::Batch).is_some()
            }
            Kind::Moving | Kind::Batch => false,
        }
    }

    /// Ends the caller's handing out from this chunk. An empty chunk leaves the summary.
    pub(super) fn retire(&self) {
        let seen = State(self.chunk.state.load(Ordering::Acquire));
        if seen.kind() != Kind::Batch {
            return;
        }
        if self.chunk.taken.load(Ordering::Relaxed) != self.empty {
            self.shift(seen, Kind::Listed);
        } else if let Some(moving) = self.shift(seen, Kind::Moving) {
            self.close(moving);
        }
    }

    /// Reserves any free pid at or above `from`, whoever hands out from the chunk.
    ///
    /// Returns `None` only if no such pid was free during the whole call: a pid that nobody held
    /// from the call's beginning to its end is found.
    pub(super) fn take_or_full(&self, from: u32) -> Option<u32> {
        loop {
            // Acquire: with this state we see `taken` as it was when the chunk was opened, or later.
            let before = State(self.chunk.state.load(Ordering::Acquire));
            match before.kind() {
                Kind::Unlisted => {
                    if let Some(moving) = self.shift(before, Kind::Moving) {
                        self.open(moving, Kind::Listed);
                    }
                }
                // Someone is between two stores; what the chunk will be is not decided yet.
                Kind::Moving => cpu_relax(),
                Kind::Listed | Kind::Batch => {
                    if let Some(bit) = self.take(from) {
                        return Some(bit);
                    }
                    // If `take` read the all-ones of a close, it acquired that store, and with it
                    // the `Moving` before it: the state has changed.
                    if State(self.chunk.state.load(Ordering::Acquire)) == before {
                        return None;
                    }
                }
            }
        }
    }

    /// Calls `visit` with the slot of every pid that is taken, and drops an empty chunk from the
    /// summary if nobody hands out from it.
    pub(super) fn walk(&self, mut visit: impl FnMut(&'a Slot<T, R>)) {
        let mut taken = self.chunk.taken.load(Ordering::Acquire) & !self.empty;
        if taken == 0 {
            self.tidy();
            return;
        }
        while taken != 0 {
            visit(self.slot(taken.trailing_zeros()));
            taken &= taken - 1;
        }
    }

    /// Takes an empty chunk that is no CPU's batch out of the summary. Left to walkers, so that
    /// the exit which empties a chunk need not look at its state.
    fn tidy(&self) {
        let seen = State(self.chunk.state.load(Ordering::Acquire));
        if seen.kind() == Kind::Listed
            && self.chunk.taken.load(Ordering::Relaxed) == self.empty
            && let Some(moving) = self.shift(seen, Kind::Moving)
        {
            self.close(moving);
        }
    }

    /// Moves the state on if it is still `from`; returns the new one. Acquire and release: the new
    /// owner sees what the previous one did to `taken` and to the summary.
    fn shift(&self, from: State, to: Kind) -> Option<State> {
        let to = from.next(to);
        self.chunk
            .state
            .compare_exchange(from.0, to.0, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
            .then_some(to)
    }

    /// Puts the chunk into the summary and lets pids be reserved in it. The caller moved the state
    /// to `moving`.
    fn open(&self, moving: State, to: Kind) {
        self.summary.fetch_or(self.listed, Ordering::AcqRel);
        // Release, after the summary: whoever reserves a pid here has its chunk in the summary. An
        // `and` and not a store, because CPUs with an old batch may be setting bits, in vain.
        self.chunk.taken.fetch_and(self.empty, Ordering::AcqRel);
        self.settle(moving, to);
    }

    /// Closes the chunk and takes it out of the summary, unless a pid has been taken meanwhile. The
    /// caller moved the state to `moving`.
    fn close(&self, moving: State) {
        let closed = self
            .chunk
            .taken
            .compare_exchange(self.empty, FULL, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok();
        if closed {
            self.summary.fetch_and(!self.listed, Ordering::AcqRel);
            self.settle(moving, Kind::Unlisted);
        } else {
            self.settle(moving, Kind::Listed);
        }
    }

    /// Leaves `Moving`. The owner of that state is the only writer of it, so this cannot fail.
    fn settle(&self, moving: State, to: Kind) {
        // A swap and not a store, for loom's sake: it raises false alarms for a store that races a
        // failing compare-exchange. This is not a path that counts.
        self.chunk.state.swap(moving.next(to).0, Ordering::AcqRel);
    }
}
