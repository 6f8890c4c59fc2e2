//! The two 8259 interrupt controllers, silenced.
//!
//! Firmware leaves them unmasked at vectors 8 to 15: the first `sti` would deliver the timer as a
//! double fault without an error code. Masking does not stop their spurious interrupts, so they are
//! moved to vectors of their own as well.

use super::vectors::LEGACY_FIRST;
use x86_64::instructions::port::Port;

/// Remaps and masks both controllers. Harmless where there are none.
pub fn silence() {
    const INITIALISE: u8 = 0x11;
    const MODE_8086: u8 = 0x01;
    let write = |port: u16, value: u8| {
        // SAFETY: these ports belong to the 8259s by convention since 1981, and the values are their
        // documented initialisation; no memory is touched.
        unsafe { Port::new(port).write(value) };
    };
    write(0x20, INITIALISE);
    write(0xa0, INITIALISE);
    write(0x21, LEGACY_FIRST);
    write(0xa1, LEGACY_FIRST + 8);
    // The second controller hangs off input 2 of the first.
    write(0x21, 1 << 2);
    write(0xa1, 2);
    write(0x21, MODE_8086);
    write(0xa1, MODE_8086);
    write(0x21, 0xff);
    write(0xa1, 0xff);
}
