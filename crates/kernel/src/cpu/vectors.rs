//! Who uses which interrupt vector.

/// Debug exception.
pub const DEBUG: u8 = 1;
/// Non-maskable interrupt.
pub const NMI: u8 = 2;
/// The `int3` instruction.
pub const BREAKPOINT: u8 = 3;
/// The `into` instruction (32-bit only; the gate exists all the same).
pub const OVERFLOW: u8 = 4;
/// An opcode that is none.
pub const INVALID_OPCODE: u8 = 6;
/// A fault while delivering a fault.
pub const DOUBLE_FAULT: u8 = 8;
/// General protection.
pub const GENERAL_PROTECTION: u8 = 13;
/// Page fault.
pub const PAGE_FAULT: u8 = 14;
/// Machine check.
pub const MACHINE_CHECK: u8 = 18;
/// Vectors below this are the processor's exceptions.
pub const FIRST_INTERRUPT: u8 = 32;

/// Vector of the I/O APIC's first input; the others follow.
pub const IO_APIC_FIRST: u8 = 0x30;
/// Local APIC timer.
pub const TIMER: u8 = 0xe0;
/// Look at the scheduler: another processor has changed something for you.
pub const RESCHEDULE: u8 = 0xe1;
/// Run the functions other processors have left for you.
pub const CALL: u8 = 0xe2;
/// Where the 8259s would arrive if they were not masked.
pub const LEGACY_FIRST: u8 = 0x20;
/// The local APIC's "never mind". Its low four bits must be ones on old processors.
pub const SPURIOUS: u8 = 0xff;

/// Not a vector: what a frame made by `syscall` has in its place.
pub const SYSCALL: u64 = 0x100;
