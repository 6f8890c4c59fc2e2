//! The user half of an mm as programs see it, on every geometry and under both schemes.
//!
//! What a program sees is asked of `hosted::mmu`, which shares no code with arch-x86, through
//! TLBs that forget nothing until they are flushed.

mod cow;
mod exhaustion;
mod high_frames;
mod kernel;
mod kernel_access;
mod kernel_half;
mod lazy;
mod mapping;
mod model;
mod paging;
mod path;
mod tables;
mod threads;
mod tlb;
mod world;
