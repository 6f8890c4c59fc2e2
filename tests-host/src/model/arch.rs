//! The architectures that models are explored with.

use arch_x86::slots::Slots;
use mm_generic::arch::ArchPgd;
use mutants::{Mutant, MutantArch};

use super::frames::{ModelFrames, Tiny};

/// An architecture that a model can be explored with: the product's own, or a mutant of it.
pub trait ModelArch: ArchPgd {
    /// Puts the architecture over an empty reference PGD.
    fn over(slots: Slots<Tiny, ModelFrames>, mutant: Option<Mutant>) -> Self;

    /// The slots.
    fn slots(&self) -> &Slots<Tiny, ModelFrames>;
}

#[cfg(feature = "pgd-init-late")]
impl ModelArch for arch_x86::late::LateInit<Tiny, ModelFrames> {
    fn over(slots: Slots<Tiny, ModelFrames>, mutant: Option<Mutant>) -> Self {
        assert_eq!(mutant, None, "the product has no mutants in it");
        Self::new(slots)
    }

    fn slots(&self) -> &Slots<Tiny, ModelFrames> {
        self.slots()
    }
}

#[cfg(feature = "pgd-init-late")]
impl ModelArch for arch_x86::cached::Cached<Tiny, ModelFrames> {
    fn over(slots: Slots<Tiny, ModelFrames>, mutant: Option<Mutant>) -> Self {
        assert_eq!(mutant, None, "the product has no mutants in it");
        let late = arch_x86::late::LateInit::new(slots);
        Self::try_new(late, 1, 2, || 0).expect("a little heap")
    }

    fn slots(&self) -> &Slots<Tiny, ModelFrames> {
        self.late().slots()
    }
}

impl ModelArch for arch_x86::locked::Locked<Tiny, ModelFrames> {
    fn over(slots: Slots<Tiny, ModelFrames>, mutant: Option<Mutant>) -> Self {
        assert_eq!(mutant, None, "the product has no mutants in it");
        Self::new(slots)
    }

    fn slots(&self) -> &Slots<Tiny, ModelFrames> {
        self.slots()
    }
}

impl ModelArch for MutantArch<Tiny, ModelFrames> {
    fn over(slots: Slots<Tiny, ModelFrames>, mutant: Option<Mutant>) -> Self {
        Self::new(slots, mutant)
    }

    fn slots(&self) -> &Slots<Tiny, ModelFrames> {
        self.slots()
    }
}
