//! The user half of an address space as its owner asked for it: a set of virtual memory areas.
//!
//! Page tables say what is mapped at this moment; the VMAs say what may be mapped, and with what.
//! `mmap`, `munmap`, `mprotect` and `brk` edit the set, a page fault looks its address up in it,
//! and fork copies it (Linux's `dup_mmap`). The kernel half has no VMAs: its mappings grow through
//! the reference PGD.
//!
//! This is a data structure and nothing else. It takes no lock: the mm that owns the set serialises
//! access, as `mmap_lock` does in Linux. It touches no page table: an operation that takes pages
//! away hands back the [`Pieces`], and the caller zaps their entries before anyone else can look.
//!
//! Two rules hold between any two calls, whatever the history:
//!
//! - **sorted and apart**: VMAs are kept in address order, never overlap, and lie within the limits
//!   given to [`VmaSet::new`].
//! - **merged**: no two neighbours could be one VMA. The set is therefore a function of what each
//!   page is mapped to, so splitting and restoring a VMA leaves no trace in the count that
//!   `max_map_count` bounds.
//!
//! Every edit is all-or-nothing. It works out the VMAs that will be there, compares their number
//! with `max_map_count`, and only then changes the set, so a caller that gets an error has nothing
//! to undo.

mod area;
mod error;
mod placement;
mod set;
#[cfg(test)]
mod tests;

pub use area::{Backing, Vma, VmaFlags};
pub use error::VmaError;
pub use set::{DEFAULT_MAX_MAP_COUNT, Pieces, VmaSet};
