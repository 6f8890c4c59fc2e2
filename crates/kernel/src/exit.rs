//! Ending the machine: QEMU's isa-debug-exit device, else a halt.
//!
//! A value `v` written to the device makes QEMU exit with status `2 * v + 1`. The two values avoid
//! the statuses QEMU uses itself. A program's status does not fit there; it goes, as text, to QEMU's
//! debug console (isa-debugcon) first.

use kernel_task::process::ExitStatus;
use x86_64::instructions::{hlt, interrupts, port::Port};

/// The device's port, as `-device isa-debug-exit,iobase=0xf4,iosize=4` puts it.
const PORT: u16 = 0xf4;

/// The debug console's port, as `-device isa-debugcon,iobase=0xe9` puts it.
const DEBUG_CONSOLE: u16 = 0xe9;

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// QEMU exits with status 33.
    Success = 0x10,
    /// QEMU exits with status 35.
    Failure = 0x11,
}

/// Ends the machine, or stops this processor where there is no such device.
pub fn exit(outcome: Outcome) -> ! {
    // SAFETY: the port is the device's, or nobody's.
    unsafe { Port::new(PORT).write(outcome as u32) };
    interrupts::disable();
    loop {
        hlt();
    }
}

/// Ends the machine with the status of a program, in decimal and as a shell would have it: 128 more than the
/// signal for one that was killed.
pub fn exit_with(status: ExitStatus) -> ! {
    let status = match status {
        ExitStatus::Exited(code) => code,
        ExitStatus::Killed { signal, .. } => 128 + signal,
    };
    for byte in alloc::format!("exit {status}\n").bytes() {
        // SAFETY: the port is the device's, or nobody's.
        unsafe { Port::new(DEBUG_CONSOLE).write(byte) };
    }
    exit(Outcome::Success)
}
