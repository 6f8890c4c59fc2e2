//! Tasks, the task list that walkers read under RCU, pids, and what each CPU has loaded.
//!
//! This layer implements `mm_generic::walk::Walkers` ([`tasks`]): processes first, through any of their threads
//! ([`process`]), and then every CPU's loaded mm. The task list is the pid table ([`pid`]): publishing a task is
//! one store, and no fork or exit takes a lock that all CPUs share. [`epoch`] is an RCU for kernels that have none.
#![cfg_attr(not(loom), no_std)]

extern crate alloc;

pub mod attach;
pub mod epoch;
pub mod insert;
pub mod kernel;
pub mod mm_list;
pub mod pid;
pub mod process;
pub mod task;
pub mod tasks;
