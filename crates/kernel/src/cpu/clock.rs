//! Time: the time-stamp counter and the APIC timer, calibrated against a clock of known rate.
//!
//! The known clock is the HPET where ACPI has one, else the 8254 timer. Where there is neither
//! (microvm can be told so), the APIC timer is taken to run at the rate QEMU gives it.

use super::apic;
use core::arch::x86_64::_rdtsc;
use spin::Once;
use x86_64::instructions::port::Port;

const NANOSECONDS: u64 = 1_000_000_000;

/// How long calibration watches the clocks, in nanoseconds.
const WATCH: u64 = 10_000_000;

/// A clock of known rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reference {
    /// The HPET, its registers mapped at this address.
    Hpet(u64),
    /// Channel 0 of the 8254.
    Pit,
    /// The APIC timer itself, taken to run at 1 GHz as QEMU's does.
    ApicTimer,
}

/// Rates found by [`calibrate`].
#[derive(Clone, Copy, Debug)]
pub struct Rates {
    /// What they were measured against.
    pub reference: Reference,
    /// Ticks of the time-stamp counter in a second.
    pub tsc: u64,
    /// Ticks of the APIC timer in a second.
    pub apic: u64,
    /// The time-stamp counter at calibration, from which the kernel's time counts.
    epoch: u64,
    /// Nanoseconds in a tick of the time-stamp counter, times 2^32.
    tsc_factor: u64,
}

static RATES: Once<Rates> = Once::new();

fn rdtsc() -> u64 {
    // SAFETY: RDTSC exists on every x86-64 processor and CR4.TSD does not apply to the kernel.
    unsafe { _rdtsc() }
}

/// The HPET as far as it is needed: one counter.
#[derive(Clone, Copy)]
struct Hpet(u64);

impl Hpet {
    const CAPABILITIES: u64 = 0x0;
    const CONFIGURATION: u64 = 0x10;
    const COUNTER: u64 = 0xf0;
    const ENABLE: u32 = 1;

    /// Starts the counter and returns its period in femtoseconds.
    fn start(self) -> u64 {
        // 32-bit accesses only: the device model ignores narrower ones, and a compiler may narrow
        // `|=`, hence volatile. The upper half of the configuration is reserved.
        let configuration = (self.0 + Self::CONFIGURATION) as *mut u32;
        // SAFETY: Reference::Hpet carries a mapping of the device's registers, whose layout this is;
        // enabling the counter touches no memory.
        unsafe {
            configuration.write_volatile(configuration.read_volatile() | Self::ENABLE);
            u64::from(((self.0 + Self::CAPABILITIES + 4) as *const u32).read_volatile())
        }
    }

    fn counter(self) -> u32 {
        // SAFETY: as above; reading has no effect.
        unsafe { ((self.0 + Self::COUNTER) as *const u32).read_volatile() }
    }
}

/// Channel 0 of the 8254, counting down from 2^16.
struct Pit;

impl Pit {
    const RATE: u64 = 1_193_182;

    fn start() {
        // Channel 0, low byte then high byte, rate generator; a count of 0 means 2^16.
        // SAFETY: these ports are the 8254's by convention; its interrupt is masked.
        unsafe {
            Port::new(0x43).write(0x34_u8);
            Port::new(0x40).write(0_u8);
            Port::new(0x40).write(0_u8);
        }
    }

    fn count() -> u16 {
        // SAFETY: as above; latching and reading have no other effect.
        unsafe {
            Port::new(0x43).write(0_u8);
            let low: u8 = Port::new(0x40).read();
            let high: u8 = Port::new(0x40).read();
            u16::from_le_bytes([low, high])
        }
    }

    /// Tells whether there is one: absent ports read as ones, and stay so.
    fn is_counting() -> bool {
        let first = Self::count();
        (0..1000).any(|_| Self::count() != first)
    }
}

/// Three clocks, read as close together as the host allowed.
#[derive(Clone, Copy)]
struct Sample {
    tsc: u64,
    apic: u32,
    reference: u64,
}

