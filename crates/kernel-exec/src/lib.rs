//! exec: a file becomes a load plan, arguments become a stack image, and both become a new mm.
#![cfg_attr(not(loom), no_std)]

extern crate alloc;

pub mod elf;
pub mod exec_mmap;
pub mod load;
pub mod stack;
