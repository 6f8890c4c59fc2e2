//! The reference PGD's kernel half (`swapper_pg_dir`, `init_mm.pgd`) and how other PGDs are completed from it.
//!
//! # States of a slot
//!
//! A slot of the kernel half is *empty*, *populated* (the reference holds an entry; some PGDs may hold none, or an older
//! one), or *synced* (a walk that began after its last change has ended, and where an older entry was live, TLBs have been
//! flushed since: no CPU translates through anything but the reference's entry). An empty slot is none, whether it was never used or
//! has been reclaimed; some PGDs may still hold an older entry then. A *private* slot belongs to each mm (x86's LDT remap); it
//! stays empty here for ever and nothing below touches it.
//!
//! # Transitions
//!
//! Each is a store to the reference by one updater at a time, under a spin lock that fork, exec and exit never
//! take and that is not held over a walk. The store is followed by a bump of the generation; both are release
//! stores, so who sees the generation sees the entry.
//!
//! * empty -> populated: [`ReferencePgd::populate`]. Each growth also takes a *share* in every slot of its range, new or not.
//! * populated -> populated: [`ReferencePgd::replace`] stores another entry.
//! * populated -> empty: [`ReferencePgd::retire`] gives shares back, and clears the slots where none is left.
//! * populated -> synced: [`ReferencePgd::mark_synced`], after a full barrier, a complete walk, and a flush where one is
//!   due. Several updaters may walk for one slot at once; whoever finds a slot not synced helps by walking (and
//!   flushing) himself, and waits for nobody. Who marks says which generation his walk began with, and a slot that has
//!   changed since is left to whoever changed it.
//!
//! # Two ways to bring a PGD up to the reference
//!
//! **A PGD that no CPU has ever loaded** is completed by the one late init of its mm, without a lock, while walkers may be at it:
//! [`ReferencePgd::complete`]. What the slot holds was copied long ago; its table may have been freed since, and the
//! frame may be a table again, even the reference's for this very slot. So nothing is compared with it. Late init throws it out and then
//! exchanges only against what it has put there itself:
//!
//! ```text
//! complete(dst, ref):  swap dst: UNSETTLED         the PGD first
//!                      full barrier
//!                      v = ref                     the reference second
//!                      compare-exchange dst: UNSETTLED -> v
//! ```
//!
//! If the exchange fails, a walker has been there since the swap, and has read the reference after it saw UNSETTLED.
//!
//! **A PGD that a CPU may have loaded** is brought up by walkers and by attach, one at a time, under a lock of that PGD's own that fork,
//! exec and exit never take: [`ReferencePgd::settle`]. It exchanges what it found for what the reference holds, because late init,
//! which takes no lock, may come in between.
//!
//! The lock orders those who bring entries to one PGD: an updater does not return while another walker is inside that PGD with
//! something older. Without it, a walker that is held up between its two reads and its exchange could undo a later change, for frames
//! come back: what a PGD holds and what the reference holds may be equal, and mean two lives of one frame.
//!
//! # The race
//!
//! CPU A forks, CPU B changes slot `s` of the kernel half from `v1` (or none) to `v2` (or none):
//!
//! ```text
//! CPU A                                       CPU B
//! a1 stamp := generation                      b1 reference[s] := v2; generation += 1
//! a2 copy populated slots into the new PGD    b2 full barrier (B)
//! a3 publish the mm                           b3 walk all mms: settle s in each
//! a4 full barrier (A)                         b4 flush, if v1 was live; s is synced
//! a5 generation == stamp? done.
//!    otherwise complete all slots
//! a6 load into CR3
//! ```
//!
//! If B's walk misses the mm (b3 before a3), then a4 is ordered after b2, because otherwise b3 would
//! see a3. So a5 sees b1: the generation differs from the stamp unless a1 already saw the bump, in
//! which case a2 copied `v2`. Otherwise a5 completes `s` from the reference, which holds `v2`. Either way the PGD has
//! `v2` before any CPU loads it. If the walk does not miss the mm, it settles `s` itself, and a late init that has read `v1`
//! fails in its exchange, or is undone by the walk, which comes behind.
//!
//! With either barrier weakened to acquire and release, a5 may miss b1 while b3 misses a3, and the
//! update is lost. `tests-host` explores both, and both weakened forms, with loom.
//!
//! A walker may be held up inside the PGD since before the late init, and its exchange may succeed behind it, where late init has left the slot as
//! the walker had found it: it then brings what the reference held. The updater that has changed `s` since comes behind that
//! walker, waits for its turn, and puts it right, before it returns. But it must find the mm. An mm that goes from one
//! task to another behind the updater's walk is missed, so an attach settles every slot, in its turn, and trusts no stamp. And an mm may end
//! behind the walk: a PGD that is kept for another mm has no stamp any more if a walker has stored to it.
//!
//! A third CPU W may be walking for an earlier change of `s`, and find the mm that B missed. It must not bring `v1`: a full barrier
//! stands between a walker's finding an mm and its reading the reference ([`crate::arch::PgdWalk`]'s users say where). On x86 the
//! PGD's lock is one.

