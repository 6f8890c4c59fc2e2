//! placeholder being written in this step.
#![cfg_attr(not(loom), no_std)]

extern crate alloc;

pub mod arch;
pub mod frames;
pub mod growth;
pub mod init_mm;
pub mod kernel;
pub mod kernel_range;
pub mod loaded;
pub mod mm;
pub mod object;
pub mod page_tables;
pub mod prot;
pub mod publish;
pub mod reference;
mod slot_set;
pub mod user;
pub mod vma;
pub mod walk;
pub mod word;
