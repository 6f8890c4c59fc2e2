//! Who called whom, by following the chain of saved frame pointers.

use crate::mm::user::try_read_kernel;
use core::arch::asm;

/// Frames after which a chain counts as broken.
const MAX_DEPTH: usize = 32;

/// Returns the frame pointer of the caller.
#[inline(always)]
#[must_use]
pub fn frame_pointer() -> u64 {
    let rbp: u64;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, rbp", out(reg) rbp, options(nomem, nostack, preserves_flags)) };
    rbp
}

/// Yields return addresses from the frame at `rbp` outward, across interrupts.
///
/// The chain may be damaged: each step reads only what is mapped.
pub fn walk(mut rbp: u64) -> impl Iterator<Item = u64> {
    core::iter::from_fn(move || {
        if rbp == 0 || !rbp.is_multiple_of(8) {
            return None;
        }
        let caller = try_read_kernel(rbp)?;
        let return_address = try_read_kernel(rbp.checked_add(8)?)?;
        rbp = caller;
        (return_address != 0).then_some(return_address)
    })
    .take(MAX_DEPTH)
}
