//! The reference PGD's kernel half (`swapper_pg_dir`, `init_mm.pgd`) and how other PGDs are completed from it.
//!
//! # States of a slot
//!
//! A slot of the kernel half is *empty*, *populated* (the reference holds an entry; some PGDs may hold none, or an older
//! one), *synced* (a walk that began after its last change has ended, and where an older entry was live, TLBs have been
//! flushed since: no CPU translates through anything but the reference's entry), or *reclaimed* (the reference holds a
//! tombstone; some PGDs may hold an older entry). A *private* slot belongs to each mm (x86's LDT remap); it stays empty
//! here for ever and nothing below touches it.
//!
//! # Transitions
//!
//! Each is a store to the reference by one updater at a time, under a spin lock that fork, exec and exit never
//! take and that is not held over a walk. The store is followed by a bump of the generation; both are release
//! stores, so who sees the generation sees the entry.
//!
//! * empty or reclaimed -> populated: [`ReferencePgd::populate`]. Each growth also takes a *share* in every slot of its
//!   range, new or not.
//! * populated -> populated: [`ReferencePgd::replace`] stores another entry, for the only owner of a share.
//! * populated -> reclaimed: [`ReferencePgd::retire`] gives shares back, and stores a tombstone where none is left.
//! * populated -> synced: [`ReferencePgd::mark_synced`], after a full barrier, a complete walk, and a flush where one is
//!   due. Several updaters may walk for one slot at once; whoever finds a slot not synced helps by walking (and
//!   flushing) himself, and waits for nobody. Who marks says which generation his walk began with, and a slot that has
//!   changed since is left to whoever changed it.
//!
//! # One step for all: settle
//!
//! Late init, attach and walks bring one slot of one PGD up to the reference in the same way:
//!
//! ```text
//! settle(dst, ref):  cur = dst                     the PGD first
//!                    loop: v = ref                 the reference second
//!                          v == none or v == cur: done
//!                          compare-exchange dst: cur -> v    done, or cur = what was found
//! ```
//!
//! The exchange succeeds only if `dst` still holds `cur`, and the reference was read after `cur`. So a slot of a PGD follows the
//! reference's history and never goes back, *as long as no value comes back within one settle*:
//!
//! * Tables are freed, and their frames can be entries again, only a grace period after their entry was
//!   replaced or retired; a settle whose values were read of the reference is a read-side section.
//! * A tombstone is another value in every generation. A plain zero would be none again, and a late init that has read the old
//!   entry before it was cleared, and none of its own slot, would bring it back after the walk. For the same reason a
//!   walk stores tombstones over none, too.
//! * A large page's entry does come back (split, collapse). [`ReferencePgd::replace`] refuses a value that may, while a value
//!   of that slot is within its grace period.
//!
//! # The race
//!
//! CPU A forks, CPU B changes slot `s` of the kernel half from `v1` (or none) to `v2`:
//!
//! ```text
//! CPU A                                       CPU B
//! a1 stamp := generation                      b1 reference[s] := v2; generation += 1
//! a2 copy populated slots into the new PGD    b2 full barrier (B)
//! a3 publish the mm                           b3 walk all mms: settle s in each
//! a4 full barrier (A)                         b4 flush, if v1 was live; s is synced
//! a5 generation == stamp? done.
//!    otherwise settle all slots
//! a6 load into CR3
//! ```
//!
//! If B's walk misses the mm (b3 before a3), then a4 is ordered after b2, because otherwise b3 would
//! see a3. So a5 sees b1: the generation differs from the stamp unless a1 already saw the bump, in
//! which case a2 copied `v2`. Otherwise a5 settles `s`: the PGD holds `v1` or none, and the reference `v2`. Either way the PGD has
//! `v2` before any CPU loads it. If the walk does not miss the mm, it settles `s` itself, and a late init that read `v1`
//! earlier fails in its compare-exchange.
//!
//! With either barrier weakened to acquire and release, a5 may miss b1 while b3 misses a3, and the
//! update is lost. `tests-host` explores both, and both weakened forms, with loom.

mod update;

use alloc::vec::Vec;

use kernel_sync::atomic::{AtomicU64, Ordering};
use kernel_sync::{Mutex, OutOfHeap};
use thiserror::Error;

pub use self::update::Refusal;
use self::update::SlotState;
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
    /// Bits of a live entry that MMUs set on their own.
    set_by_mmu: u64,
    /// Slots with a live entry: what `pgd_alloc` copies.
    populated: SlotSet,
    /// Slots that have ever held an entry: what late init settles. Nothing leaves it, for a PGD may hold an
    /// entry that the reference has lost.
    used: SlotSet,
    synced: SlotSet,
    generation: AtomicU64,
    /// Serialises writers of the fields above, and holds what only they need. Readers never take it.
    update: Mutex<Vec<SlotState>>,
}

/// The generation of the reference PGD that a table was copied from.
///
/// A table whose stamp equals the current generation holds what the reference holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
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
    /// No heap for what updaters know of each slot.
    #[error("reference PGD: {0}")]
    OutOfHeap(#[from] OutOfHeap),
}

