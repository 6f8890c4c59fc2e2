//! Page tables that the crates have built, read by QEMU's MMU.
//!
//! A hosted kernel forks, execs, exits, writes, grows, moves and reclaims, in the middle of forks too. After every step each address
//! that was ever used is read through each mm's CR3, in supervisor and in user mode, by load, store and fetch. Three must agree:
//! what the steps have made of the address (`model.rs`), QEMU (`qemu.rs`), and the page walk of `hosted::mmu`, which this
//! repository's other tests rely on. That all of it fails where a table is wrong is seen in `mutants.rs`, at every run.

mod model;
mod mutants;
mod qemu;
mod sequences;

use arch_x86::geometry::{Geometry, LongMode, PaePrivate, PaeShared, TwoLevel};
use tests_host::machine::{Boot, LatePgds};
use tests_host::shape::Shape;

/// Runs everything on one geometry.
fn verify<G: Geometry>(name: &str, geometry: G, shape: Shape) {
    let boot = Boot::<G, LatePgds<G>>::new(geometry, shape);
    sequences::run(name, &boot);
    mutants::run(name, &boot);
}

#[test]
fn two_level() {
    verify("2-level", TwoLevel, Shape::TWO_LEVEL);
}

#[test]
fn pae_shared() {
    verify("PAE, shared kernel PMD", PaeShared, Shape::PAE_SHARED);
}

#[test]
fn pae_private() {
    verify("PAE, private kernel PMDs", PaePrivate, Shape::PAE_PRIVATE);
}

#[test]
fn four_level() {
    verify("4-level", LongMode::FOUR_LEVEL, Shape::FOUR_LEVEL);
}

#[test]
fn five_level() {
    verify("5-level", LongMode::FIVE_LEVEL, Shape::FIVE_LEVEL);
}
