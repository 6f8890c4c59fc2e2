//! Random numbers: the processor's where it has RDRAND, else what the time-stamp counter is good for.
//!
//! Without RDRAND they are hard to guess from outside and no more. Nothing here keeps secrets.

use core::arch::asm;
use core::arch::x86_64::_rdtsc;
use kernel_sync::atomic::{AtomicU64, Ordering};
use spin::Once;

static HAS_RDRAND: Once<bool> = Once::new();

fn rdrand() -> Option<u64> {
    let has = || raw_cpuid::CpuId::new().get_feature_info().is_some_and(|info| info.has_rdrand());
    if !*HAS_RDRAND.call_once(has) {
        return None;
    }
    let (value, valid): (u64, u8);
    // SAFETY: CPUID has the instruction; it changes its operand and the flags.
    unsafe {
        asm!("rdrand {}", "setc {}", out(reg) value, out(reg_byte) valid, options(nomem, nostack));
    }
    (valid != 0).then_some(value)
}

/// Returns 64 random bits.
#[must_use]
pub fn word() -> u64 {
    static STATE: AtomicU64 = AtomicU64::new(0x9e37_79b9_7f4a_7c15);
    // SAFETY: every x86-64 processor has RDTSC.
    let time = unsafe { _rdtsc() };
    let step = STATE.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
    // The finaliser of SplitMix64.
    let mut z = step ^ time.rotate_left(32) ^ rdrand().unwrap_or(0);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

/// Fills `buffer` with random bytes.
pub fn fill(buffer: &mut [u8]) {
    for chunk in buffer.chunks_mut(8) {
        chunk.copy_from_slice(&word().to_le_bytes()[..chunk.len()]);
    }
}
