//! Sections with interrupts off.

use core::marker::PhantomData;
use x86_64::instructions::interrupts;

/// Evidence that interrupts are off on this processor; dropping it restores what was before.
///
/// Guards nest. Dropping them in another order than they were made turns interrupts on while an
/// older guard lives: do not move them about.
#[derive(Debug)]
#[must_use = "interrupts are on again as soon as the guard is dropped"]
pub struct IrqGuard {
    restore: bool,
    /// The interrupt flag belongs to a processor, so the guard must not go to another one.
    not_send: PhantomData<*const ()>,
}

impl IrqGuard {
    /// Turns interrupts off.
    #[inline]
    pub fn disable() -> Self {
        let restore = interrupts::are_enabled();
        interrupts::disable();
        Self { restore, not_send: PhantomData }
    }
}

impl Drop for IrqGuard {
    #[inline]
    fn drop(&mut self) {
        if self.restore {
            interrupts::enable();
        }
    }
}
