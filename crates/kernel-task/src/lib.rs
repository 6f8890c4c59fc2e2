//! Tasks, the task list that walkers read under RCU, pids, and what each CPU has loaded.
#![cfg_attr(not(loom), no_std)]

extern crate alloc;

pub mod attach;
pub mod epoch;
pub mod insert;
pub mod kernel;
pub mod pid;
pub mod process;
pub mod task;
pub mod tasks;
