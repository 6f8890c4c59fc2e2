//! The I/O APIC: which processor gets a device's interrupt, and as which vector.
//!
//! Source: Intel 82093AA datasheet. The registers are reached through an index and a window.

use super::vectors::IO_APIC_FIRST;
use crate::sync::IrqMutex;
use handover::acpi::IsaWiring;
use thiserror::Error;

const VERSION: u32 = 1;
const REDIRECTION_TABLE: u32 = 0x10;
const MASKED: u32 = 1 << 16;
const LEVEL: u32 = 1 << 15;
const ACTIVE_LOW: u32 = 1 << 13;

/// Virtual address of the registers, and the number of inputs.
static IO_APIC: IrqMutex<Option<(u64, u32)>> = IrqMutex::new(None);

/// A device's interrupt cannot be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("global system interrupt {gsi} is none of the I/O APIC's {inputs} inputs")]
pub struct NoSuchInput {
    /// The global system interrupt.
    pub gsi: u32,
    /// Inputs there are; 0 when there is no I/O APIC.
    pub inputs: u32,
}

/// # Safety
///
/// `base` must be an uncached mapping of the I/O APIC's page; the caller holds the lock.
unsafe fn write(base: u64, index: u32, value: u32) {
    // SAFETY: the page is mapped, as the caller says; the window is 16 bytes above the index.
    unsafe {
        (base as *mut u32).write_volatile(index);
        ((base + 0x10) as *mut u32).write_volatile(value);
    }
}

/// Takes the I/O APIC over, with every input masked.
///
/// # Safety
///
/// `address` must be an uncached mapping of the I/O APIC's page, now and forever.
pub unsafe fn install(address: u64) {
    let mut io_apic = IO_APIC.lock();
    // SAFETY: the caller says the page is mapped. Reading goes through the same window.
    let version = unsafe {
        (address as *mut u32).write_volatile(VERSION);
        ((address + 0x10) as *const u32).read_volatile()
    };
    let inputs = (version >> 16 & 0xff) + 1;
    for input in 0..inputs {
        // SAFETY: as above; a masked input interrupts nobody.
        unsafe { write(address, REDIRECTION_TABLE + 2 * input, MASKED) };
    }
    *io_apic = Some((address, inputs));
}

/// Delivers the interrupt wired as `wiring` to the processor with APIC id `target`, and returns the
/// vector it arrives as.
///
/// # Errors
///
/// [`NoSuchInput`] when there is no such input.
pub fn route(wiring: IsaWiring, target: u8) -> Result<u8, NoSuchInput> {
    let io_apic = IO_APIC.lock();
    let (base, inputs) = io_apic.unwrap_or_default();
    if wiring.gsi >= inputs {
        return Err(NoSuchInput { gsi: wiring.gsi, inputs });
    }
    // At most 240 inputs, so far fewer than fit between this vector and the timer's in practice: 24.
    let vector = IO_APIC_FIRST + wiring.gsi as u8;
    let mut low = u32::from(vector);
    if wiring.level {
        low |= LEVEL;
    }
    if wiring.active_low {
        low |= ACTIVE_LOW;
    }
    let register = REDIRECTION_TABLE + 2 * wiring.gsi;
    // SAFETY: `install` was promised the mapping; the target first, so that the input is unmasked
    // complete.
    unsafe {
        write(base, register + 1, u32::from(target) << 24);
        write(base, register, low);
    }
    Ok(vector)
}
