//! Which PGD scheme the kernel is built with: the product's, or, with the feature `mutants`, one that is
//! deliberately wrong.

#[cfg(feature = "mutants")]
mod mutated;

#[cfg(feature = "mutants")]
pub use mutated::{Arch, Walkers, arch, choose, chosen, frees_early, tasks, walkers};

#[cfg(not(feature = "mutants"))]
pub use product::{Arch, Walkers, arch, tasks, walkers};

#[cfg(not(feature = "mutants"))]
mod product {
    use crate::mm::page_frames::PageFrames;
    use crate::os::Os;
    use arch_x86::geometry::LongMode;
    use arch_x86::late::LateInit;
    use arch_x86::slots::Slots;
    use kernel_task::tasks::Tasks;

    /// The architecture: x86 in long mode, with lockless late initialisation of PGDs.
    pub type Arch = LateInit<LongMode, PageFrames>;

    /// How a growth finds every mm: through the tasks and the processors.
    pub type Walkers = Tasks<Os>;

    /// Makes the architecture of its slots.
    pub fn arch(slots: Slots<LongMode, PageFrames>) -> Arch {
        LateInit::new(slots)
    }

    /// Makes the walkers of the tasks.
    #[must_use]
    pub fn walkers(tasks: Tasks<Os>) -> Walkers {
        tasks
    }

    /// Returns the tasks that the walkers visit.
    #[inline]
    #[must_use]
    pub fn tasks(walkers: &Walkers) -> &Tasks<Os> {
        walkers
    }
}
