//! The processor's own area, which GS points to in the kernel.
//!
//! GS discipline: in the kernel GS.base is the area and KERNEL_GS_BASE the user's GS; in user mode it
//! is the other way round. `swapgs` stands at every way in and out, and nowhere else (`trap.s`). As
//! user GS addresses are never in the kernel's half (FSGSBASE stays off), the sign of GS.base tells
//! the two apart where the interrupted mode does not (NMI, #DF, #MC).

use super::MAX_CPUS;
use core::arch::asm;
use core::cell::Cell;
use core::mem::offset_of;
use kernel_sync::atomic::{AtomicU64, Ordering};
use x86_64::VirtAddr;
use x86_64::registers::model_specific::{GsBase, KernelGsBase};

/// What the entry code finds at fixed offsets from GS.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct CpuArea {
    /// Top of the kernel stack for the next entry from user mode; a multiple of 16.
    kernel_stack_top: Cell<u64>,
    /// Where the system call entry puts the user's stack pointer while it has no stack.
    user_rsp: Cell<u64>,
    /// Whatever the scheduler runs on this processor; 0 when there is no scheduler.
    current: Cell<u64>,
    /// The processor's number.
    index: Cell<u64>,
}

impl CpuArea {
    const fn new() -> Self {
        Self {
            kernel_stack_top: Cell::new(0),
            user_rsp: Cell::new(0),
            current: Cell::new(0),
            index: Cell::new(0),
        }
    }
}

/// Offset of the kernel stack's top from GS, for `trap.s`.
pub const KERNEL_STACK_TOP: usize = offset_of!(CpuArea, kernel_stack_top);
/// Offset of the slot for the user's stack pointer from GS, for `trap.s`.
pub const USER_RSP: usize = offset_of!(CpuArea, user_rsp);
const CURRENT: usize = offset_of!(CpuArea, current);
const INDEX: usize = offset_of!(CpuArea, index);

struct Areas([CpuArea; MAX_CPUS]);

// SAFETY: each area is touched by its own processor only, through GS.
unsafe impl Sync for Areas {}

static AREAS: Areas = Areas([const { CpuArea::new() }; MAX_CPUS]);

/// Local APIC id of each processor, for those who want to interrupt it.
static APIC_IDS: [AtomicU64; MAX_CPUS] = [const { AtomicU64::new(0) }; MAX_CPUS];

/// Makes this processor number `cpu`, so that the functions below work on it.
///
/// # Safety
///
/// Once per processor, before anything else that is per processor, with a number no other processor has.
pub unsafe fn install(cpu: usize, apic_id: u8) {
    let area = &AREAS.0[cpu];
    area.index.set(cpu as u64);
    APIC_IDS[cpu].store(u64::from(apic_id), Ordering::Relaxed);
    GsBase::write(VirtAddr::from_ptr(area));
    KernelGsBase::write(VirtAddr::zero());
}

/// Returns the local APIC id of processor `cpu`.
#[must_use]
pub fn apic_id(cpu: usize) -> u8 {
    APIC_IDS[cpu].load(Ordering::Relaxed) as u8
}

macro_rules! gs_word {
    (read $offset:expr) => {{
        let value: u64;
        // SAFETY: GS.base points to this processor's area in kernel mode, and the offset is that of
        // a word in it. `volatile` (no `pure`): after a switch of tasks it is another processor's.
        unsafe {
            asm!("mov {}, gs:[{}]", out(reg) value, const $offset, options(nostack, preserves_flags, readonly));
        }
        value
    }};
    (write $offset:expr, $value:expr) => {{
        let value: u64 = $value;
        // SAFETY: as for reading; the word belongs to this processor alone.
        unsafe {
            asm!("mov gs:[{}], {}", const $offset, in(reg) value, options(nostack, preserves_flags));
        }
    }};
}

/// Returns the number of the processor this runs on.
///
/// It stays true until the caller calls the scheduler: interrupts do not move kernel code.
#[inline]
#[must_use]
pub fn cpu_index() -> usize {
    gs_word!(read INDEX) as usize
}

/// Returns the word the scheduler keeps for this processor.
#[inline]
#[must_use]
pub fn current() -> u64 {
    gs_word!(read CURRENT)
}

/// Sets the word the scheduler keeps for this processor.
#[inline]
pub fn set_current(word: u64) {
    gs_word!(write CURRENT, word);
}

/// Returns the top of the stack on which the next entry from user mode starts.
#[inline]
#[must_use]
pub fn kernel_stack_top() -> u64 {
    gs_word!(read KERNEL_STACK_TOP)
}

/// Sets the top of the stack on which the next entry from user mode starts.
///
/// # Safety
///
/// `top` must be a multiple of 16 and the end of a stack that nothing else uses while this
/// processor is in user mode, mapped in every address space it may then have loaded.
#[inline]
pub unsafe fn set_kernel_stack_top(top: u64) {
    gs_word!(write KERNEL_STACK_TOP, top);
}
