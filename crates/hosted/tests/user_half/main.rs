//! The user half of an mm as programs see it, on every geometry and under both schemes.
//!
//! What a program sees is asked of `hosted::mmu`, which shares no code with arch-x86, through a
//! TLB that forgets nothing until it is flushed.

mod cow;
mod exhaustion;
mod kernel;
mod kernel_access;
mod kernel_half;
mod mapping;
mod model;
mod paging;
mod tables;
mod threads;
mod tlb;
mod world;