/// Reads the clocks a few times and keeps the reading that took least, because a host may take the
/// processor away between two instructions.
fn sample(reference: impl Fn() -> u64) -> Sample {
    let mut best = (u64::MAX, Sample { tsc: 0, apic: 0, reference: 0 });
    for _ in 0..8 {
        let before = rdtsc();
        let reference = reference();
        let apic = apic::counted();
        let after = rdtsc();
        if after - before < best.0 {
            let tsc = before + (after - before) / 2;
            best = (after - before, Sample { tsc, apic, reference });
        }
    }
    best.1
}

/// Finds the rates, with `hpet` as the address of the HPET's registers if there is one.
///
/// Takes about 10 ms. Must run with the local APIC on and its timer unused.
pub fn calibrate(hpet: Option<u64>) -> Rates {
    *RATES.call_once(|| {
        apic::start_counting();
        let (reference, measured) = measure(hpet);
        apic::stop_timer();
        let (tsc, apic) = measured.unwrap_or((NANOSECONDS, NANOSECONDS));
        let tsc_factor = ((u128::from(NANOSECONDS) << 32) / u128::from(tsc)) as u64;
        Rates { reference, tsc, apic, epoch: rdtsc(), tsc_factor }
    })
}

/// Chooses a reference and measures against it.
fn measure(hpet: Option<u64>) -> (Reference, Option<(u64, u64)>) {
    if let Some(address) = hpet {
        let hpet = Hpet(address);
        let period = hpet.start();
        let elapsed = |from: u64, to: u64| {
            u64::from((to as u32).wrapping_sub(from as u32)) * period / 1_000_000
        };
        return (Reference::Hpet(address), watch(|| u64::from(hpet.counter()), elapsed));
    }
    Pit::start();
    if Pit::is_counting() {
        let elapsed = |from: u64, to: u64| {
            u64::from((from as u16).wrapping_sub(to as u16)) * NANOSECONDS / Pit::RATE
        };
        return (Reference::Pit, watch(|| u64::from(Pit::count()), elapsed));
    }
    let elapsed = |from, to| to - from;
    (Reference::ApicTimer, watch(|| u64::from(apic::counted()), elapsed))
}

/// Watches the clocks for [`WATCH`] nanoseconds and returns the rates of the time-stamp counter and
/// of the APIC timer; `None` when the reference stands still.
fn watch(reference: impl Fn() -> u64, nanoseconds: impl Fn(u64, u64) -> u64) -> Option<(u64, u64)> {
    /// Readings without a change after which the reference counts as dead.
    const PATIENCE: u32 = 10_000_000;
    let first = sample(&reference);
    for _ in 0..PATIENCE {
        if nanoseconds(first.reference, reference()) >= WATCH {
            let last = sample(&reference);
            let elapsed = u128::from(nanoseconds(first.reference, last.reference));
            let rate = |ticks: u64| (u128::from(ticks) * u128::from(NANOSECONDS) / elapsed) as u64;
            let apic = last.apic.wrapping_sub(first.apic);
            return Some((rate(last.tsc - first.tsc), rate(u64::from(apic))));
        }
    }
    None
}

/// Returns the nanoseconds since calibration; 0 before.
#[must_use]
pub fn now() -> u64 {
    RATES.get().map_or(0, |rates| {
        let ticks = rdtsc().wrapping_sub(rates.epoch);
        ((u128::from(ticks) * u128::from(rates.tsc_factor)) >> 32) as u64
    })
}

/// Returns the ticks of the APIC timer in `nanoseconds`, at least 1.
///
/// # Panics
///
/// Before calibration.
#[must_use]
pub fn apic_ticks(nanoseconds: u64) -> u32 {
    let rates = RATES.get().expect("the clock is calibrated before anybody sets a timer");
    let ticks = u128::from(nanoseconds) * u128::from(rates.apic) / u128::from(NANOSECONDS);
    u32::try_from(ticks.max(1)).unwrap_or(u32::MAX)
}

/// Spins until `nanoseconds` have passed.
pub fn spin_for(nanoseconds: u64) {
    let end = now() + nanoseconds;
    while now() < end {
        kernel_sync::cpu_relax();
    }
}
