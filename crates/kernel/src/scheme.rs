//! Which PGD scheme the kernel is built with: the product's, or, with the feature `mutants`, one that is
//! deliberately wrong.
//!
//! The product's growths go through the list of mms, the others' through tasks and processors: between the two, both kinds of
//! walk are stormed.

#[cfg(feature = "mutants")]
mod mutated;

#[cfg(feature = "mutants")]
pub use mutated::{
    Arch, Walkers, arch, choose, chosen, frees_early, leaves_flush_out, tasks, walkers,
};

#[cfg(not(feature = "mutants"))]
pub use product::{Arch, Walkers, arch, tasks, walkers};

#[cfg(not(feature = "mutants"))]
mod product {
    use crate::cpu::area::cpu_index;
    use crate::mm::page_frames::PageFrames;
    use arch_x86::geometry::LongMode;
    use arch_x86::late::LateInit;
    use arch_x86::slots::Slots;
    use kernel_sync::OutOfHeap;
    use kernel_task::kernel::TaskKernel;
    use kernel_task::mm_list::{Listed, MmList};
    use kernel_task::tasks::Tasks;

    /// The architecture: x86 in long mode, with lockless late initialisation of PGDs.
    pub type Arch = LateInit<LongMode, PageFrames>;

    /// How a growth finds every mm: on the list of mms, whoever uses them.
    pub type Walkers<K> = Listed<K>;

    /// Makes the architecture of its slots.
    pub fn arch(slots: Slots<LongMode, PageFrames>) -> Arch {
        LateInit::new(slots)
    }

    /// Puts an empty list of mms beside the tasks.
    ///
    /// # Errors
    ///
    /// [`OutOfHeap`].
    pub fn walkers<K: TaskKernel>(tasks: Tasks<K>) -> Result<Walkers<K>, OutOfHeap> {
        let mms = MmList::try_new(tasks.cpus(), cpu_index)?;
        Ok(Listed::new(tasks, mms))
    }

    /// Returns the tasks beside the list.
    #[inline]
    #[must_use]
    pub fn tasks<K: TaskKernel>(walkers: &Walkers<K>) -> &Tasks<K> {
        walkers.tasks()
    }
}
