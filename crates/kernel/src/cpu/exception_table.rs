//! Instructions that may fault, and where to go on when they do.
//!
//! Code that touches memory which may not be there (user memory, a frame pointer gone astray) puts
//! its address and that of its landing into the section `.ex_table`. A fault there is not the end.

use core::ptr::addr_of;

#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct Fixup {
    instruction: u64,
    landing: u64,
}

unsafe extern "C" {
    static __ex_table_start: Fixup;
    static __ex_table_end: Fixup;
}

/// Returns where to go on after a fault at `rip`, if that instruction may fault.
#[must_use]
pub(super) fn landing(rip: u64) -> Option<u64> {
    let (start, end) = (addr_of!(__ex_table_start), addr_of!(__ex_table_end));
    let len = (end as usize - start as usize) / size_of::<Fixup>();
    // SAFETY: the linker script brackets the section with the two symbols, aligned to 8; the section
    // consists of pairs of quads, put there by the assembler, and is read-only.
    let table = unsafe { core::slice::from_raw_parts(start, len) };
    table.iter().find(|fixup| fixup.instruction == rip).map(|fixup| fixup.landing)
}
