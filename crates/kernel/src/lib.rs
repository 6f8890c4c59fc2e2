//! The reference kernel: boots on x86-64, and consumes the PGD crates as any kernel would.
//!
//! Layers, each using only those above it:
//!
//! - [`layout`], [`sync`]: where things lie; mutual exclusion
//! - [`cpu`]: tables, traps, clocks, other processors
//! - [`mm`]: frames, heap, the kernel's page tables, user copies
//! - [`console`], [`backtrace`], [`report`], [`exit`]: talking to the outside
//! - [`boot`]: all of the above, brought up in order
//! - [`os`], [`scheme`], [`rcu`]: the PGD crates, plugged in
//! - [`task`], [`sched`]: tasks, and how they share processors
//! - [`fault`], [`oom`], [`reclaim`], [`signal`], [`futex`], [`terminal`], [`procfs`]: what programs meet
//! - [`syscall`]: what programs ask for
//! - [`selftest`]: what `test=` on the command line runs
//! - `storm`, with the feature of that name: processes and a growing kernel at once, for `cargo xtask boot-storm`
#![no_std]

extern crate alloc;

pub mod backtrace;
pub mod boot;
pub mod console;
pub mod cpu;
pub mod exit;
pub mod fault;
pub mod file_locks;
pub mod file_tree;
pub mod futex;
pub mod layout;
pub mod mm;
pub mod oom;
pub mod os;
pub mod pidfd;
pub mod posix_timer;
pub mod procfs;
pub mod random;
pub mod rcu;
pub mod reclaim;
pub mod report;
pub mod sched;
pub mod scheme;
pub mod selftest;
pub mod signal;
pub mod signalfd;
#[cfg(feature = "storm")]
pub mod storm;
pub mod sync;
pub mod syscall;
pub mod task;
pub mod terminal;
pub mod time;
pub mod timer;
mod translation;
mod uname;
