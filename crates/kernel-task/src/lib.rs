//! Tasks, the task list that walkers read under RCU, pids, and what each CPU has loaded.
#![cfg_attr(not(loom), no_std)]

extern crate alloc;

pub mod epoch;
pub mod pid;
