//! Bugs that real kernels have had in this place, each with a test that would show it here.
//!
//! The sources are those of `docs` and of the module documentation: Linux commits, review threads of the 2015 patch, problem
//! reports of other kernels. Each test says what happened there, and what would have to be wrong
//! here for it to fail.
#![cfg(not(loom))]

mod bsd;
mod linux;
mod rust_kernels;
mod seed;
mod small_kernels;
