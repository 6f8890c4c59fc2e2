//! Which pid comes next: one position per CPU, and one cursor that hands out chunks.
//!
//! A CPU reserves pids in ascending order from a chunk of its own, its batch. At the end of the
//! batch it takes the next chunk from the cursor, which all CPUs share: one shared write per
//! sixty-four pids. The cursor goes round, so a freed pid is not reused before its chunk comes up
//! again; that is Linux's cyclic order, seen from each CPU.

use kernel_sync::atomic::{AtomicU64, Ordering};

use super::chunk::CHUNK_PIDS;
use super::number::RESERVED_PIDS;

/// Position in a batch: the chunk's index, and the first bit not handed out yet, which is
/// `CHUNK_PIDS` at the end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) chunk: usize,
    pub(super) bit: u32,
}

/// One CPU's position. On two cache lines of its own, which no other CPU touches.
///
/// It is a hint. Two tasks that allocate for the same CPU at once (preempted between reading the
/// CPU's number and this) cost order, never uniqueness: the chunk's word decides that. Every change
/// is a compare-exchange, so that a batch which is replaced is given up by exactly one of them.
#[repr(align(128))]
pub(super) struct Batch(AtomicU64);

/// No batch: the CPU has not allocated yet, or its last one is used up.
const NONE: u64 = u64::MAX;

/// Bits of the packed position that hold `bit`, which goes up to 64.
const BIT_WIDTH: u32 = 7;

const _: () = assert!(CHUNK_PIDS < 1 << BIT_WIDTH);

impl Batch {
    pub(super) fn new() -> Self {
        Self(AtomicU64::new(NONE))
    }

    /// Returns where this CPU reserves next.
    pub(super) fn position(&self) -> Option<Position> {
        // Acquire pairs with `replace`: the segment of the chunk is seen.
        let packed = self.0.load(Ordering::Acquire);
        (packed != NONE).then_some(Position {
            // The chunk's index came from a `usize`.
            chunk: (packed >> BIT_WIDTH) as usize,
            bit: (packed & ((1 << BIT_WIDTH) - 1)) as u32,
        })
    }

    /// Replaces `from` by `to`; false if somebody else changed it meanwhile.
    pub(super) fn replace(&self, from: Option<Position>, to: Option<Position>) -> bool {
        self.0.compare_exchange(pack(from), pack(to), Ordering::Release, Ordering::Relaxed).is_ok()
    }
}

fn pack(position: Option<Position>) -> u64 {
    position.map_or(NONE, |at| ((at.chunk as u64) << BIT_WIDTH) | u64::from(at.bit))
}

/// The cursor over all chunks, in laps: the first from pid 1, the later ones from
/// [`RESERVED_PIDS`]. On lines of its own, away from what every fork reads.
#[repr(align(128))]
pub(super) struct Cursor(AtomicU64);

/// A turn of the cursor: the chunk that is up, and the first bit of it that may be handed out.
pub(super) type Turn = Position;

impl Cursor {
    pub(super) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Takes a turn and returns its number, to be passed to [`Cursor::turn`].
    pub(super) fn advance(&self) -> u64 {
        // Relaxed: the chunk's state decides who has it, and orders what needs order.
        self.0.fetch_add(1, Ordering::Relaxed)
    }

    /// Notes that all turns before `next` were used or found useless.
    pub(super) fn advance_to(&self, next: u64) {
        self.0.fetch_max(next, Ordering::Relaxed);
    }

    /// Returns how many turns were taken.
    pub(super) fn turns(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Returns what comes up on turn `number` of a table with this limit and number of chunks.
    pub(super) fn turn(number: u64, limit: u32, chunks: usize) -> Turn {
        let chunks = chunks as u64;
        if number < chunks {
            return Turn { chunk: number as usize, bit: 0 };
        }
        let start = after_wrap(limit);
        let first = start.chunk as u64;
        // Below `chunks`, which came from a `usize`.
        let chunk = (first + (number - chunks) % (chunks - first)) as usize;
        Turn { chunk, bit: if chunk == start.chunk { start.bit } else { 0 } }
    }
}

/// Returns where a lap begins that is not the first: at [`RESERVED_PIDS`], or at the beginning if
/// the limit leaves nothing above it.
pub(super) fn after_wrap(limit: u32) -> Position {
    if limit > RESERVED_PIDS {
        Position { chunk: (RESERVED_PIDS / CHUNK_PIDS) as usize, bit: RESERVED_PIDS % CHUNK_PIDS }
    } else {
        Position { chunk: 0, bit: 0 }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use alloc::vec::Vec;

    use super::{Batch, Cursor, Position, after_wrap};

    #[test]
    fn first_lap_starts_at_zero_and_later_ones_at_the_reserved_pids() {
        // 6 chunks: pids 1..384; pid 300 is bit 44 of chunk 4.
        let turns: Vec<(usize, u32)> = (0..11)
            .map(|number| Cursor::turn(number, 384, 6))
            .map(|turn| (turn.chunk, turn.bit))
            .collect();
        let first = [(0, 0), (1, 0), (2, 0), (3, 0), (4, 0), (5, 0)];
        let later = [(4, 44), (5, 0), (4, 44), (5, 0), (4, 44)];
        assert_eq!(turns, [&first[..], &later[..]].concat());
    }

    #[test]
    fn small_table_has_no_reserved_pids() {
        assert!(after_wrap(300) == Position { chunk: 0, bit: 0 });
        assert!(after_wrap(301) == Position { chunk: 4, bit: 44 });
    }

    #[test]
    fn position_survives_packing_up_to_the_largest_limit() {
        let batch = Batch::new();
        assert!(batch.position().is_none());
        let last = Some(Position { chunk: 65_535, bit: 64 });
        assert!(batch.replace(None, last));
        assert!(batch.position() == last);
        assert!(
            !batch.replace(None, last),
            "only the holder of the current position may replace it"
        );
    }
}
