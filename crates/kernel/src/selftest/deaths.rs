//! Ends that are meant to be reported well. `cargo xtask boot-test` reads the reports.

use crate::boot::Machine;
use crate::cpu::mask::CpuMask;
use crate::cpu::{ipi, smp};
use crate::layout::PAGE_SIZE;
use crate::mm::frames::{self, Frame};
use crate::mm::kernel_tables::Mapping;
use crate::mm::pte::PteFlags;
use crate::sync::IrqGuard;
use core::arch::asm;
use core::hint::black_box;

/// An address that nothing is mapped at.
const NOWHERE: u64 = 0xffff_dead_0000_0000;

/// Names to be found in the backtrace.
#[inline(never)]
fn write_nowhere(value: u64) {
    // SAFETY: none; that is the point. The fault is caught by the trap handler, which panics.
    unsafe { (black_box(NOWHERE) as *mut u64).write_volatile(value) };
}

/// Writes where nothing is mapped.
#[inline(never)]
pub(super) fn page_fault() {
    write_nowhere(black_box(1));
    crate::println!("not ok: the write went through");
}

/// Writes where nothing is mapped, on the last processor, while this one waits for it.
pub(super) fn page_fault_elsewhere() {
    let last = smp::online().into_iter().last().unwrap_or(0);
    ipi::call_on(CpuMask::one(last), &|_cpu| page_fault());
}

/// Runs off a stack of one page with nothing below it.
pub(super) fn stack_overflow(machine: &Machine) {
    const STACK: u64 = 0xffff_ca00_0000_1000;
    let mut page = || frames::alloc_zeroed().ok().map(Frame::address);
    let phys = page().expect("there is memory left");
    let flags = PteFlags::KERNEL_DATA;
    let mapping = Mapping { virt: STACK, phys, len: PAGE_SIZE, flags, largest: 1 };
    machine.tables.map(mapping, &mut page).expect("nothing is mapped there");
    // SAFETY: the new stack is as good as the old one, while it lasts.
    unsafe {
        asm!(
            "mov rsp, {top}",
            "xor ebp, ebp",
            "2:",
            "push rbp",
            "jmp 2b",
            top = in(reg) STACK + PAGE_SIZE,
            options(noreturn),
        );
    }
}

/// Waits for what never comes, with interrupts on.
#[inline(never)]
pub(super) fn stuck() {
    while black_box(true) {
        kernel_sync::cpu_relax();
    }
}

/// The same on the last processor, with interrupts off, while this one waits for it.
pub(super) fn stuck_elsewhere() {
    let last = smp::online().into_iter().last().unwrap_or(0);
    ipi::call_on(CpuMask::one(last), &|_cpu| {
        let _irqs_off = IrqGuard::disable();
        stuck();
    });
}

/// Waits for the host to ask where the processors are. The report is to name it.
#[inline(never)]
pub(super) fn wait_for_nmi() {
    crate::println!("waiting");
    let _irqs_off = IrqGuard::disable();
    stuck();
}
