//! The reference PGD's kernel half (`swapper_pg_dir`, `init_mm.pgd`) and how other PGDs are completed from it.
//!
//! # States of a slot
//!
//! A slot of the kernel half is *empty*, *populated* (the reference holds an entry; some PGDs may
//! not), or *synced* (a walk that began after it was populated has ended: every PGD a CPU may load
//! holds it). It moves forward only. A *private* slot belongs to each mm (x86's LDT remap); it stays
//! empty here for ever and nothing below touches it.
//!
//! # Transitions
//!
//! * empty -> populated: [`ReferencePgd::populate`], by one grower at a time, under a lock that fork, exec and
//!   exit never take. It stores the entry, then the slot's bit in `populated`, then bumps the
//!   generation; each is a release store, so who sees a later one sees the earlier ones.
//! * populated -> synced: [`ReferencePgd::mark_synced`], after a full barrier and a complete walk. Several
//!   growers may walk for one slot at once and each marks it when its own walk is done: whoever
//!   finds the slot populated but not synced helps by walking too, and waits for nobody.
//!
//! # The race
//!
//! CPU A forks, CPU B grows the kernel by slot `s`:
//!
//! ```text
//! CPU A                                       CPU B
//! a1 stamp := generation                      b1 reference[s] := entry; populated += s; generation += 1
//! a2 copy populated slots into the new PGD    b2 full barrier (B)
//! a3 publish the mm                           b3 walk all mms: fill s in each from the reference
//! a4 full barrier (A)                         b4 synced += s
//! a5 generation == stamp? done.
//!    otherwise fill all populated slots
//! ```
//!
//! If B's walk misses the mm (b3 before a3), then a4 is ordered after b2, because otherwise b3 would
//! see a3. So a5 sees b1: the generation differs from the stamp unless a1 already saw the bump, in
//! which case a2 copied `s`. Either way the PGD has `s` before any CPU loads it. If the walk does
//! not miss the mm, it fills `s` itself. Both may do so: they write the same entry, each by
//! compare-exchange from none.
//!
//! With either barrier weakened to acquire and release, a5 may miss b1 while b3 misses a3, and the
//! update is lost. `tests-host` explores both, and both weakened forms, with loom.

use alloc::vec::Vec;

use kernel_sync::Mutex;
use kernel_sync::atomic::{AtomicU64, Ordering};
use thiserror::Error;

use crate::slot_set::{MAX_SLOTS, SlotSet, WORD_SLOTS};
use crate::word::Word;

/// The kernel half of the reference PGD.
///
/// `slots` is the kernel part of the kernel's own top-level table, which CPUs load when they run on
/// no mm. PGDs of mms hold a table of the same length.
/// See the module documentation for the states of a slot.
pub struct ReferencePgd<W: Word> {
    slots: &'static [W::Atomic],
    private: Vec<usize>,
    populated: SlotSet,
    synced: SlotSet,
    generation: AtomicU64,
    /// Serialises writers of the fields above. Readers never take it.
    update: Mutex<()>,
}

/// The generation of the reference PGD that a table was copied from.
///
/// A table whose stamp equals the current generation holds every populated slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp(u64);

impl Stamp {
    /// The bare generation, to be kept in an atomic beside the table.
    #[must_use]
    pub const fn to_u64(self) -> u64 {
        self.0
    }

    /// The stamp that [`Stamp::to_u64`] came from.
    #[must_use]
    pub const fn from_u64(generation: u64) -> Self {
        Self(generation)
    }
}

/// A table that cannot serve as the reference PGD.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ReferenceError {
    /// The kernel half has more slots than a PGD can have.
    #[error("a kernel half of {slots} slots; at most {MAX_SLOTS} are supported")]
    TooManySlots {
        /// Slots of the table that was offered.
        slots: usize,
    },
    /// A private slot lies outside the kernel half.
    #[error("private slot {slot} is not one of the {slots} slots of the kernel half")]
    NoSuchSlot {
        /// The private slot.
        slot: usize,
        /// Slots of the kernel half.
        slots: usize,
    },
    /// A slot was declared private although the kernel already uses it.
    #[error("private slot {slot} already holds the kernel entry {entry:#x}")]
    PrivateSlotPopulated {
        /// The private slot.
        slot: usize,
        /// What the reference holds there.
        entry: u64,
    },
}

