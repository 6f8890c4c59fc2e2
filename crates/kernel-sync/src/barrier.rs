//! The full barrier, and the polite way to spin.

use crate::atomic::{Ordering, fence};

/// Orders every access before it against every access after it, store-to-load included.
///
/// Linux's `smp_mb()`. On x86-64 rustc lowers it to `lock or dword ptr [rsp], 0`. Callers wrap it in
/// a function named after the two accesses it orders and say there which barrier is its partner:
/// a full barrier on one CPU alone orders nothing that another CPU could observe.
///
/// A fence between relaxed accesses is used rather than `SeqCst` accesses, because loom explores
/// the former as C11 defines it and takes the latter for `AcqRel`.
#[inline(always)]
pub fn smp_mb() {
    fence(Ordering::SeqCst);
}

/// Tells the processor that this is a spin loop; under loom, lets another thread run.
#[inline(always)]
pub fn cpu_relax() {
    #[cfg(not(loom))]
    core::hint::spin_loop();
    #[cfg(loom)]
    loom::thread::yield_now();
}
