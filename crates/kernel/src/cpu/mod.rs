//! Everything about a processor: its tables, its interrupts, its clock, and its fellow processors.

pub mod apic;
pub mod area;
pub mod clock;
mod exception_table;
pub mod features;
pub mod gdt;
pub mod idt;
pub mod io_apic;
pub mod ipi;
pub mod legacy;
pub mod local;
pub mod mask;
pub mod smp;
pub mod syscall;
pub mod tlb;
pub mod trap;
pub mod vectors;

/// Processors the kernel has room for. They are numbered from 0 in the order they came up.
pub const MAX_CPUS: usize = handover::acpi::MAX_PROCESSORS;
