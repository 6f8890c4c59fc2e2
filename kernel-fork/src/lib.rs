//! placeholder
#![cfg_attr(not(loom), no_std)]

pub mod args;
pub mod copy_process;
pub mod error;
pub mod exit;
pub mod flags;
pub mod parts;
