//! A walk over all mms with one step wrong.

use kernel_sync::{OutOfHeap, cpu_relax};
use mm_generic::kernel::{Kernel, RcuGuard};
use mm_generic::mm::Mm;
use mm_generic::walk::Walkers;

use crate::list::Mutant;
use crate::stage::{self, Point};

/// Walkers that visit what `right` visits, less what the mutant leaves out.
pub struct MutantWalk<W> {
    right: W,
    mutant: Option<Mutant>,
}

impl<W> MutantWalk<W> {
    /// Wraps the right walkers.
    pub fn new(right: W, mutant: Option<Mutant>) -> Self {
        Self { right, mutant }
    }

    /// The right walkers.
    pub fn right(&self) -> &W {
        &self.right
    }
}

// SAFETY: with `None`, all that `right` promises; with a mutant, a broken promise on purpose, in tests only.
unsafe impl<K: Kernel, W: Walkers<K>> Walkers<K> for MutantWalk<W> {
    type Place = W::Place;

    fn place(&'static self) -> Result<W::Place, OutOfHeap> {
        self.right.place()
    }

    fn for_each_published(&self, rcu: &RcuGuard<K>, visit: &mut dyn FnMut(&Mm<K>)) {
        match self.mutant {
            Some(Mutant::CpusBeforeTasks) => self.right.for_each_loaded(rcu, visit),
            _ => self.right.for_each_published(rcu, visit),
        }
    }

    fn for_each_loaded(&self, rcu: &RcuGuard<K>, visit: &mut dyn FnMut(&Mm<K>)) {
        stage::at(Point::HalfWalked);
        match self.mutant {
            Some(Mutant::CpuWalkLeftOut) => {}
            Some(Mutant::CpusBeforeTasks) => self.right.for_each_published(rcu, visit),
            // The walker is held up between finding an mm and visiting it, as by an interrupt. Right
            // code does not mind; here it makes a window of nanoseconds one of microseconds.
            Some(Mutant::PgdFreedEarly) => self.right.for_each_loaded(rcu, &mut |mm| {
                (0..HELD_UP).for_each(|_| cpu_relax());
                visit(mm);
            }),
            _ => self.right.for_each_loaded(rcu, visit),
        }
    }
}

/// Spins of a walker that is held up; once is enough for a model checker.
const HELD_UP: u32 = if cfg!(loom) { 0 } else { 200 };
