//! Random choices that a seed repeats.

/// A splitmix64 generator (Steele, Lea and Flood, 2014): one per CPU, no crate needed.
pub(crate) struct Random(u64);

impl Random {
    /// A generator of its own for each CPU and round.
    pub(crate) fn new(seed: u64, cpu: usize, round: u64) -> Self {
        let mut random = Self(seed ^ (cpu as u64) << 32 ^ round << 40);
        random.next();
        random
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// A number below `bound`, which is not zero.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        // The bias of the remainder is below 2^-50 for the bounds used here.
        self.next() % bound
    }

    /// True once in `n` times.
    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}
