//! Sets of physical address ranges: what is RAM, less what already holds something.
//!
//! Used before there is a heap, so a set has a fixed capacity.

use thiserror::Error;

/// Physical addresses from `start` up to, but not including, `end`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// First byte.
    pub start: u64,
    /// First byte after the range.
    pub end: u64,
}

impl Range {
    /// Returns the number of bytes.
    #[must_use]
    pub const fn len(self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// Tells whether there is no byte in the range.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.end <= self.start
    }

    /// Returns the whole pages inside the range; `page` is their size in bytes, a power of two.
    #[must_use]
    pub const fn shrink_to(self, page: u64) -> Self {
        let mask = page - 1;
        match self.start.checked_add(mask) {
            Some(start) => Self { start: start & !mask, end: self.end & !mask },
            None => Self { start: self.end, end: self.end },
        }
    }

    /// Returns the whole pages that the range touches; `page` is their size in bytes, a power of two.
    #[must_use]
    pub const fn grow_to(self, page: u64) -> Self {
        let mask = page - 1;
        Self { start: self.start & !mask, end: self.end.saturating_add(mask) & !mask }
    }
}

/// A set needed more ranges than it has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the memory map falls into more than {capacity} ranges; raise the capacity")]
pub struct TooManyRanges {
    /// Ranges the set can hold.
    pub capacity: usize,
}

/// At most `N` disjoint ranges, in the order they were added.
#[derive(Clone, Copy, Debug)]
pub struct RangeSet<const N: usize> {
    ranges: [Range; N],
    len: usize,
}

impl<const N: usize> Default for RangeSet<N> {
    fn default() -> Self {
        Self { ranges: [Range { start: 0, end: 0 }; N], len: 0 }
    }
}

impl<const N: usize> RangeSet<N> {
    /// Returns the ranges.
    #[must_use]
    pub fn as_slice(&self) -> &[Range] {
        &self.ranges[..self.len]
    }

    /// Adds `range`, which the caller knows to be disjoint from the others. Empty ranges vanish.
    ///
    /// # Errors
    ///
    /// [`TooManyRanges`] when the set is full.
    pub fn add(&mut self, range: Range) -> Result<(), TooManyRanges> {
        if range.is_empty() {
            return Ok(());
        }
        *self.ranges.get_mut(self.len).ok_or(TooManyRanges { capacity: N })? = range;
        self.len += 1;
        Ok(())
    }

    /// Takes every byte of `hole` out of the set.
    ///
    /// # Errors
    ///
    /// [`TooManyRanges`] when the hole splits a range and the set is full. The part above the hole
    /// is then missing from the set: memory is lost, never handed out twice.
    pub fn remove(&mut self, hole: Range) -> Result<(), TooManyRanges> {
        if hole.is_empty() {
            return Ok(());
        }
        let mut above = Self::default();
        for range in &mut self.ranges[..self.len] {
            if hole.end <= range.start || range.end <= hole.start {
                continue;
            }
            above.add(Range { start: hole.end, end: range.end })?;
            // Leaves nothing where the hole starts below the range.
            range.end = hole.start;
        }
        let mut kept = 0;
        for index in 0..self.len {
            if !self.ranges[index].is_empty() {
                self.ranges[kept] = self.ranges[index];
                kept += 1;
            }
        }
        self.len = kept;
        above.as_slice().iter().try_for_each(|&range| self.add(range))
    }

    /// Cuts `size` bytes, aligned to `align` (a power of two), off the lowest-placed range that has
    /// them below `limit`, and returns where they start.
    pub fn take(&mut self, size: u64, align: u64, limit: u64) -> Option<u64> {
        let mut best: Option<u64> = None;
        for range in self.as_slice() {
            // One range at the very end of the addresses says nothing about the others.
            let Some(start) = range.start.checked_next_multiple_of(align) else { continue };
            let fits = start.checked_add(size).is_some_and(|end| end <= range.end.min(limit));
            if fits && best.is_none_or(|lowest| start < lowest) {
                best = Some(start);
            }
        }
        let start = best?;
        self.remove(Range { start, end: start + size }).ok()?;
        Some(start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn contains(set: &RangeSet<64>, byte: u64) -> bool {
        set.as_slice().iter().any(|range| range.start <= byte && byte < range.end)
    }

    #[test]
    fn a_range_at_the_end_of_the_addresses_does_not_hide_the_others() {
        let mut set = RangeSet::<4>::default();
        for range in
            [Range { start: u64::MAX - 100, end: u64::MAX }, Range { start: 0x1000, end: 0x3000 }]
        {
            set.add(range).expect("room for two");
        }
        assert_eq!(set.take(0x1000, 0x1000, 1 << 32), Some(0x1000));
    }

    proptest! {
        /// A byte is in the set exactly when it was added and lies in no hole.
        #[test]
        fn removing_takes_the_hole_and_nothing_else(
            sizes in proptest::collection::vec((1_u64..20, 1_u64..20), 1..5),
            holes in proptest::collection::vec((0_u64..120, 0_u64..40), 0..8),
        ) {
            let mut set = RangeSet::<64>::default();
            let mut at = 0;
            let mut added = Vec::new();
            for (gap, size) in sizes {
                let range = Range { start: at + gap, end: at + gap + size };
                set.add(range).expect("room");
                added.push(range);
                at = range.end;
            }
            for &(start, size) in &holes {
                set.remove(Range { start, end: start + size }).expect("room");
            }
            for byte in 0..200 {
                let expected = added.iter().any(|r| r.start <= byte && byte < r.end)
                    && !holes.iter().any(|&(start, size)| start <= byte && byte < start + size);
                prop_assert_eq!(contains(&set, byte), expected, "byte {}", byte);
            }
        }
    }

    #[test]
    fn take_respects_alignment_and_limit() {
        let mut set = RangeSet::<4>::default();
        set.add(Range { start: 0x1_0800, end: 0x2_0000 }).expect("room");
        set.add(Range { start: 0x1800, end: 0x4000 }).expect("room");
        assert_eq!(set.take(0x1000, 0x1000, u64::MAX), Some(0x2000));
        assert_eq!(set.take(0x2000, 0x1000, u64::MAX), Some(0x1_1000));
        assert_eq!(set.take(0x1000, 0x1000, 0x1000), None);
        assert_eq!(set.take(0x1000, 0x1000, 0x4000), Some(0x3000));
    }

    #[test]
    fn a_full_set_says_so() {
        let mut set = RangeSet::<1>::default();
        set.add(Range { start: 0, end: 10 }).expect("room");
        let full = Err(TooManyRanges { capacity: 1 });
        assert_eq!(set.remove(Range { start: 4, end: 5 }), full);
        assert_eq!(set.as_slice(), [Range { start: 0, end: 4 }]);
    }

    #[test]
    fn pages_are_rounded_inward_and_outward() {
        let range = Range { start: 0x1001, end: 0x3fff };
        assert_eq!(range.shrink_to(0x1000), Range { start: 0x2000, end: 0x3000 });
        assert_eq!(range.grow_to(0x1000), Range { start: 0x1000, end: 0x4000 });
        assert!(Range { start: 0x1001, end: 0x1fff }.shrink_to(0x1000).is_empty());
    }
}
