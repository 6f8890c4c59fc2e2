//! `init_mm`: the kernel's own address space, and everything an mm needs to know about its kernel.

use crate::arch::ArchPgd;
use crate::kernel::{Kernel, MmCache};

/// The kernel's address space: its architecture with the reference PGD, its frames, and the walkers that find every mm.
///
/// One per kernel, and static: an mm holds no counted reference to it, for that count would be a
/// cache line which every fork and exit on every CPU writes.
pub struct InitMm<K: Kernel> {
    arch: K::Arch,
    frames: &'static K::Frames,
    walkers: K::Walkers,
    mms: Option<MmCache<K>>,
}

impl<K: Kernel> InitMm<K> {
    /// Puts the parts together.
    pub fn new(arch: K::Arch, frames: &'static K::Frames, walkers: K::Walkers) -> Self {
        Self { arch, frames, walkers, mms: None }
    }

    /// Keeps the memory of mms that have ended in `mms`, for those to come. Without it, it comes from the heap and goes back there.
    #[must_use]
    pub fn with_mm_cache(self, mms: MmCache<K>) -> Self {
        Self { mms: Some(mms), ..self }
    }

    /// The cache of memory for mms, if the kernel has one: to be shrunk when memory is short.
    #[must_use]
    pub fn mm_cache(&self) -> Option<&MmCache<K>> {
        self.mms.as_ref()
    }

    /// The architecture.
    #[must_use]
    pub fn arch(&self) -> &K::Arch {
        &self.arch
    }

    /// The page tables.
    #[must_use]
    pub fn tables(&self) -> &<K::Arch as ArchPgd>::Tables {
        self.arch.tables()
    }

    /// The page frames.
    #[must_use]
    pub fn frames(&self) -> &'static K::Frames {
        self.frames
    }

    /// The walkers that find every mm of this kernel.
    #[must_use]
    pub fn walkers(&self) -> &K::Walkers {
        &self.walkers
    }
}
