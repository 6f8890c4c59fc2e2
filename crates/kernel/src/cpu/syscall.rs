//! The SYSCALL instruction: turning it on, and who answers.

use super::gdt::{KERNEL_CODE, KERNEL_DATA, USER_CODE, USER_DATA};
use super::trap::TrapFrame;
use crate::layout::USER_END;
use kernel_sync::atomic::{AtomicPtr, Ordering};
use x86_64::VirtAddr;
use x86_64::registers::model_specific::{LStar, SFMask, Star};
use x86_64::registers::rflags::RFlags;
use x86_64::registers::segmentation::SegmentSelector;

unsafe extern "C" {
    /// See `trap.s`. Not called from Rust; only its address matters.
    fn syscall_entry();
}

/// Turns SYSCALL on, on this processor.
///
/// # Panics
///
/// When the selectors are not in the order SYSCALL and SYSRET demand.
pub fn install() {
    LStar::write(VirtAddr::new(syscall_entry as *const () as u64));
    Star::write(
        SegmentSelector(USER_CODE),
        SegmentSelector(USER_DATA),
        SegmentSelector(KERNEL_CODE),
        SegmentSelector(KERNEL_DATA),
    )
    .expect("the order of the descriptors in gdt.rs is the one SYSCALL demands");
    // What must not leak into the kernel: interrupts before there is a stack, single-stepping, a
    // reversed direction, the right to touch user memory, and odds and ends.
    SFMask::write(
        RFlags::INTERRUPT_FLAG
            | RFlags::TRAP_FLAG
            | RFlags::DIRECTION_FLAG
            | RFlags::ALIGNMENT_CHECK
            | RFlags::NESTED_TASK
            | RFlags::IOPL_LOW
            | RFlags::IOPL_HIGH,
    );
}

/// What answers system calls: number in `error` (and in `rax`), arguments in rdi, rsi, rdx, r10, r8
/// and r9, result to `rax`. Runs with interrupts off and may turn them on.
pub type SyscallHandler = fn(&mut TrapFrame);

static HANDLER: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

/// Lets `handler` answer all system calls from now on.
pub fn set_handler(handler: SyscallHandler) {
    HANDLER.store(handler as *mut (), Ordering::Release);
}

/// Called by `trap.s`. Returns whether SYSRET may be used to leave.
#[unsafe(no_mangle)]
extern "C" fn syscall_dispatch(frame: &mut TrapFrame) -> bool {
    const ENOSYS: i64 = 38;
    // SAFETY: only `set_handler` stores, and what it stores is a SyscallHandler; null is None.
    let handler = unsafe {
        core::mem::transmute::<*mut (), Option<SyscallHandler>>(HANDLER.load(Ordering::Acquire))
    };
    match handler {
        Some(handler) => handler(frame),
        None => frame.rax = (-ENOSYS) as u64,
    }
    sysret_is_exact(frame)
}

/// SYSRET takes rip from rcx and rflags from r11. It is right only if the frame, which execve or a
/// signal may have rewritten, has those in both places; and rip must be canonical, because Intel's
/// SYSRET faults otherwise, in the kernel but on the user's stack (CVE-2012-0217).
fn sysret_is_exact(frame: &TrapFrame) -> bool {
    const RESUME_AND_TRAP: u64 = RFlags::RESUME_FLAG.bits() | RFlags::TRAP_FLAG.bits();
    frame.rcx == frame.rip
        && frame.r11 == frame.rflags
        && frame.rip < USER_END
        && frame.rflags & RESUME_AND_TRAP == 0
        && frame.cs == u64::from(USER_CODE)
        && frame.ss == u64::from(USER_DATA)
}
