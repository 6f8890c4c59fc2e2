//! Accesses to kernel memory that may be missing where it must not be.

use crate::mm::user::try_read_kernel;
use core::arch::global_asm;

global_asm!(include_str!("probe.s"), options(att_syntax, raw));

unsafe extern "C" {
    fn probe_write(to: *mut u64, value: u64) -> bool;
}

/// Reads the word at `address`, if it is mapped.
pub(super) fn read(address: u64) -> Option<u64> {
    try_read_kernel(address)
}

/// Writes the word at `address`; returns whether it was there to be written.
///
/// # Safety
///
/// If anything is mapped there, it is the storm's.
pub(super) unsafe fn write(address: u64, value: u64) -> bool {
    // SAFETY: the write either happens, to memory that is the caller's to write, or lands at the function's end.
    unsafe { probe_write(address as *mut u64, value) }
}
