//! Deliberately wrong variants of the PGD protocol.
//!
//! Each differs from `arch_x86::late`, from `mm_generic::reference`, from the task walk, from RCU or from the flush in one step. The storm runs
//! them on real cores, the model checks run them in every interleaving, and each must be caught by one of them;
//! [`Mutant::shows_on_cores`] says by which. They stand outside of the product crates and use nothing but their public
//! interface: the types of `mm-generic` make the same mistakes impossible above it.
#![cfg_attr(not(loom), no_std)]

extern crate alloc;

mod arch;
mod list;
mod slots;
pub mod stage;
mod steps;
mod walk;

pub use arch::{MutantArch, MutantPgd};
pub use list::{InGuest, Mutant, UnknownMutant};
pub use walk::MutantWalk;