impl<W: Word> ReferencePgd<W> {
    /// Adopts the kernel half of the boot page tables. Slots that are not none count as synced: no mm exists yet.
    ///
    /// `private` lists slots that each mm keeps for itself.
    ///
    /// # Errors
    ///
    /// [`ReferenceError`], with the offending slot.
    pub fn adopt(slots: &'static [W::Atomic], private: Vec<usize>) -> Result<Self, ReferenceError> {
        if slots.len() > MAX_SLOTS {
            return Err(ReferenceError::TooManySlots { slots: slots.len() });
        }
        for &slot in &private {
            let cell =
                slots.get(slot).ok_or(ReferenceError::NoSuchSlot { slot, slots: slots.len() })?;
            let entry = W::load(cell, Ordering::Relaxed);
            if entry != W::NONE {
                return Err(ReferenceError::PrivateSlotPopulated { slot, entry: entry.to_u64() });
            }
        }
        let reference = Self {
            slots,
            private,
            populated: SlotSet::new(slots.len()),
            synced: SlotSet::new(slots.len()),
            generation: AtomicU64::new(0),
            update: Mutex::new(()),
        };
        for (slot, cell) in slots.iter().enumerate() {
            if W::load(cell, Ordering::Relaxed) != W::NONE {
                reference.populated.insert(slot);
                reference.synced.insert(slot);
            }
        }
        Ok(reference)
    }

    /// Number of slots in the kernel half.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Tells whether the kernel half has no slots at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The entry that every PGD holds, or will hold, in `slot`.
    ///
    /// # Panics
    ///
    /// When `slot` is not below [`ReferencePgd::len`].
    #[must_use]
    pub fn entry(&self, slot: usize) -> W {
        W::load(&self.slots[slot], Ordering::Acquire)
    }

    /// Tells whether each mm keeps `slot` for itself.
    #[must_use]
    pub fn is_private(&self, slot: usize) -> bool {
        self.private.contains(&slot)
    }

    /// Tells whether the reference holds an entry in `slot`. It may not be synced yet.
    #[must_use]
    pub fn is_populated(&self, slot: usize) -> bool {
        self.populated.contains(slot)
    }

    /// Number of populated slots.
    #[must_use]
    pub fn populated(&self) -> usize {
        self.populated.len()
    }

    /// Tells whether every slot of `slots` is synced.
    #[must_use]
    pub fn is_synced(&self, slots: core::ops::Range<usize>) -> bool {
        self.synced.contains_all(slots)
    }

    /// Marks `slots` synced: from here on growths hand out their addresses.
    ///
    /// # Safety
    ///
    /// The slots are populated, and a walk that began after that, behind a full barrier, has brought them
    /// to every PGD that a CPU may load.
    pub unsafe fn mark_synced(&self, slots: core::ops::Range<usize>) {
        let _writer = self.update.lock();
        for slot in slots {
            self.synced.insert(slot);
        }
    }

