//! One value per processor, which only that processor touches.

use super::MAX_CPUS;
use super::area::cpu_index;
use crate::sync::IrqGuard;

/// Two cache lines, as processors fetch them in pairs, so that neighbours do not share one.
#[repr(align(128))]
#[derive(Debug)]
pub struct Padded<T>(pub T);

/// One `T` per processor.
///
/// `T` need not be `Sync`: [`CpuLocal::with`] turns interrupts off, so neither another processor nor
/// a handler on this one sees the value meanwhile. Mutation goes through `Cell` or `RefCell`.
#[derive(Debug)]
pub struct CpuLocal<T>([Padded<T>; MAX_CPUS]);

// SAFETY: a processor reaches another's value only through `of`, which asks for `T: Sync`; its own
// through `with`, whose calls on one processor can only nest. `T: Send` because the processor that
// uses a value is not the one that made it.
unsafe impl<T: Send> Sync for CpuLocal<T> {}

impl<T> CpuLocal<T> {
    /// Makes the set from processor 0's value, processor 1's, and so on.
    #[must_use]
    pub const fn new(values: [Padded<T>; MAX_CPUS]) -> Self {
        Self(values)
    }

    /// Runs `f` on this processor's value, with interrupts off.
    pub fn with<R>(&self, f: impl FnOnce(&T) -> R) -> R {
        let _irqs_off = IrqGuard::disable();
        f(&self.0[cpu_index()].0)
    }
}

impl<T: Sync> CpuLocal<T> {
    /// Returns processor `cpu`'s value.
    #[must_use]
    pub fn of(&self, cpu: usize) -> &T {
        &self.0[cpu].0
    }
}
