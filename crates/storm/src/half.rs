//! The kernel half of a geometry, as the manual numbers it.

use hosted::tlb::SlotPlace;
use mm_generic::frames::PAGE_SIZE;

/// The kernel half of a geometry, in the manual's numbers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Half {
    pub(crate) place: SlotPlace,
    /// First kernel address.
    pub(crate) first: u64,
    /// Bytes that one slot maps.
    pub(crate) slot_span: u64,
    pub(crate) slots: u64,
    /// A large page can stand in a slot.
    pub(crate) large_slots: bool,
    /// Level of the table that the slots are in, counted from 1 for the tables that map pages.
    pub(crate) slot_level: u8,
    /// Growths into each slot, where nothing is given back; the first of them populates it.
    pub(crate) growths_per_slot: u64,
}

impl Half {
    pub(crate) fn growths(self) -> u64 {
        self.slots * self.growths_per_slot
    }

    /// The slot and the address of growth number `number`, where nothing is given back. One beyond the last, which a duel asks for
    /// when the kernel half is used up, may lie beyond the address space.
    pub(crate) fn place_of(self, number: u64) -> (u64, u64) {
        let slot = number / self.growths_per_slot;
        let page = number % self.growths_per_slot;
        (slot, self.first.wrapping_add(slot * self.slot_span + page * PAGE_SIZE))
    }
}
