//! Chance that costs nothing: xorshift64.

use crate::random;

/// A generator, seeded by the machine's own.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new() -> Self {
        Self(random::word() | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Returns a number below `limit`.
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// Returns true once in `times`.
    pub(super) fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}
