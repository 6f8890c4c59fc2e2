//! Fork, exit and reaping, with the PGD hook at its exact place.
//!
//! [`copy_process`](copy_process::copy_process) makes a task in Linux's order: flags, the kernel's own parts, the mm, the pid,
//! **publication on the task list, the hook, and only then anything that could run it**. What it returns is a
//! [`RunnableTask`](copy_process::RunnableTask); there is no other way to get one. [`exit`] lets the mm go while the CPU still
//! has its PGD loaded. What a kernel adds to a task is copied through [`parts::ForkKernel`].
#![cfg_attr(not(loom), no_std)]

pub mod args;
pub mod copy_process;
pub mod error;
pub mod exit;
pub mod flags;
pub mod parts;