impl<W: Word> ReferencePgd<W> {
    /// Adopts the kernel half of the boot page tables. Slots that are not none count as synced, for no mm exists
    /// yet, and are never reclaimed: the kernel has uses of them that nobody counts.
    ///
    /// `private` lists slots that each mm keeps for itself. `set_by_mmu` has the bits of a live entry that MMUs set on their own
    /// (accessed, dirty): entries that differ in nothing else are the same.
    ///
    /// # Errors
    ///
    /// [`ReferenceError`], with the offending slot.
    pub fn adopt(
        slots: &'static [W::Atomic],
        private: Vec<usize>,
        set_by_mmu: u64,
    ) -> Result<Self, ReferenceError> {
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
            set_by_mmu,
            populated: SlotSet::new(slots.len()),
            used: SlotSet::new(slots.len()),
            synced: SlotSet::new(slots.len()),
            generation: AtomicU64::new(0),
            update: Mutex::new(update::states(slots.len())?),
        };
        reference.adopt_populated();
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

    /// The generation now. Sees everything that was populated before it was bumped to this value.
    #[inline]
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        Stamp(self.generation.load(Ordering::Acquire))
    }

    /// Copies the populated slots into a table that nobody else can reach yet, and returns its stamp.
    ///
    /// # Panics
    ///
    /// When `table` is shorter than the reference.
    ///
    /// # Safety
    ///
    /// Nobody but the caller can reach `table` before this returns, and no CPU has it loaded.
    #[inline]
    pub unsafe fn copy_populated(&self, table: &[W::Atomic]) -> Stamp {
        // The stamp first: the copy then holds at least what the stamp stands for.
        let stamp = self.stamp();
        let table = &table[..self.slots.len()];
        let groups = self.slots.chunks(WORD_SLOTS).zip(table.chunks(WORD_SLOTS));
        for (members, (from, to)) in self.populated.words().zip(groups) {
            if members == u64::MAX {
                // No look at each bit. An updater may be storing to a slot at this moment, so this is no `memcpy`: each entry is
                // copied in one piece.
                for (from, to) in from.iter().zip(to) {
                    W::store(to, W::load(from, Ordering::Acquire), Ordering::Relaxed);
                }
                continue;
            }
            let mut members = members;
            while members != 0 {
                let slot = members.trailing_zeros() as usize;
                // An old entry, the new one or a tombstone: whichever it is, the stamp tells late init whether that is enough.
                let entry = W::load(&from[slot], Ordering::Acquire);
                W::store(&to[slot], entry, Ordering::Relaxed);
                members &= members - 1;
            }
        }
        stamp
    }

    /// Tells whether nothing but what an MMU has set makes two entries differ.
    #[inline]
    fn is_same(&self, one: W, other: W) -> bool {
        let differing = one.to_u64() ^ other.to_u64();
        // Tombstones count in those bits.
        differing == 0 || (differing & !self.set_by_mmu == 0 && one.is_live() && other.is_live())
    }

    /// Settles every slot that the reference has ever used, in a table that other CPUs may be settling too.
    ///
    /// # Panics
    ///
    /// When `table` is shorter than the reference.
    ///
    /// # Safety
    ///
    /// As for [`ReferencePgd::settle`].
    pub unsafe fn settle_used(&self, table: &[W::Atomic]) {
        // SAFETY: the caller's promise is the same.
        self.used.for_each(|slot| unsafe { self.settle(table, slot) });
    }

    /// Brings one slot of `table` up to what the reference holds; leaves it alone if the reference has never used it.
    ///
    /// Never a plain store: another CPU may have brought a newer value meanwhile, and what
    /// it put there must not be overwritten by what this CPU read earlier.
    ///
    /// # Panics
    ///
    /// When `slot` is not below [`ReferencePgd::len`], or `table` is shorter than the reference.
    ///
    /// # Safety
    ///
    /// The caller is in a read-side section of the RCU that frees the tables behind retired entries.
    #[inline]
    pub unsafe fn settle(&self, table: &[W::Atomic], slot: usize) {
        // The PGD first, the reference second: the exchange below succeeds only where the PGD still holds what it held
        // before the reference was read. Acquire keeps the two in order.
        let mut current = W::load(&table[slot], Ordering::Acquire);
        loop {
            // Acquire pairs with the release store of the updater: the table behind the entry is initialised.
            let entry = W::load(&self.slots[slot], Ordering::Acquire);
            if entry == W::NONE || self.is_same(entry, current) {
                return;
            }
            // Release: a CPU that finds the entry in this PGD finds the table behind it initialised.
            // Acquire: on failure the reference is read again, and not earlier than what was found here.
            match W::compare_exchange(
                &table[slot],
                current,
                entry,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return,
                Err(found) => current = found,
            }
        }
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
        let reference = ReferencePgd::<u64>::adopt(table(|_| 0), Vec::new(), 0).expect("256 slots");
        let mut entries: Vec<_> = (0..256)
            .filter(|&slot| is_populated(slot))
            .map(|slot| (slot, 1001 + 2 * slot as u64))
            .collect();
        for entry in &mut entries {
            // SAFETY: no MMU uses these tables.
            assert!(unsafe { reference.populate(entry.0..entry.0 + 1, &mut alloc::vec![*entry]) });
        }

        let copy = table(|_| 7);
        // SAFETY: nobody else has the table.
        let stamp = unsafe { reference.copy_populated(copy) };
        assert_eq!(stamp, reference.stamp());
        for (slot, cell) in copy.iter().enumerate() {
            let expected = if is_populated(slot) { 1001 + 2 * slot as u64 } else { 7 };
            assert_eq!(cell.load(Ordering::Relaxed), expected, "slot {slot}");
        }
    }
}
