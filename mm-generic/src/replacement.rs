//! What a top-level entry can be replaced by, and why it may not be.

use kernel_sync::OutOfHeap;
use thiserror::Error;

use crate::frames::{Frame, OutOfFrames};
use crate::reference::Refusal;

/// Another entry for what a slot maps already. Every address of the slot shows the same frame, with the same rights, before and after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replacement {
    /// A large page becomes a table of smaller ones (`__split_large_page`).
    Split,
    /// A table whose pages are one piece of physical memory becomes a large page.
    Collapse,
    /// A table moves to another frame.
    Move,
}

/// A top-level entry that was not replaced. Every PGD holds what it held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ReplaceError {
    /// The address is in no slot that the caller's range has a share in.
    #[error("replacing the top-level entry for {addr:#x}: not in the range")]
    BadAddress {
        /// The address.
        addr: u64,
    },
    /// PGDs of this architecture share their top level; there is nothing to bring to them.
    #[error(
        "replacing the top-level entry for {addr:#x}: the architecture has no slots of each mm's own"
    )]
    NoSlots {
        /// The address.
        addr: u64,
    },
    /// The slot is another growth's too, or the boot's.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// No large page can stand in a slot of this geometry.
    #[error("slot {slot}: a top-level entry of this geometry maps no large page")]
    NoLargePages {
        /// Index of the slot within the kernel half.
        slot: usize,
    },
    /// A large page was to be split or a table to be collapsed or moved, and the slot holds the other kind.
    #[error("slot {slot} holds {entry:#x}, which cannot be replaced by {how:?}")]
    WrongKind {
        /// Index of the slot within the kernel half.
        slot: usize,
        /// What the slot holds.
        entry: u64,
        /// What was asked for.
        how: Replacement,
    },
    /// The table's pages are not one aligned piece of memory with the same rights throughout.
    #[error("slot {slot}: the page at {addr:#x} keeps its table from becoming a large page")]
    NotUniform {
        /// Index of the slot within the kernel half.
        slot: usize,
        /// First page that does not fit the ones before it.
        addr: u64,
    },
    /// No frame for the new table.
    #[error("replacing a top-level entry: {0}")]
    OutOfFrames(#[from] OutOfFrames),
    /// The new table lies at a physical address that an entry of this geometry cannot hold.
    #[error("replacing a top-level entry: frame {:#x} is beyond what an entry can hold", frame.phys())]
    FrameTooHigh {
        /// The frame. It has been given back.
        frame: Frame,
    },
    /// No heap for the list of what is to be freed.
    #[error("replacing a top-level entry: {0}")]
    OutOfHeap(#[from] OutOfHeap),
}
