//! The reference kernel: boots on x86-64, and consumes the PGD crates as any kernel would.
//!
//! Layers, each using only those above it:
//!
//! - [`layout`], [`sync`]: where things lie; mutual exclusion
//! - [`cpu`]: tables, traps, clocks, other processors
//! - [`mm`]: frames, heap, the kernel's page tables, user copies
//! - [`console`], [`backtrace`], [`report`], [`exit`]: talking to the outside
//! - [`boot`]: all of the above, brought up in order
//! - [`os`], [`rcu`]: the PGD crates, plugged in
//! - [`task`], [`sched`]: tasks, and how they share processors
//! - [`selftest`]: what `test=` on the command line runs
#![no_std]

extern crate alloc;

pub mod backtrace;
pub mod boot;
pub mod console;
pub mod cpu;
pub mod exit;
pub mod layout;
pub mod mm;
pub mod os;
pub mod rcu;
pub mod report;
pub mod sched;
pub mod selftest;
pub mod sync;
pub mod task;
