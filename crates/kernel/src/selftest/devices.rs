//! The serial port's interrupt, and the files handed over.

use super::processors::eventually;
use super::{Verdict, ensure};
use crate::boot::Machine;
use crate::console;
use kernel_sync::atomic::{AtomicU64, Ordering};
use x86_64::instructions::port::Port;

/// The modem control register of COM1, and its bits: DTR, RTS, OUT1, OUT2, loopback.
const MODEM_CONTROL: u16 = 0x3fc;
const LOOPBACK: u8 = 1 << 4;
const DATA: u16 = 0x3f8;

pub(super) fn serial_input(machine: &Machine) -> Verdict {
    static RECEIVED: AtomicU64 = AtomicU64::new(0);
    let wiring = machine.platform.isa[console::COM1_IRQ];
    console::install_input(wiring, |byte| {
        // Digits, so that an order can be seen.
        let digits = RECEIVED.load(Ordering::Relaxed);
        RECEIVED.store(digits * 10 + u64::from(byte.wrapping_sub(b'0')), Ordering::Release);
    })
    .map_err(|error| alloc::format!("{error}"))?;
    let mut control = Port::<u8>::new(MODEM_CONTROL);
    // SAFETY: in loopback mode what is sent is received, and nothing goes out. Nobody else prints:
    // the other processors are idle.
    let before = unsafe { control.read() };
    let mut expected = 0;
    for digit in b"123" {
        // SAFETY: as above.
        unsafe {
            control.write(before | LOOPBACK);
            Port::<u8>::new(DATA).write(*digit);
        }
        expected = expected * 10 + u64::from(digit - b'0');
        if !eventually(|| RECEIVED.load(Ordering::Acquire) == expected) {
            break;
        }
    }
    // SAFETY: as it was.
    unsafe { control.write(before) };
    let received = RECEIVED.load(Ordering::Acquire);
    ensure!(received == 123, "received {received}, sent 123");
    Ok(())
}

pub(super) fn initramfs(machine: &Machine) -> Verdict {
    let Some(expected) = machine.command_line.value("hello") else {
        ensure!(machine.initramfs.is_empty(), "an initramfs without hello= to compare");
        return Ok(());
    };
    let entry = machine.initramfs.get("/etc/hello").ok_or("there is no /etc/hello")?;
    ensure!(entry.data == expected.as_bytes(), "/etc/hello has {:?}", entry.data);
    Ok(())
}
