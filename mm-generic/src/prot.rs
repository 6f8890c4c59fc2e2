//! Access rights of a mapping, as VMAs and page tables share them.

use bitflags::bitflags;

bitflags! {
    /// What user mode may do with a page.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub struct Prot: u8 {
        /// Loads are allowed. x86 has no page that is writable or executable but unreadable.
        const READ = 1;
        /// Stores are allowed (possibly only after a copy-on-write fault).
        const WRITE = 2;
        /// Instruction fetches are allowed. The 2-level geometry has no NX bit and cannot deny it.
        const EXEC = 4;
    }
}
