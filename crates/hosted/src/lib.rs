//! A host process as a kernel: real page tables in real frames, threads for CPUs, tasks that are data.
//!
//! The storm, the tests and the benches run on it. It consumes the crates as any kernel would;
//! [`mmu`] is the processor, written without them.

// loom's atomics cannot lie over raw memory; models bring frames of their own.
#![cfg(not(loom))]

pub mod affinity;
pub mod cpu;
pub mod frames;
pub mod kernel;
pub mod meeting;
pub mod mmu;
pub mod tlb;
pub mod walk;
pub mod world;
