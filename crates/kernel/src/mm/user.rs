//! Copying to and from user memory, and reading kernel memory that may not be mapped.
//!
//! A fault in one of these copies is an error of the caller's caller, not of the kernel: the
//! exception table sends it to the copy's end, which reports how much is missing. A page fault
//! handler that can provide the page does so first, and the copy goes on.

use crate::layout::{PAGE_SIZE, USER_END};
use core::arch::global_asm;
use thiserror::Error;

/// User memory could not be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{len} bytes of user memory at {address:#x} are not accessible: the first {copied} are")]
pub struct BadAddress {
    /// Where the copy started.
    pub address: u64,
    /// Bytes that were to be copied.
    pub len: usize,
    /// Bytes that were.
    pub copied: usize,
}

global_asm!(include_str!("user.s"), options(att_syntax, raw));

unsafe extern "C" {
    fn user_copy(to: *mut u8, from: *const u8, len: usize) -> usize;
    fn user_compare_exchange(at: *mut u32, expected: u32, new: u32, found: &mut u32) -> bool;
    fn probe_read(from: *const u64, to: &mut u64) -> bool;
}

/// Checks that the range lies in the user half, whatever is mapped there (`access_ok`).
///
/// # Errors
///
/// [`BadAddress`] when it does not.
pub fn check(address: u64, len: usize) -> Result<(), BadAddress> {
    match address.checked_add(len as u64) {
        Some(end) if end <= USER_END => Ok(()),
        _ => Err(BadAddress { address, len, copied: 0 }),
    }
}

/// Copies from user memory at `address` to `to`.
///
/// # Errors
///
/// [`BadAddress`] when the range is not in the user half or not readable by the kernel.
pub fn copy_from_user(to: &mut [u8], address: u64) -> Result<(), BadAddress> {
    let len = to.len();
    check(address, len)?;
    // SAFETY: `to` is writable for its length, and the source lies in the user half, where no Rust
    // object is; faults there end the copy early.
    match unsafe { user_copy(to.as_mut_ptr(), address as *const u8, len) } {
        0 => Ok(()),
        missing => Err(BadAddress { address, len, copied: len - missing }),
    }
}

/// Copies `from` to user memory at `address`.
///
/// # Errors
///
/// [`BadAddress`] when the range is not in the user half or not writable.
pub fn copy_to_user(address: u64, from: &[u8]) -> Result<(), BadAddress> {
    let len = from.len();
    check(address, len)?;
    // SAFETY: as in `copy_from_user`, with source and destination exchanged.
    match unsafe { user_copy(address as *mut u8, from.as_ptr(), len) } {
        0 => Ok(()),
        missing => Err(BadAddress { address, len, copied: len - missing }),
    }
}

/// Reads `N` bytes of user memory at `address`.
///
/// # Errors
///
/// As [`copy_from_user`].
pub fn read<const N: usize>(address: u64) -> Result<[u8; N], BadAddress> {
    let mut bytes = [0; N];
    copy_from_user(&mut bytes, address)?;
    Ok(bytes)
}

/// Reads the 32-bit number at `address` in user memory.
///
/// # Errors
///
/// As [`copy_from_user`].
pub fn read_u32(address: u64) -> Result<u32, BadAddress> {
    Ok(u32::from_le_bytes(read(address)?))
}

/// Reads the 64-bit number at `address` in user memory.
///
/// # Errors
///
/// As [`copy_from_user`].
pub fn read_u64(address: u64) -> Result<u64, BadAddress> {
    Ok(u64::from_le_bytes(read(address)?))
}

/// Stores `new` to the 32-bit number at `address` in user memory if that is `expected`, in one step;
/// returns what it was.
///
/// # Errors
///
/// As [`copy_to_user`].
pub fn compare_exchange_u32(address: u64, expected: u32, new: u32) -> Result<u32, BadAddress> {
    const LEN: usize = size_of::<u32>();
    check(address, LEN)?;
    let mut found = 0;
    // SAFETY: the word lies in the user half, where no Rust object is; a fault lands at the function's end.
    if unsafe { user_compare_exchange(address as *mut u32, expected, new, &mut found) } {
        Ok(found)
    } else {
        Err(BadAddress { address, len: LEN, copied: 0 })
    }
}

/// Returns how many of `len` bytes of user memory at `address` can be stored to, from the first one on.
///
/// For who must not take something that it cannot hand over. It may have changed by the next moment, when a thread of the
/// program unmaps the memory.
#[must_use]
pub fn writable_len(address: u64, len: usize) -> usize {
    let end = address.saturating_add(len as u64);
    let mut at = address;
    // Zero for zero: the page is brought in for a store, and keeps its contents.
    while at < end && compare_exchange_u32(at & !3, 0, 0).is_ok() {
        at = (at | (PAGE_SIZE - 1)) + 1;
    }
    (at.min(end) - address) as usize
}

/// Reads the word at `address` in the kernel half, if it is mapped.
#[must_use]
pub fn try_read_kernel(address: u64) -> Option<u64> {
    let mut word = 0;
    // SAFETY: the read either happens or lands at the function's end; a word read from memory that
    // somebody writes is some value, which is all that is promised.
    unsafe { probe_read(address as *const u64, &mut word) }.then_some(word)
}
