//! The time of day: the battery clock at boot, and the time since.

use crate::cpu::clock;
use files::Timespec;
use spin::Once;
use x86_64::instructions::port::Port;

const NANOSECONDS: u64 = 1_000_000_000;

/// Seconds of the Unix epoch when the kernel's clock began.
static BOOT: Once<u64> = Once::new();

/// Reads the battery clock. To be called once, when the clock is calibrated.
pub fn install() {
    BOOT.call_once(|| read_battery_clock().saturating_sub(clock::now() / NANOSECONDS));
}

/// Returns the time of day at boot, in seconds of the Unix epoch.
#[must_use]
pub fn boot_seconds() -> u64 {
    BOOT.get().copied().unwrap_or(0)
}

/// Returns the time of day.
#[must_use]
pub fn wall_clock() -> Timespec {
    let now = clock::now();
    Timespec {
        seconds: (boot_seconds() + now / NANOSECONDS) as i64,
        nanoseconds: (now % NANOSECONDS) as u32,
    }
}

/// Returns which moment of the kernel's clock a time of day is, both in nanoseconds.
#[must_use]
pub fn since_boot(wall_clock: u64) -> u64 {
    wall_clock.saturating_sub(boot_seconds() * NANOSECONDS)
}

/// Reads a register of the MC146818.
fn register(index: u8) -> u8 {
    // SAFETY: the ports are the battery clock's by convention, and reading has no effect. Bit 7 of
    // the index would enable NMIs that nobody sends.
    unsafe {
        Port::new(0x70).write(index);
        Port::new(0x71).read()
    }
}

/// Seconds since the Unix epoch; 0 without a clock.
fn read_battery_clock() -> u64 {
    const UPDATING: u8 = 1 << 7;
    const BINARY: u8 = 1 << 2;
    const REGISTERS: [u8; 6] = [0, 2, 4, 7, 8, 9];
    let read = || REGISTERS.map(register);
    let mut last = read();
    for _ in 0..1000 {
        if register(0x0a) & UPDATING == 0 {
            let now = read();
            if now == last {
                break;
            }
            last = now;
        }
    }
    // Absent ports read as ones.
    if last.iter().all(|&byte| byte == 0xff) {
        return 0;
    }
    if register(0x0b) & BINARY == 0 {
        last = last.map(|byte| (byte >> 4) * 10 + (byte & 15));
    }
    let [second, minute, hour, day, month, year] = last.map(u64::from);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return 0;
    }
    let days = days_since_epoch(2000 + year, month, day);
    days * 86400 + hour * 3600 + minute * 60 + second
}

/// Days from 1970-01-01 to a date of the Gregorian calendar after it.
const fn days_since_epoch(year: u64, month: u64, day: u64) -> u64 {
    // Years begin in March here, so that the leap day comes last.
    let (year, month) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468
}

const _: () = assert!(days_since_epoch(1970, 1, 1) == 0);
const _: () = assert!(days_since_epoch(2000, 3, 1) == 11_017);
