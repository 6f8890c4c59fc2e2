//! The radix tables of x86, for every geometry.

use core::ops::Range;

use kernel_sync::atomic::Ordering;
use mm_generic::frames::{Frame, Frames};
use mm_generic::page_tables::{Leaf, MapError, PageTables};
use mm_generic::prot::Prot;
use mm_generic::word::Word;

use crate::entry;
use crate::geometry::Geometry;

/// The page tables of one geometry, in the frames of one kernel.
pub struct Tables<G: Geometry, F: Frames> {
    geometry: G,
    frames: &'static F,
}

impl<G: Geometry, F: Frames> Tables<G, F> {
    pub(crate) fn new(geometry: G, frames: &'static F) -> Self {
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

    /// The table behind entry `index` of the table at `table`, if there is one.
    #[inline]
    pub(crate) fn child(&self, table: Frame, index: usize) -> Option<Frame> {
        // Acquire: the table is initialised before its entry is stored.
        entry::frame(G::Word::load(&G::Word::table(self.frames, table)[index], Ordering::Acquire))
    }

    /// Puts a supervisor table behind entry `index` of the top-level table `root`, which nobody else can reach yet.
    pub(crate) fn set_child(&self, root: Frame, index: usize, child: Frame) {
        let entry = entry::table(&self.geometry, 0, child, false)
            .expect("only PAE has tables of its own here, and its 64-bit entries hold any frame");
        G::Word::store(&G::Word::table(self.frames, root)[index], entry, Ordering::Release);
    }
}
