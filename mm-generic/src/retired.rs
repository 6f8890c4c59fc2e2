//! Top-level entries on their way out: gone from the reference, and not yet from everywhere.

use alloc::boxed::Box;
use alloc::vec::Vec;

use kernel_sync::{OutOfHeap, try_box};

/// Entries that were taken out of the reference PGD, each with its slot.
///
/// What they lead to may still be reached by PGDs that no walk has come to, by TLBs, and by a late init that has read them.
/// [`crate::kernel_slots::KernelSlots::free_retired`] frees it when that is over; dropping the list leaks it.
///
/// One pointer, so that an RCU callback can hold it beside a reference to the slots without a heap allocation of its own:
/// that would come when the entries are gone already, and could not be refused.
#[derive(Debug, Default)]
#[must_use = "the tables behind the entries are to be freed after a grace period"]
pub struct Retired(Option<Box<List>>);

#[derive(Debug)]
struct List {
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
        let mut list = List { entries: Vec::new(), behind };
        let bytes = entries * size_of::<(usize, u64)>();
        list.entries.try_reserve_exact(entries).map_err(|_| OutOfHeap { bytes })?;
        Ok(Self(Some(try_box(list)?)))
    }

    /// Adds the entry that `slot` held.
    ///
    /// # Panics
    ///
    /// When there is no room left for it.
    pub fn push(&mut self, slot: usize, entry: u64) {
        let list = self.0.as_mut().filter(|list| list.entries.len() < list.entries.capacity());
        let Some(list) = list else { panic!("no room was reserved for {slot}") };
        list.entries.push((slot, entry));
    }

    /// Tells whether nothing was taken out.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries().is_empty()
    }

    /// How much goes with each entry.
    #[must_use]
    pub fn behind(&self) -> Behind {
        self.0.as_ref().map_or_else(Behind::default, |list| list.behind)
    }

    /// The slots and the entries that they held.
    #[must_use]
    pub fn entries(&self) -> &[(usize, u64)] {
        self.0.as_ref().map_or(&[], |list| &list.entries)
    }
}
