//! The interrupt descriptor table, one for all processors.

use super::gdt::{IST_DOUBLE_FAULT, IST_ENTRY, IST_MACHINE_CHECK, IST_NMI, KERNEL_CODE};
use super::vectors::{BREAKPOINT, DOUBLE_FAULT, MACHINE_CHECK, NMI, OVERFLOW};
use spin::Once;
use x86_64::VirtAddr;
use x86_64::instructions::tables::lidt;
use x86_64::structures::DescriptorTablePointer;

const VECTORS: usize = 256;

/// Bytes between the stubs of neighbouring vectors in `trap.s`.
const STUB_SIZE: u64 = 16;

/// A gate: Intel SDM volume 3, figure 6-8.
#[repr(C, align(16))]
#[derive(Clone, Copy, Debug)]
struct Gate([u64; 2]);

impl Gate {
    /// An interrupt gate (the processor turns interrupts off) to `handler` on interrupt stack `ist`.
    const fn interrupt(handler: u64, ist: u8, user: bool) -> Self {
        const PRESENT: u64 = 1 << 47;
        const INTERRUPT_GATE: u64 = 0xe << 40;
        let privilege = if user { 3 << 45 } else { 0 };
        let low = (handler & 0xffff)
            | (KERNEL_CODE as u64) << 16
            | (ist as u64) << 32
            | INTERRUPT_GATE
            | privilege
            | PRESENT
            | (handler >> 16 & 0xffff) << 48;
        Self([low, handler >> 32])
    }
}

static IDT: Once<[Gate; VECTORS]> = Once::new();

unsafe extern "C" {
    /// The first stub of `trap.s`. Not called from Rust; only its address matters.
    fn trap_stubs();
}

/// Points this processor to the table.
pub fn install() {
    let idt = IDT.call_once(|| {
        let stubs = trap_stubs as *const () as u64;
        core::array::from_fn(|vector| {
            let ist = match vector as u8 {
                NMI => IST_NMI,
                DOUBLE_FAULT => IST_DOUBLE_FAULT,
                MACHINE_CHECK => IST_MACHINE_CHECK,
                _ => IST_ENTRY,
            };
            // User mode may raise only what exists to be raised by a program: int3 and into.
            let user = matches!(vector as u8, BREAKPOINT | OVERFLOW);
            Gate::interrupt(stubs + vector as u64 * STUB_SIZE, ist, user)
        })
    });
    let pointer = DescriptorTablePointer {
        limit: (size_of_val(idt) - 1) as u16,
        base: VirtAddr::from_ptr(idt),
    };
    // SAFETY: the table lives forever, every gate leads to a stub, and the interrupt stacks that the
    // gates name are set by gdt::install.
    unsafe { lidt(&pointer) };
}
