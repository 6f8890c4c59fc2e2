//! A host process as a kernel.

// loom's atomics cannot lie over raw memory; models bring frames of their own.
#[cfg(not(loom))]
pub mod frames;
#[cfg(not(loom))]
pub mod mmu;
