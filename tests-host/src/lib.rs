//! Hosted tests over all crates; this library holds what several of them share.

#[cfg(not(loom))]
mod every_machine;
#[cfg(not(loom))]
pub mod interlude;
#[cfg(not(loom))]
pub mod machine;
#[cfg(loom)]
pub mod model;
#[cfg(not(loom))]
pub mod planted;
#[cfg(not(loom))]
pub mod shape;
#[cfg(not(loom))]
pub mod watched;

/// The README's snippets, compiled as doc tests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
