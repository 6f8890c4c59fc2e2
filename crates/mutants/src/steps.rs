//! How one PGD is brought up to the reference, with one step wrong: `ReferencePgd::complete` and `ReferencePgd::settle`.

use arch_x86::geometry::Geometry;
use kernel_sync::atomic::{Ordering, fence};
use mm_generic::frames::Frames;
use mm_generic::word::Word;

use crate::arch::MutantArch;
use crate::list::Mutant;

/// A slot of a PGD.
type Cell<G> = <<G as Geometry>::Word as Word>::Atomic;

impl<G: Geometry, F: Frames> MutantArch<G, F> {
    /// Completes a PGD that no CPU has loaded.
    pub(crate) fn complete(&self, table: &[Cell<G>]) {
        let reference = self.slots().reference();
        match self.mutant() {
            Some(
                Mutant::LateFillsOnlyNone
                | Mutant::CompleteByStore
                | Mutant::ReferenceBeforeMark
                | Mutant::MarkBarrierGone
                | Mutant::LatePopulatedOnly,
            ) => {
                for slot in (0..reference.len()).filter(|&slot| !reference.is_private(slot)) {
                    self.complete_one(&table[slot], slot);
                }
            }
            // SAFETY: a broken promise on purpose: late init takes no lock.
            Some(Mutant::CompleteByComparison) => unsafe { reference.settle_used(table) },
            // SAFETY: no CPU loads the PGD before this has returned.
            _ => unsafe { reference.complete(table) },
        }
    }

    fn complete_one(&self, cell: &Cell<G>, slot: usize) {
        let reference = self.slots().reference();
        let read = || reference.entry(slot);
        let exchange = |from, to| {
            let _ = G::Word::compare_exchange(cell, from, to, Ordering::AcqRel, Ordering::Acquire);
        };
        let mark = || G::Word::swap(cell, G::Word::UNSETTLED, Ordering::AcqRel);
        match self.mutant() {
            Some(Mutant::LateFillsOnlyNone) => exchange(G::Word::NONE, read()),
            Some(Mutant::CompleteByStore) => {
                mark();
                fence(Ordering::SeqCst);
                G::Word::store(cell, read(), Ordering::Release);
            }
            Some(Mutant::ReferenceBeforeMark) => {
                let entry = read();
                mark();
                fence(Ordering::SeqCst);
                exchange(G::Word::UNSETTLED, entry);
            }
            Some(Mutant::LatePopulatedOnly) if !reference.is_populated(slot) => {}
            _ => {
                mark();
                self.barrier(Mutant::MarkBarrierGone);
                exchange(G::Word::UNSETTLED, read());
            }
        }
    }

    /// Settles one slot of a PGD that CPUs may have loaded.
    pub(crate) fn settle(&self, table: &[Cell<G>], slot: usize) {
        let reference = self.slots().reference();
        let cell = &table[slot];
        match self.mutant() {
            Some(Mutant::WalkFillsOnlyNone) => {
                let (none, entry) = (G::Word::NONE, reference.entry(slot));
                let _ = G::Word::compare_exchange(
                    cell,
                    none,
                    entry,
                    Ordering::AcqRel,
                    Ordering::Acquire,
                );
            }
            Some(Mutant::WalkSkipsEmpty) if !reference.is_populated(slot) => {}
            // SAFETY: an updater's range has no private slots; the lock is held, but for mutants without.
            _ => unsafe { reference.settle(table, slot) },
        }
    }
}
