//! What the file of memfd_create(2) can be made to give up: `F_SEAL_*`.

use bitflags::bitflags;

bitflags! {
    /// What nobody can do to a file any more.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Seals: u32 {
        /// Add seals.
        const SEAL = 1;
        /// Make it shorter.
        const SHRINK = 2;
        /// Make it longer.
        const GROW = 4;
        /// Write to it.
        const WRITE = 8;
        /// Write to it, except through mappings that there are.
        const FUTURE_WRITE = 16;
    }
}

impl Seals {
    /// Writing is one of them.
    #[must_use]
    pub const fn forbid_writing(self) -> bool {
        self.intersects(Self::WRITE.union(Self::FUTURE_WRITE))
    }
}
