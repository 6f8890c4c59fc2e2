//! The kernel half of every process's page table, always right, with no global lock on fork, exec or exit.
//!
//! The architecture-neutral part: an mm is **published first** and its PGD's kernel half is completed
//! **late**, after walkers can see it, so that no growth of the kernel can miss it. It began as a Linux patch
//! (`arch_pgd_init_late`, 2015) that was never merged.
//!
//! Where to look first:
//!
//! | question | file |
//! |---|---|
//! | what is the protocol, and why does it not lose updates? | [`mod@reference`] |
//! | how is the order enforced? | [`publish`] |
//! | what is the hook? | [`arch`] |
//! | how does the kernel half grow? | [`growth`] |
//! | how is a kernel range given back, and its top-level entry with it? | [`mod@reclaim`] |
//! | how does a top-level entry change? | [`mod@replace`] |
//! | how does a growth find every mm? | [`walk`], [`loaded`] |
//! | what is an mm, and when does it end? | [`mm`] |
//! | what must a kernel provide? | [`kernel`], [`frames`], [`page_tables`], [`object`] |
//! | what is in the user half? | [`user`], [`vma`] |
//!
//! The crate knows neither tasks nor x86. `arch-x86` implements [`arch::ArchPgd`], `kernel-task` implements
//! [`walk::Walkers`]; either can be left out for a kernel's own.
//!
//! # Features
//!
//! `pgd-init-late` (off by default) calls the hook at every publication point. Off, an architecture
//! that needs it falls back to a lock; one that does not compiles to the same machine code either way.
#![cfg_attr(not(loom), no_std)]

extern crate alloc;

pub mod announced;
pub mod arch;
pub mod counted_frame;
pub mod frames;
pub mod growth;
pub mod init_mm;
pub mod kernel;
pub mod kernel_range;
pub mod kernel_slots;
pub mod loaded;
pub mod mm;
pub mod object;
pub mod page_tables;
pub mod prot;
pub mod publish;
pub mod reclaim;
pub mod reference;
pub mod replace;
pub mod replacement;
pub mod retired;
mod slot_set;
pub mod user;
pub mod vma;
pub mod walk;
pub mod word;
