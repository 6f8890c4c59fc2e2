//! What the loader and the firmware hand over to a booting kernel, parsed from bytes.
//!
//! Everything here was written by somebody else and lies at an address that somebody else chose, so
//! each parser takes a byte slice, checks what it reads and reports what it found wrong, with the
//! offset. There is no `unsafe` and no hardware: these modules are tested on the build host.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod acpi;
mod bytes;
pub mod cmdline;
pub mod cpio;
pub mod pvh;
pub mod ranges;
