//! Top-level entries on their way out: gone from the reference, and not yet from everywhere.

use alloc::vec::Vec;

use kernel_sync::OutOfHeap;

/// Entries that were taken out of the reference PGD, each with its slot.
///
/// What they lead to may still be reached by PGDs that no walk has come to, by TLBs, and by a late init that has read them.
/// [`crate::kernel_slots::KernelSlots::free_retired`] frees it when that is over; dropping the list leaks it.
#[derive(Debug, Default)]
#[must_use = "the tables behind the entries are to be freed after a grace period"]
pub struct Retired {
    entries: Vec<(usize, u64)>,
    behind: Behind,
}

/// How much of what an entry led to goes with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Behind {
    /// The table and every table below it: the range was reclaimed.
    #[default]
    Subtree,
    /// The table alone: the entry was replaced, and another one leads to what is below.
    Table,
}

impl Retired {
    /// Makes an empty list with room for `entries` entries.
    ///
    /// # Errors
    ///
    /// [`OutOfHeap`] without heap for it.
    pub fn with_capacity(entries: usize, behind: Behind) -> Result<Self, OutOfHeap> {
        let mut list = Vec::new();
        let bytes = entries * size_of::<(usize, u64)>();
        list.try_reserve_exact(entries).map_err(|_| OutOfHeap { bytes })?;
        Ok(Self { entries: list, behind })
    }

    /// Adds the entry that `slot` held.
    ///
    /// # Panics
    ///
    /// When there is no room left for it.
    pub fn push(&mut self, slot: usize, entry: u64) {
        assert!(self.entries.len() < self.entries.capacity(), "no room was reserved for {slot}");
        self.entries.push((slot, entry));
    }

    /// Tells whether nothing was taken out.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How much goes with each entry.
    #[must_use]
    pub fn behind(&self) -> Behind {
        self.behind
    }

    /// The slots and the entries that they held.
    #[must_use]
    pub fn entries(&self) -> &[(usize, u64)] {
        &self.entries
    }
}
