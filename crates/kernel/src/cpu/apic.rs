//! The local APIC: end of interrupt, inter-processor interrupts, the timer.
//!
//! Through its memory-mapped registers (xAPIC), which every x86-64 machine has, QEMU's TCG included.
//! Source: Intel SDM volume 3, chapter 11.

use super::vectors::{SPURIOUS, TIMER};
use crate::sync::IrqGuard;
use kernel_sync::atomic::{AtomicU64, Ordering};

/// Where the registers are mapped, the same on every processor.
static REGISTERS: AtomicU64 = AtomicU64::new(0);

/// Offsets of registers, in bytes.
#[derive(Clone, Copy, Debug)]
enum Register {
    Id = 0x20,
    TaskPriority = 0x80,
    EndOfInterrupt = 0xb0,
    SpuriousVector = 0xf0,
    CommandLow = 0x300,
    CommandHigh = 0x310,
    TimerVector = 0x320,
    LocalInterrupt1 = 0x360,
    InitialCount = 0x380,
    CurrentCount = 0x390,
    Divide = 0x3e0,
}

const SOFTWARE_ENABLE: u32 = 1 << 8;
const TIMER_MASKED: u32 = 1 << 16;
const TIMER_PERIODIC: u32 = 1 << 17;
/// The timer counts at the full rate of its clock.
const DIVIDE_BY_1: u32 = 0b1011;

const DELIVERY_NMI: u32 = 4 << 8;
const DELIVERY_INIT: u32 = 5 << 8;
const DELIVERY_STARTUP: u32 = 6 << 8;
const DELIVERY_PENDING: u32 = 1 << 12;
const LEVEL_ASSERT: u32 = 1 << 14;
const ALL_BUT_SELF: u32 = 3 << 18;

fn pointer(register: Register) -> *mut u32 {
    (REGISTERS.load(Ordering::Relaxed) + register as u64) as *mut u32
}

fn read(register: Register) -> u32 {
    // SAFETY: `set_registers` was given a mapping of the APIC's page, and reads of these registers
    // have no effect.
    unsafe { pointer(register).read_volatile() }
}

fn write(register: Register, value: u32) {
    // SAFETY: as for reading; what the callers write makes interrupts, which is this file's job, and
    // touches no memory.
    unsafe { pointer(register).write_volatile(value) };
}

/// Says where the registers are mapped.
///
/// # Safety
///
/// `address` must be an uncached mapping of the local APIC's page, now and forever.
pub unsafe fn set_registers(address: u64) {
    REGISTERS.store(address, Ordering::Relaxed);
}

/// Turns this processor's APIC on, with the timer stopped.
pub fn enable() {
    write(Register::TaskPriority, 0);
    write(Register::SpuriousVector, SOFTWARE_ENABLE | u32::from(SPURIOUS));
    write(Register::TimerVector, TIMER_MASKED | u32::from(TIMER));
    write(Register::Divide, DIVIDE_BY_1);
    // Where a machine's NMI button is wired to, and QEMU's `inject-nmi`.
    write(Register::LocalInterrupt1, DELIVERY_NMI);
}

/// Returns this processor's APIC id.
#[must_use]
pub fn id() -> u8 {
    (read(Register::Id) >> 24) as u8
}

/// Tells the APIC that the interrupt in service is dealt with. Every handler of an interrupt (not of
/// an exception, an NMI or the spurious vector) does this once.
pub fn end_of_interrupt() {
    write(Register::EndOfInterrupt, 0);
}

/// Writes a command for the APIC with id `target`.
fn command(target: u8, command: u32) {
    // A handler that sends between the two writes would redirect our command.
    let _irqs_off = IrqGuard::disable();
    while read(Register::CommandLow) & DELIVERY_PENDING != 0 {
        kernel_sync::cpu_relax();
    }
    write(Register::CommandHigh, u32::from(target) << 24);
    write(Register::CommandLow, command | LEVEL_ASSERT);
}

/// Raises `vector` on the processor with APIC id `target`.
pub fn send(target: u8, vector: u8) {
    command(target, u32::from(vector));
}

/// Raises a non-maskable interrupt on every other processor.
pub fn send_nmi_to_others() {
    command(0, DELIVERY_NMI | ALL_BUT_SELF);
}

/// Resets the processor with APIC id `target`; it then waits for [`send_startup`].
pub fn send_init(target: u8) {
    command(target, DELIVERY_INIT);
}

/// Starts a processor that waits after INIT, in real mode at physical `page * 4096`.
pub fn send_startup(target: u8, page: u8) {
    command(target, DELIVERY_STARTUP | u32::from(page));
}

/// Raises [`TIMER`] on this processor every `count` ticks of the APIC's clock.
pub fn start_periodic_timer(count: u32) {
    write(Register::TimerVector, TIMER_PERIODIC | u32::from(TIMER));
    write(Register::InitialCount, count);
}

/// Raises [`TIMER`] on this processor once, after `count` ticks of the APIC's clock.
pub fn start_one_shot_timer(count: u32) {
    write(Register::TimerVector, u32::from(TIMER));
    write(Register::InitialCount, count);
}

/// Stops this processor's timer. An interrupt already under way may still arrive.
pub fn stop_timer() {
    write(Register::TimerVector, TIMER_MASKED | u32::from(TIMER));
    write(Register::InitialCount, 0);
}

/// Lets the timer count down from its maximum without interrupting anybody, for calibration.
pub fn start_counting() {
    write(Register::TimerVector, TIMER_MASKED | u32::from(TIMER));
    write(Register::InitialCount, u32::MAX);
}

/// Returns the ticks since [`start_counting`].
#[must_use]
pub fn counted() -> u32 {
    u32::MAX - read(Register::CurrentCount)
}
