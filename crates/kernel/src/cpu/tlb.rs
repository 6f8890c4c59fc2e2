//! Forgetting translations, here and on other processors.
//!
//! Whoever makes a page-table entry permit less, or point elsewhere, flushes before the frame behind
//! it is used for anything else. An entry that was not present needs no flush: processors do not
//! cache those (Intel SDM volume 3, section 4.10.4.3).

use super::ipi;
use super::mask::CpuMask;
use crate::layout::PAGE_SIZE;
use core::arch::asm;
use x86_64::instructions::tlb;
use x86_64::registers::control::{Cr4, Cr4Flags};

/// What is to be forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flush {
    /// The pages of this range of virtual addresses, global ones too.
    Range {
        /// First address.
        start: u64,
        /// First address after the range.
        end: u64,
    },
    /// Everything that is not global: all of user space.
    NotGlobal,
    /// Everything.
    All,
}

/// Pages beyond which a range is flushed by flushing everything. INVLPG costs a sixteenth of a load
/// of CR3 under emulation, and refilling is not free either; Linux's threshold is 33 pages.
const SINGLE_PAGES: u64 = 32;

/// Flushes on this processor.
pub fn flush_here(what: Flush) {
    match what {
        Flush::Range { start, end } if (end - start).div_ceil(PAGE_SIZE) <= SINGLE_PAGES => {
            let mut page = start & !(PAGE_SIZE - 1);
            while page < end {
                invalidate(page);
                page += PAGE_SIZE;
            }
        }
        Flush::NotGlobal => tlb::flush_all(),
        Flush::Range { .. } | Flush::All => flush_global(),
    }
}

/// INVLPG. Not `x86_64::instructions::tlb::flush`, whose addresses have 48 bits: with five levels it
/// would flush another page.
fn invalidate(page: u64) {
    // SAFETY: forgets what is cached, not what is mapped. It orders memory accesses, hence no `nomem`.
    unsafe { asm!("invlpg [{}]", in(reg) page, options(nostack, preserves_flags)) };
}

/// Flushes global translations too, which a load of CR3 leaves alone: by changing CR4.PGE.
fn flush_global() {
    let flags = Cr4::read();
    if !flags.contains(Cr4Flags::PAGE_GLOBAL) {
        return tlb::flush_all();
    }
    // SAFETY: the flag changes what is cached, not what is mapped.
    unsafe {
        Cr4::write(flags.difference(Cr4Flags::PAGE_GLOBAL));
        Cr4::write(flags);
    }
}

/// Flushes the user pages at `pages` on every processor in `cpus`, and returns when all have.
///
/// # Panics
///
/// As [`ipi::call_on`].
pub fn shoot_down_pages(cpus: CpuMask, pages: &[u64]) {
    ipi::call_on(cpus, &|_cpu| pages.iter().copied().for_each(invalidate));
}

/// Flushes on every processor in `cpus` and returns when all have.
///
/// # Panics
///
/// As [`ipi::call_on`].
pub fn shoot_down(cpus: CpuMask, what: Flush) {
    ipi::call_on(cpus, &|_cpu| flush_here(what));
}
