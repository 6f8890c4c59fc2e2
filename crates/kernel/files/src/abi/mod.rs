//! The bytes in which Linux on x86-64 reports files to programs.
//!
//! Each function makes one structure of the kernel's ABI, field by field at its documented offset,
//! so that no layout depends on how Rust arranges a struct. The tests compare with the offsets in
//! the host's C headers.

mod dirent;
mod fields;
mod stat;
mod statfs;
mod uname;

pub use dirent::DirentWriter;
pub use stat::{STAT_SIZE, STATX_SIZE, stat, statx};
pub use statfs::{STATFS_SIZE, Statfs, statfs};
pub use uname::{UTSNAME_SIZE, uname};
