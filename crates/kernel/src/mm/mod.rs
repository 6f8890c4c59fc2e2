//! Memory below the PGD crates: frames, the heap, the kernel's first page tables, user copies.

pub mod early;
pub mod frames;
pub mod heap;
pub mod kernel_tables;
mod memory_functions;
pub mod pte;
pub mod user;
