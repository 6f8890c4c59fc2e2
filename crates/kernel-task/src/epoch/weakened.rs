//! Barriers that a model check weakens, to see that it would notice. In builds for the model checker only.

use core::sync::atomic::{AtomicU8, Ordering};

/// One of the three barriers of `section.rs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Barrier {
    /// (E), on entry to a section.
    Enter = 1,
    /// (S), when a batch is sealed.
    Seal,
    /// (D), when the epoch advances.
    Advance,
}

/// Not the checker's atomic: set between explorations, and read in them as if it were a constant.
static WEAKENED: AtomicU8 = AtomicU8::new(0);

/// Makes one barrier acquire-release only, or none.
pub fn set(barrier: Option<Barrier>) {
    WEAKENED.store(barrier.map_or(0, |it| it as u8), Ordering::Relaxed);
}

pub(super) fn is(barrier: Barrier) -> bool {
    WEAKENED.load(Ordering::Relaxed) == barrier as u8
}
