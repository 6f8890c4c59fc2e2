//! Interrupts leave no trace in what they interrupt.

use super::{Verdict, ensure};
use crate::boot::Machine;
use crate::cpu::trap::{TrapFrame, set_handler};
use crate::cpu::vectors::{BREAKPOINT, TIMER};
use crate::cpu::{apic, clock};
use core::arch::{asm, global_asm};
use kernel_sync::atomic::{AtomicU8, AtomicU64, Ordering};
use x86_64::instructions::interrupts;

global_asm!(include_str!("interrupts.s"), options(att_syntax, raw));

/// What `hold_still` reads and writes, in its order.
#[repr(C)]
#[derive(Clone, Copy)]
struct Held {
    xmm: [u128; 16],
    red_zone: [u64; 16],
    general: [u64; 13],
}

unsafe extern "C" {
    fn hold_still(stop: *const AtomicU8, held: *mut Held);
}

/// Ticks after which the test ends, and the time after which it does not wait for more.
const ENOUGH: u64 = 500;
const PATIENCE: u64 = 300_000_000;

static STOP: AtomicU8 = AtomicU8::new(0);
static TICKS: AtomicU64 = AtomicU64::new(0);
static DEADLINE: AtomicU64 = AtomicU64::new(0);

fn clobber_and_count(_frame: &mut TrapFrame) {
    // SAFETY: declares what it overwrites.
    unsafe {
        asm!(
            "pxor xmm0, xmm0", "pxor xmm5, xmm5", "pxor xmm9, xmm9", "pxor xmm15, xmm15",
            out("xmm0") _, out("xmm5") _, out("xmm9") _, out("xmm15") _, options(nomem, nostack)
        );
    }
    let ticks = TICKS.fetch_add(1, Ordering::Relaxed) + 1;
    let late = clock::now() > DEADLINE.load(Ordering::Relaxed);
    if ticks >= ENOUGH || late {
        STOP.store(1, Ordering::Release);
    }
    apic::end_of_interrupt();
    // A handler that nests lower on the same stack.
    interrupts::enable();
    core::hint::black_box([ticks; 64]);
    interrupts::disable();
}

pub(super) fn registers_survive(_machine: &Machine) -> Verdict {
    set_handler(TIMER, clobber_and_count);
    DEADLINE.store(clock::now() + PATIENCE, Ordering::Relaxed);
    let xmm = core::array::from_fn(|n| u128::MAX / 3 + n as u128);
    let mut held = Held { xmm, red_zone: [0; 16], general: [0; 13] };
    apic::start_periodic_timer(clock::apic_ticks(30_000));
    // SAFETY: `hold_still` follows the C calling convention and touches its two arguments only.
    unsafe { hold_still(&raw const STOP, &raw mut held) };
    apic::stop_timer();
    let ticks = TICKS.load(Ordering::Relaxed);
    ensure!(ticks > 0, "nothing interrupted the test");
    for (n, (found, expected)) in held.xmm.iter().zip(xmm).enumerate() {
        ensure!(*found == expected, "xmm{n} is {found:#x} after {ticks} interrupts");
    }
    for (n, &found) in held.red_zone.iter().enumerate() {
        ensure!(
            found == 0x5ed_0000 + n as u64,
            "-{}(rsp) is {found:#x} after {ticks} interrupts",
            8 * (n + 1)
        );
    }
    let general = [0xa1, 0xc1, 0xd1, 0xb1, 0xb2, 0x08, 0x09, 0x10, 0x11, 0x12, 0x13, 0x14, 0x15];
    ensure!(held.general == general, "general registers are {:x?}", held.general);
    Ok(())
}

pub(super) fn breakpoint(_machine: &Machine) -> Verdict {
    static SEEN: AtomicU64 = AtomicU64::new(0);
    set_handler(BREAKPOINT, |frame| SEEN.store(frame.rip, Ordering::Relaxed));
    let after: u64;
    // SAFETY: the handler returns behind the int3.
    unsafe { asm!("int3", "2: lea {}, [rip + 2b]", out(reg) after) };
    let seen = SEEN.load(Ordering::Relaxed);
    ensure!(seen == after, "the breakpoint's frame has rip {seen:#x}, not {after:#x}");
    Ok(())
}
