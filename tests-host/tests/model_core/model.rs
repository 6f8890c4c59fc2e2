//! The sequential model: sets and maps.

use std::collections::{BTreeMap, BTreeSet};

use mm_generic::frames::Frame;
use tests_host::machine::Grown;

/// A kernel without page tables.
#[derive(Default)]
pub(crate) struct Model {
    /// What each kernel page shows.
    pub(crate) kernel: BTreeMap<u64, Frame>,
    /// Slots that have been grown into.
    pub(crate) slots: BTreeSet<usize>,
    /// Every address space there has been.
    pub(crate) spaces: Vec<Space>,
    /// The address space that each CPU has loaded.
    pub(crate) loaded: [Option<usize>; 4],
}

/// An address space.
pub(crate) struct Space {
    /// Its name on the machine.
    pub(crate) root: Frame,
    /// Page number and first byte of each page that was touched.
    pub(crate) pages: BTreeMap<u64, u8>,
    /// Tasks that have it.
    pub(crate) tasks: usize,
    /// Shares of drivers.
    pub(crate) holds: usize,
}

impl Model {
    pub(crate) fn grow(&mut self, grown: &[Grown]) {
        for page in grown {
            self.kernel.insert(page.addr, page.frame);
            self.slots.insert(page.slot);
        }
    }

    /// A new address space with one task.
    pub(crate) fn born(&mut self, root: Frame, pages: BTreeMap<u64, u8>) -> usize {
        self.spaces.push(Space { root, pages, tasks: 1, holds: 0 });
        self.spaces.len() - 1
    }

    /// What a new program has touched.
    pub(crate) fn program() -> BTreeMap<u64, u8> {
        BTreeMap::from([(0, 1)])
    }

    /// A task lets its address space go.
    pub(crate) fn left(&mut self, space: usize) {
        self.spaces[space].tasks -= 1;
        self.tear_down(space);
    }

    /// A driver lets its share go.
    pub(crate) fn dropped(&mut self, space: usize) {
        self.spaces[space].holds -= 1;
        self.tear_down(space);
    }

    fn tear_down(&mut self, space: usize) {
        let space = &mut self.spaces[space];
        if space.tasks + space.holds == 0 {
            space.pages.clear();
        }
    }

    /// Address spaces that a walk must find: with a task, or loaded.
    pub(crate) fn live(&self) -> impl Iterator<Item = &Space> {
        let is_loaded = |index| self.loaded.contains(&Some(index));
        self.spaces
            .iter()
            .enumerate()
            .filter(move |(index, space)| space.tasks > 0 || is_loaded(*index))
            .map(|(_, space)| space)
    }
}