mod refusal;
mod slot_state;
mod update;

use alloc::vec::Vec;

use kernel_sync::atomic::{AtomicU64, Ordering};
use kernel_sync::{Mutex, OutOfHeap, smp_mb};
use thiserror::Error;

pub use self::refusal::Refusal;
use self::slot_state::SlotState;
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
    /// Slots that have ever held an entry: what late init completes. Nothing leaves it, for a PGD may hold an
    /// entry that the reference has lost.
    used: SlotSet,
    synced: SlotSet,
    generation: OwnLine,
    /// Serialises writers of the fields above, and holds what only they need. Readers never take it.
    update: Mutex<Vec<SlotState>>,
}

/// A word on cache lines of its own: every fork reads the generation, and an updater's lock beside it would take the line away. It would
/// also hide a missing barrier from every test on real cores, for a store to a line that the lock has just brought waits for nothing.
#[repr(align(128))]
struct OwnLine(AtomicU64);

/// The generation of the reference PGD that a table was copied from.
///
/// A table whose stamp equals the current generation holds what the reference holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp(u64);

impl Stamp {
    /// The stamp of a table that holds no reference's state: equal to no generation.
    pub const NEVER: Self = Self(u64::MAX);

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
            generation: OwnLine(AtomicU64::new(0)),
            update: Mutex::new(slot_state::states(slots.len())?),
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

    /// The entry that every PGD holds, or will hold, in `slot`. Acquires nothing: an MMU that follows it has loads that depend on each other.
    ///
    /// # Panics
    ///
    /// When `slot` is not below [`ReferencePgd::len`].
    #[must_use]
    pub fn entry(&self, slot: usize) -> W {
        W::load(&self.slots[slot], Ordering::Relaxed)
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
        Stamp(self.generation.0.load(Ordering::Acquire))
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
        // Acquire pairs with the release store of the updater: the table behind the entry is initialised. An older entry, the newest, or none:
        // whichever it is, the stamp tells late init whether that is enough.
        let copy = |from, to| W::store(to, W::load(from, Ordering::Acquire), Ordering::Relaxed);
        for (members, (from, to)) in self.populated.words().zip(groups) {
            if members == u64::MAX {
                // No look at each bit. An updater may be storing to a slot at this moment, so this is no `memcpy`: each entry is
                // copied in one piece.
                from.iter().zip(to).for_each(|(from, to)| copy(from, to));
                continue;
            }
            let mut members = members;
            while members != 0 {
                let slot = members.trailing_zeros() as usize;
                copy(&from[slot], &to[slot]);
                members &= members - 1;
            }
        }
        stamp
    }

