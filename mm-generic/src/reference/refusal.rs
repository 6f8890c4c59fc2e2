//! Why an entry may not be replaced.

use thiserror::Error;

/// A slot whose entry may not be replaced at this moment. It holds what it held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Refusal {
    /// Others use the slot, and may be mapping into the table that would be replaced; or nobody does.
    #[error(
        "{shares} growths have a share in top-level slot {slot}; only a sole owner can replace its entry"
    )]
    NotSoleOwner {
        /// Index of the slot within the kernel half.
        slot: usize,
        /// Growths that have a share in it.
        shares: usize,
    },
    /// The table came with the boot tables: the kernel has uses of it that nobody counts, and no allocator had it.
    #[error(
        "top-level slot {slot} holds a table of the boot's; it can be neither moved nor collapsed"
    )]
    OfTheBoot {
        /// Index of the slot within the kernel half.
        slot: usize,
    },
}
