//! Sets of processors.

use super::MAX_CPUS;

/// A set of processors, by number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuMask(u64);

const _: () = assert!(MAX_CPUS <= 64, "a mask is one word");

impl CpuMask {
    /// The set of the first `count` processors.
    #[must_use]
    pub const fn first(count: usize) -> Self {
        Self(if count >= 64 { u64::MAX } else { (1 << count) - 1 })
    }

    /// The set of one processor.
    #[must_use]
    pub const fn one(cpu: usize) -> Self {
        Self(1 << cpu)
    }

    /// Makes a set from one bit per processor.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Returns one bit per processor.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Returns the set less `cpu`.
    #[must_use]
    pub const fn without(self, cpu: usize) -> Self {
        Self(self.0 & !(1 << cpu))
    }

    /// Returns what both sets have.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Tells whether `cpu` is in the set.
    #[must_use]
    pub const fn contains(self, cpu: usize) -> bool {
        self.0 & (1 << cpu) != 0
    }

    /// Returns the number of processors in the set.
    #[must_use]
    pub const fn count(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Tells whether the set is empty.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl IntoIterator for CpuMask {
    type Item = usize;
    type IntoIter = Cpus;

    fn into_iter(self) -> Cpus {
        Cpus(self.0)
    }
}

/// The processors of a [`CpuMask`], from the lowest number.
#[derive(Clone, Debug)]
pub struct Cpus(u64);

impl Iterator for Cpus {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let cpu = self.0.trailing_zeros() as usize;
        self.0 &= self.0 - 1;
        Some(cpu)
    }
}
