//! placeholder
#![cfg_attr(not(loom), no_std)]

extern crate alloc;

pub mod entry;
pub mod geometry;
#[cfg(feature = "pgd-init-late")]
pub mod late;
pub mod locked;
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
