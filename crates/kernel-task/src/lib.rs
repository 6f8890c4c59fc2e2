//! Tasks, the task list that walkers read under RCU, pids, and what each CPU has loaded.
//!
//! This layer implements `mm_generic::walk::Walkers` twice. [`mm_list::Listed`] keeps a list of mms, which costs a fork no
//! more than measurements differ by, and is the faster one to walk: the one to take. [`tasks::Tasks`] alone goes through processes, by any
//! of their threads ([`process`]), and then through every CPU's loaded mm: for kernels that have no number of the current CPU to
//! give, or no memory for a word per mm. The task list is the pid table ([`pid`]): publishing a task is
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
