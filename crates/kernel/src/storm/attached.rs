//! Which kernel threads of the storm are attached to an mm, and which are about to be.

use crate::cpu::MAX_CPUS;
use crate::cpu::area;
use kernel_sync::atomic::{AtomicU64, Ordering};

/// The attached threads, as [`area::current`] names them; 0 for none.
static ATTACHED: [AtomicU64; MAX_CPUS] = [const { AtomicU64::new(0) }; MAX_CPUS];

/// Calls of `kthread_use_mm` that have not returned.
static UNDER_WAY: AtomicU64 = AtomicU64::new(0);

/// Runs `attach`, a call of `kthread_use_mm`.
pub(super) fn under_way(attach: impl FnOnce()) {
    UNDER_WAY.fetch_add(1, Ordering::SeqCst);
    attach();
    UNDER_WAY.fetch_sub(1, Ordering::SeqCst);
}

/// Returns when no call of `kthread_use_mm` that has begun by now is under way.
pub(super) fn wait_for_late_inits() {
    while UNDER_WAY.load(Ordering::SeqCst) != 0 {
        kernel_sync::cpu_relax();
    }
}

/// Tells whether the running thread is one of the storm's that is attached.
pub(super) fn is_attached() -> bool {
    let thread = area::current();
    ATTACHED.iter().any(|attached| attached.load(Ordering::Relaxed) == thread)
}

/// Says that thread `number`, the running one, is attached, or is not.
pub(super) fn set_attached(number: usize, attached: bool) {
    let thread = if attached { area::current() } else { 0 };
    ATTACHED[number].store(thread, Ordering::Relaxed);
}