    /// The generation now. Sees everything that was populated before it was bumped to this value.
    #[inline]
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        Stamp(self.generation.load(Ordering::Acquire))
    }

    /// Stores new entries in the reference and removes them from `entries`.
    ///
    /// An entry whose slot another grower populated first is left in `entries`: the caller still
    /// owns the table it points to.
    ///
    /// # Panics
    ///
    /// When a slot is not below [`ReferencePgd::len`].
    ///
    /// # Safety
    ///
    /// Each entry points to an initialised table that is the kernel's for ever: every PGD will point to it.
    pub unsafe fn populate(&self, entries: &mut Vec<(usize, W)>) {
        let _writer = self.update.lock();
        let mut stored = false;
        entries.retain(|&(slot, entry)| {
            if self.populated.contains(slot) {
                return true;
            }
            // Release: who copies the entry, and the MMU behind it, finds the table it points to
            // initialised.
            W::store(&self.slots[slot], entry, Ordering::Release);
            self.populated.insert(slot);
            stored = true;
            false
        });
        if stored {
            // Plain load and store: the lock serialises writers. An atomic add would be a full
            // barrier on x86 and hide a missing barrier in the caller from every test on real CPUs.
            let generation = self.generation.load(Ordering::Relaxed);
            self.generation.store(generation + 1, Ordering::Release);
        }
    }

    /// Copies the populated slots into a table that nobody else can reach yet, and returns its stamp.
    ///
    /// # Panics
    ///
    /// When `table` is shorter than the reference.
    ///
    /// # Safety
    ///
    /// * Nobody but the caller can reach `table` before this returns.
    /// * Nothing but [`ReferencePgd::populate`] stores to the slots that this reference adopted.
    #[inline]
    pub unsafe fn copy_populated(&self, table: &[W::Atomic]) -> Stamp {
        // The stamp first: the copy then holds at least what the stamp stands for.
        let stamp = self.stamp();
        let table = &table[..self.slots.len()];
        let groups = self.slots.chunks(WORD_SLOTS).zip(table.chunks(WORD_SLOTS));
        for (mut members, (from, to)) in self.populated.words().zip(groups) {
            // Entry by entry costs little where few slots are populated, and several times a plain
            // copy where all are. Empty slots are left out of a plain copy: a grower may be storing there.
            #[cfg(not(loom))]
            if members == u64::MAX {
                // SAFETY:
                // * both are slices of as many entries, of different tables;
                // * every slot of `from` is populated, `words` has acquired that, and `populate` stores
                //   to a slot once. The MMU may set an accessed bit, and the copy may have it or not;
                // * `to` is the caller's alone, and its cells may be written through a shared reference.
                unsafe { from.as_ptr().copy_to_nonoverlapping(to.as_ptr().cast_mut(), from.len()) };
                continue;
            }
            while members != 0 {
                let slot = members.trailing_zeros() as usize;
                let entry = W::load(&from[slot], Ordering::Acquire);
                W::store(&to[slot], entry, Ordering::Relaxed);
                members &= members - 1;
            }
        }
        stamp
    }

    /// Fills every populated slot that is none in `table`, a table that other CPUs may be filling too.
    ///
    /// # Panics
    ///
    /// When `table` is shorter than the reference.
    pub fn fill_populated(&self, table: &[W::Atomic]) {
        self.populated.for_each(|slot| self.fill(table, slot));
    }

    /// Fills one slot of `table` from the reference if it is none; leaves it alone if the reference is none.
    ///
    /// A compare-exchange, never a store: another CPU may have filled the slot meanwhile, and what
    /// it put there must not be overwritten by what this CPU read earlier.
    ///
    /// # Panics
    ///
    /// When `slot` is not below [`ReferencePgd::len`], or `table` is shorter than the reference.
    #[inline]
    pub fn fill(&self, table: &[W::Atomic], slot: usize) {
        // Acquire pairs with the release store in `populate`.
        let entry = W::load(&self.slots[slot], Ordering::Acquire);
        if entry == W::NONE {
            return;
        }
        // Release: a CPU that finds the entry in this PGD finds the table behind it initialised.
        // The outcome does not matter: on failure another CPU has filled the slot.
        let _ =
            W::compare_exchange(&table[slot], W::NONE, entry, Ordering::Release, Ordering::Relaxed);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use alloc::boxed::Box;
    use alloc::vec::Vec;

    use super::*;

    fn table(entry: impl Fn(usize) -> u64) -> &'static [AtomicU64] {
        Box::leak((0..256).map(|slot| AtomicU64::new(entry(slot))).collect())
    }

    #[test]
    fn a_copy_has_the_populated_slots_and_no_others_however_dense_they_are() {
        // A whole word of the set, one that lacks a member, an empty one, a sparse one.
        let is_populated = |slot: usize| match slot {
            0..64 => true,
            64..128 => slot != 70,
            128..192 => false,
            _ => slot.is_multiple_of(9),
        };
        let reference = ReferencePgd::<u64>::adopt(table(|_| 0), Vec::new()).expect("256 slots");
        let mut entries: Vec<_> = (0..256)
            .filter(|&slot| is_populated(slot))
            .map(|slot| (slot, 1000 + slot as u64))
            .collect();
        // SAFETY: no MMU uses these tables.
        unsafe { reference.populate(&mut entries) };

        let copy = table(|_| 7);
        // SAFETY: nobody else has the table.
        let stamp = unsafe { reference.copy_populated(copy) };
        assert_eq!(stamp, reference.stamp());
        for (slot, cell) in copy.iter().enumerate() {
            let expected = if is_populated(slot) { 1000 + slot as u64 } else { 7 };
            assert_eq!(cell.load(Ordering::Relaxed), expected, "slot {slot}");
        }
    }
}
