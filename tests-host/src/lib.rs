//! Hosted tests over all crates; this library holds what several of them share.

#[cfg(loom)]
pub mod model;
