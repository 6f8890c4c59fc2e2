//! How one PGD is brought up to the reference, with one step wrong: `ReferencePgd::complete` and `ReferencePgd::settle`.
//!
//! Where a scene is staged, their right steps are written down here once more, with the points between them.

use arch_x86::geometry::Geometry;
use kernel_sync::atomic::{Ordering, fence};
use mm_generic::frames::Frames;
use mm_generic::word::Word;

use crate::arch::MutantArch;
use crate::list::Mutant;
use crate::stage::{self, Point};

/// A slot of a PGD.
type Cell<G> = <<G as Geometry>::Word as Word>::Atomic;

impl<G: Geometry, F: Frames> MutantArch<G, F> {
    /// Completes a PGD that no CPU has loaded.
    pub(crate) fn complete(&self, table: &[Cell<G>]) {
        let reference = self.slots().reference();
        match self.mutant() {
            // SAFETY: a broken promise on purpose: late init takes no lock.
            Some(Mutant::CompleteByComparison) => unsafe { self.settle_used(table) },
            Some(
                Mutant::LateFillsOnlyNone
                | Mutant::CompleteByStore
                | Mutant::ReferenceBeforeMark
                | Mutant::MarkBarrierGone
                | Mutant::LatePopulatedOnly,
            ) => self.complete_each(table),
            _ if stage::is_staged() => self.complete_each(table),
            // SAFETY: no CPU loads the PGD before this has returned.
            _ => unsafe { reference.complete(table) },
        }
    }

    /// Completes one slot after the other.
    fn complete_each(&self, table: &[Cell<G>]) {
        let reference = self.slots().reference();
        for slot in (0..reference.len()).filter(|&slot| !reference.is_private(slot)) {
            self.complete_one(&table[slot], slot);
        }
    }

    /// Settles every slot that is not private.
    ///
    /// # Safety
    ///
    /// As for [`mm_generic::reference::ReferencePgd::settle_used`].
    pub(crate) unsafe fn settle_used(&self, table: &[Cell<G>]) {
        let reference = self.slots().reference();
        if stage::is_staged() {
            for slot in (0..reference.len()).filter(|&slot| !reference.is_private(slot)) {
                self.settle_slowly(&table[slot], slot);
            }
        } else {
            // SAFETY: the caller's promise is the same.
            unsafe { reference.settle_used(table) };
        }
    }

    fn complete_one(&self, cell: &Cell<G>, slot: usize) {
        let reference = self.slots().reference();
        let read = || self.read_reference(slot);
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

    /// Settles one slot of a PGD that CPUs may have loaded. Tells whether that took a store.
    pub(crate) fn settle(&self, table: &[Cell<G>], slot: usize) -> bool {
        let reference = self.slots().reference();
        let cell = &table[slot];
        match self.mutant() {
            Some(Mutant::WalkFillsOnlyNone) => {
                let (none, entry) = (G::Word::NONE, reference.entry(slot));
                let filled = G::Word::compare_exchange(
                    cell,
                    none,
                    entry,
                    Ordering::AcqRel,
                    Ordering::Acquire,
                );
                filled.is_ok()
            }
            Some(Mutant::WalkSkipsEmpty) if !reference.is_populated(slot) => false,
            _ if stage::is_staged() => self.settle_slowly(cell, slot),
            // SAFETY: an updater's range has no private slots; the lock is held, but for mutants without.
            _ => unsafe { reference.settle(table, slot) },
        }
    }

    /// Reads what the reference holds in `slot`, and comes to the point behind that.
    pub(crate) fn read_reference(&self, slot: usize) -> G::Word {
        let entry = self.slots().reference().entry(slot);
        stage::at(Point::ReferenceRead { slot });
        entry
    }

    /// `ReferencePgd::settle`, with a point between its reads and its exchange.
    fn settle_slowly(&self, cell: &Cell<G>, slot: usize) -> bool {
        let mut current = G::Word::load(cell, Ordering::Acquire);
        loop {
            let entry = self.read_reference(slot);
            if is_same(entry, current) {
                return false;
            }
            match G::Word::compare_exchange(
                cell,
                current,
                entry,
                Ordering::Release,
                Ordering::Acquire,
            ) {
                Ok(_) => return true,
                Err(found) => current = found,
            }
        }
    }
}

/// Tells whether nothing but x86's accessed and dirty bits makes two entries differ.
fn is_same<W: Word>(one: W, other: W) -> bool {
    const SET_BY_MMU: u64 = 0x60;
    let differing = one.to_u64() ^ other.to_u64();
    differing == 0 || (differing & !SET_BY_MMU == 0 && one.is_live() && other.is_live())
}
