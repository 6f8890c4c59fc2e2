//! The radix tables of x86, for every geometry.
//!
//! An entry of a live table is read by MMUs at any moment, which also set its accessed and dirty bits,
//! and in the kernel half other CPUs map at the same time. So entries are loaded with acquire, change
//! by compare-exchange or swap with release, and nobody ever has a `&mut` to a table.

mod descent;
mod page_tables;

use kernel_sync::atomic::Ordering;
use mm_generic::frames::{Frame, Frames};
use mm_generic::word::Word;

use crate::entry;
use crate::geometry::Geometry;

/// The page tables of one geometry, in the frames of one kernel.
pub struct Tables<G: Geometry, F: Frames> {
    geometry: G,
    frames: &'static F,
}

impl<G: Geometry, F: Frames> Tables<G, F> {
    /// Uses `frames` for the tables.
    #[must_use]
    pub fn new(geometry: G, frames: &'static F) -> Self {
        Self { geometry, frames }
    }

    /// The geometry.
    pub fn geometry(&self) -> &G {
        &self.geometry
    }

    /// The frames.
    pub fn frames(&self) -> &'static F {
        self.frames
    }

    /// The entries of the table in `table`.
    #[inline]
    fn entries(&self, table: Frame) -> &'static [<G::Word as Word>::Atomic] {
        G::Word::table(self.frames, table)
    }

    /// The table behind entry `index` of the table at `table`, if there is one.
    #[inline]
    pub(crate) fn child(&self, table: Frame, index: usize) -> Option<Frame> {
        // Relaxed: stored by `set_child` before the root was handed to anybody.
        entry::frame(G::Word::load(&self.entries(table)[index], Ordering::Relaxed))
    }

    /// Puts a supervisor table behind entry `index` of the top-level table `root`, which nobody else can reach yet.
    pub(crate) fn set_child(&self, root: Frame, index: usize, child: Frame) {
        let entry = entry::table(&self.geometry, 0, child, false)
            .expect("only PAE has tables of its own here, and its 64-bit entries hold any frame");
        // Relaxed: who publishes the root releases this with it.
        G::Word::store(&self.entries(root)[index], entry, Ordering::Relaxed);
    }
}
