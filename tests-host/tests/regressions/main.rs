//! Bugs that real kernels have had in this place, each with a test that would show it here.
//!
//! Named by what they are known by: commits of Linux, holes of the 2015 patch, problem reports and
//! issues of other kernels. Each test says what happened there, and what would have to be wrong here
//! for it to fail.
#![cfg(not(loom))]

mod bsd;
mod linux;
mod rust_kernels;
mod seed;
mod small_kernels;
