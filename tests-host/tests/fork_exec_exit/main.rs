//! What fork, exec, exit and `kthread_use_mm` do, step by step, and what they leave behind when a step fails.
//!
//! One hosted kernel serves all of it: the product's tasks, mms and page tables, in frames that are counted and
//! checked, with parts of a task that log when they are copied and dropped, and an architecture that logs when the hook
//! is called. Every test ends with the account of [`world`]: no task, no pid, no frame and no callback is left.
#![cfg(not(loom))]

mod arch;
mod attach;
mod bomb;
mod clone_flags;
mod exec;
mod exhaustion;
mod exit;
mod hook;
mod kernel;
mod load;
mod order;
mod pid_limits;
mod private_slots;
mod program;
mod reparent;
mod threads;
mod tids;
mod trace;
mod vfork;
mod world;
