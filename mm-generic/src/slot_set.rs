//! A set of top-level slots that one CPU at a time changes and every CPU reads.

use kernel_sync::atomic::{AtomicU64, Ordering};

/// Slots that the kernel half of a PGD can have: 512 in a PAE kernel PMD, 256 elsewhere or fewer.
pub(crate) const MAX_SLOTS: usize = 512;

/// Slots to a word of the set.
pub(crate) const WORD_SLOTS: usize = u64::BITS as usize;

/// One bit per slot.
pub(crate) struct SlotSet {
    words: [AtomicU64; MAX_SLOTS / WORD_SLOTS],
    /// Words that can hold a member, so that a small table costs no more than it must.
    used: usize,
}

impl SlotSet {
    /// Makes an empty set for slots below `slots`.
    pub(crate) fn new(slots: usize) -> Self {
        Self {
            words: core::array::from_fn(|_| AtomicU64::new(0)),
            used: slots.div_ceil(WORD_SLOTS),
        }
    }

    /// Adds `slot`. Writers must be serialised; the store releases what they wrote before.
    pub(crate) fn insert(&self, slot: usize) {
        let word = &self.words[slot / WORD_SLOTS];
        let bits = word.load(Ordering::Relaxed) | 1 << (slot % WORD_SLOTS);
        word.store(bits, Ordering::Release);
    }

    /// Takes `slot` out. Writers must be serialised. Releases nothing: who misses the slot relies on nothing.
    pub(crate) fn remove(&self, slot: usize) {
        let word = &self.words[slot / WORD_SLOTS];
        let bits = word.load(Ordering::Relaxed) & !(1 << (slot % WORD_SLOTS));
        word.store(bits, Ordering::Relaxed);
    }

    /// Tells whether `slot` is a member, acquiring what its writer wrote before.
    pub(crate) fn contains(&self, slot: usize) -> bool {
        self.words[slot / WORD_SLOTS].load(Ordering::Acquire) >> (slot % WORD_SLOTS) & 1 != 0
    }

    /// Tells whether all of `slots` are members, acquiring what their writers wrote before.
    pub(crate) fn contains_all(&self, mut slots: core::ops::Range<usize>) -> bool {
        slots.all(|slot| self.contains(slot))
    }

    /// Number of members. Acquires nothing.
    pub(crate) fn len(&self) -> usize {
        self.words[..self.used]
            .iter()
            .map(|word| word.load(Ordering::Relaxed).count_ones() as usize)
            .sum()
    }

    /// The members in words of [`WORD_SLOTS`] slots, the lowest slot in the lowest bit. Acquires nothing: who has to see what was
    /// stored in a slot acquires it from the slot, and who must not miss one has seen the generation before.
    #[inline]
    pub(crate) fn words(&self) -> impl Iterator<Item = u64> {
        self.words[..self.used].iter().map(|word| word.load(Ordering::Relaxed))
    }

    /// Calls `visit` for each member in ascending order.
    #[inline]
    pub(crate) fn for_each(&self, mut visit: impl FnMut(usize)) {
        for (index, mut bits) in self.words().enumerate() {
            while bits != 0 {
                visit(index * WORD_SLOTS + bits.trailing_zeros() as usize);
                bits &= bits - 1;
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn members_come_back_in_ascending_order() {
        let set = SlotSet::new(MAX_SLOTS);
        for slot in [511, 0, 63, 64, 300] {
            assert!(!set.contains(slot));
            set.insert(slot);
            assert!(set.contains(slot));
        }
        let mut members = alloc::vec::Vec::new();
        set.for_each(|slot| members.push(slot));
        assert_eq!(members, [0, 63, 64, 300, 511]);
        assert_eq!(set.len(), 5);
        assert!(set.words().eq([1 | 1 << 63, 1, 0, 0, 1 << 44, 0, 0, 1 << 63]));
        assert!(set.contains_all(63..65) && !set.contains_all(63..66) && set.contains_all(9..9));
        set.remove(64);
        assert!(!set.contains(64) && set.contains(63));
        assert_eq!(set.len(), 4);
    }
}
