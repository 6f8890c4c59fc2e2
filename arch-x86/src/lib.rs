//! x86: PGDs whose kernel half is filled after their mm is published, without a lock.
//!
//! | Linux | here |
//! |---|---|
//! | `arch_pgd_init_late` (arch/x86/mm/pgtable.c) | [`late`]: `pgd_init_late`, `pgd_attach` |
//! | `pgd_cache` (before 2006: constructed PGDs) | [`cached`], optional |
//! | `sync_global_pgds` (arch/x86/mm/init_64.c) | `sync.rs`, called through [`late::LateInit`] |
//! | `pgd_alloc`, `pgd_free` | [`late`], without a lock; [`locked`], with `pgd_lock` and `pgd_list` |
//! | `pgd_none`, `KERNEL_PGD_BOUNDARY`, `SHARED_KERNEL_PMD` | [`geometry`], [`slots`] |
//! | `__split_large_page`, `collapse_large_pages` (mm/pat/set_memory.c) | `replace.rs`, called through [`mm_generic::kernel_slots::KernelSlots`] |
//! | page-table entries and walks | [`entry`], [`tables`] |
//!
//! This is the only crate that knows x86. [`X86`] is the scheme that the feature `pgd-init-late` selects:
//! [`late::LateInit`] with it, [`locked::Locked`] without.
#![cfg_attr(not(loom), no_std)]

extern crate alloc;

#[cfg(feature = "pgd-init-late")]
pub mod cached;
pub mod entry;
pub mod geometry;
#[cfg(feature = "pgd-init-late")]
pub mod late;
#[cfg(feature = "pgd-init-late")]
pub mod late_pgd;
pub mod locked;
mod replace;
pub mod slots;
#[cfg(feature = "pgd-init-late")]
mod sync;
pub mod tables;

cfg_if::cfg_if! {
    if #[cfg(feature = "pgd-init-late")] {
        /// x86 with the scheme that the feature `pgd-init-late` selects: lockless late initialisation.
        pub type X86<G, F> = late::LateInit<G, F>;
    } else {
        /// x86 with the scheme that the feature `pgd-init-late` selects: `pgd_lock` and `pgd_list`.
        pub type X86<G, F> = locked::Locked<G, F>;
    }
}