    /// Tells whether nothing but what an MMU has set makes two entries differ.
    #[inline]
    fn is_same(&self, one: W, other: W) -> bool {
        let differing = one.to_u64() ^ other.to_u64();
        differing == 0 || (differing & !self.set_by_mmu == 0 && one.is_live() && other.is_live())
    }

    /// Completes every slot that the reference has ever used, in a table that no CPU has loaded. Walkers may settle it meanwhile.
    ///
    /// # Panics
    ///
    /// When `table` is shorter than the reference.
    ///
    /// # Safety
    ///
    /// No CPU has `table` loaded before this returns, and nobody else completes it.
    pub unsafe fn complete(&self, table: &[W::Atomic]) {
        // Relaxed: the barrier keeps what is read of the reference behind the marks. A walker that finds one reads the reference behind a
        // full barrier of its own, after it found the mm, and so sees each change whose walk has missed the mm; what walks brought that have
        // not missed it, it sees by the PGD's lock.
        self.used.for_each(|slot| {
            W::swap(&table[slot], W::UNSETTLED, Ordering::Relaxed);
        });
        unsettled_before_reference_read();
        self.used.for_each(|slot| {
            // Acquire pairs with the release store of the updater: the table behind the entry is initialised.
            let entry = W::load(&self.slots[slot], Ordering::Acquire);
            // Relaxed: who loads the PGD has seen by a release that it is ready. The outcome does not
            // matter: on failure a walker has brought the reference's entry, or the slot was first used since.
            let _ = W::compare_exchange(
                &table[slot],
                W::UNSETTLED,
                entry,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
        });
    }

    /// Settles every slot that the reference has ever used.
    ///
    /// # Panics
    ///
    /// When `table` is shorter than the reference.
    ///
    /// # Safety
    ///
    /// As for [`ReferencePgd::settle`].
    pub unsafe fn settle_used(&self, table: &[W::Atomic]) {
        self.used.for_each(|slot| {
            // SAFETY: the caller's promise is the same.
            unsafe { self.settle(table, slot) };
        });
    }

    /// Brings one slot of `table`, which CPUs may have loaded, up to what the reference holds. Tells whether that took a store.
    ///
    /// # Panics
    ///
    /// When `slot` is not below [`ReferencePgd::len`], or `table` is shorter than the reference.
    ///
    /// # Safety
    ///
    /// * `slot` is no private slot: the reference holds an entry there, or has held one.
    /// * Nobody else settles `table` at the same time.
    #[inline]
    pub unsafe fn settle(&self, table: &[W::Atomic], slot: usize) -> bool {
        // The PGD first, the reference second: what late init knew when it put UNSETTLED there, the reference shows. Acquire
        // keeps the two in order.
        let mut current = W::load(&table[slot], Ordering::Acquire);
        loop {
            // Acquire pairs with the release store of the updater: the table behind the entry is initialised.
            let entry = W::load(&self.slots[slot], Ordering::Acquire);
            if self.is_same(entry, current) {
                return false;
            }
            // An exchange, never a store. Who attaches loads the PGD next, and a plain store may still be in the CPU's store buffer when
            // its MMU reads the slot, where a load of the root is no barrier (SPIN: `SETTLE_BY_STORE`, caught in `attach-twice`). And late
            // init takes no lock: what it brings meanwhile is newer, as a rule, and is left alone. Release: a CPU that finds the entry in this PGD finds the
            // table behind it initialised. Acquire: the reference is read again, and not earlier than what was found here.
            match W::compare_exchange(
                &table[slot],
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

/// Orders late init's marks before its reads of the reference.
///
/// Partner: the updater's barrier between its store to the reference and its walk. A walker that finds, before the mark, an entry of another
/// life that equals the new one leaves it alone; late init, which then throws it out, must see the new one. On x86 the exchange is
/// a barrier, and this comes on the slow path only.
#[inline(always)]
fn unsettled_before_reference_read() {
    smp_mb();
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
