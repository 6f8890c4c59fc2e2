//! The updaters' half of the reference PGD: what growth, replace and reclaim store there, one at a time.
//!
//! Fork, exec and exit never come here. The states and transitions are told in the parent module.

use alloc::vec::Vec;
use core::ops::Range;

use kernel_sync::atomic::Ordering;

use super::refusal::Refusal;
use super::slot_state::SlotState;
use super::{ReferencePgd, Stamp};
use crate::word::Word;

impl<W: Word> ReferencePgd<W> {
    /// Takes over what the boot tables hold.
    pub(super) fn adopt_populated(&self) {
        let mut states = self.update.lock();
        for (slot, cell) in self.slots.iter().enumerate() {
            if W::load(cell, Ordering::Relaxed) != W::NONE {
                states[slot].permanent = true;
                // MUTATION(before the statement above): nobody else has the reference yet.
                // MUTATION(after the next statement): nobody else has the reference yet.
                self.populated.insert(slot);
                // MUTATION(after the next statement): nobody else has the reference yet.
                self.used.insert(slot);
                self.synced.insert(slot);
            }
        }
    }

    /// Takes a share in each of `slots`, and stores entries where the reference has none; they are removed from `entries`.
    ///
    /// Returns `false`, and has done nothing, when a slot is neither populated nor among `entries`: it was
    /// reclaimed after the caller looked.
    /// An entry whose slot another grower populated first is left in `entries`: the caller still
    /// owns the table it points to.
    ///
    /// # Panics
    ///
    /// When a slot is not below [`ReferencePgd::len`].
    ///
    /// # Safety
    ///
    /// Each entry is live and points to an initialised table that is the kernel's until [`ReferencePgd::retire`] or
    /// [`ReferencePgd::replace`] gives it back: every PGD will point to it. `entries` ascends.
    #[must_use]
    pub unsafe fn populate(&self, slots: Range<usize>, entries: &mut Vec<(usize, W)>) -> bool {
        let mut states = self.update.lock();
        let has_entry = |slot| entries.binary_search_by_key(&slot, |&(slot, _)| slot).is_ok();
        if slots.clone().any(|slot| !self.populated.contains(slot) && !has_entry(slot)) {
            return false;
        }
        let next = self.next_generation();
        let mut stored = false;
        entries.retain(|&(slot, entry)| {
            if self.populated.contains(slot) {
                return true;
            }
            self.store(&mut states[slot], slot, entry, next);
            // MUTATION(before the statement above): a copy that finds the slot and no entry yet has an old stamp, and is completed.
            // MUTATION(after the next statement): all three come before the bump, which releases them.
            self.populated.insert(slot);
            // MUTATION(after the next statement): a flag of this function's own.
            self.used.insert(slot);
            stored = true;
            false
        });
        for slot in slots {
            states[slot].shares += 1;
        }
        if stored {
            self.bump(next);
        }
        true
    }

    /// Replaces the live entry of `slot` by what `change` makes of it, and returns it.
    ///
    /// `change` runs under the updaters' lock: nobody takes a share in the slot, and so nobody begins to map below it, until the new
    /// entry is in place. Where `sole`, nobody else may have a share now, and the entry may not be the boot's.
    ///
    /// # Errors
    ///
    /// [`Refusal`], and what `change` returns. The slot then holds what it held.
    ///
    /// # Panics
    ///
    /// When `slot` is not below [`ReferencePgd::len`].
    ///
    /// # Safety
    ///
    /// * The new entry is live and maps what the old one maps.
    /// * The table behind the old one is kept until a walk has ended that began after this, every TLB has been flushed after
    ///   that, and a grace period has passed after that.
    /// * The caller has one of the shares, and unless `sole`, nobody maps or unmaps anything below the old entry.
    pub unsafe fn replace<E: From<Refusal>>(
        &self,
        slot: usize,
        sole: bool,
        change: impl FnOnce(W) -> Result<W, E>,
    ) -> Result<W, E> {
        let mut states = self.update.lock();
        let state = &mut states[slot];
        if sole && state.permanent {
            return Err(Refusal::OfTheBoot { slot }.into());
        }
        if sole && state.shares != 1 {
            return Err(Refusal::NotSoleOwner { slot, shares: state.shares }.into());
        }
        // Relaxed: the lock orders writers.
        let old = W::load(&self.slots[slot], Ordering::Relaxed);
        let new = change(old)?;
        let next = self.next_generation();
        self.synced.remove(slot);
        state.flush_due = true;
        self.store(state, slot, new, next);
        self.bump(next);
        Ok(old)
    }

    /// Gives back a share in each of `slots`. Where none is left, clears the slot, and hands the former entry to `retired`.
    ///
    /// # Panics
    ///
    /// When a slot is not below [`ReferencePgd::len`], or nobody has a share in it.
    ///
    /// # Safety
    ///
    /// * The caller has the shares, and nothing uses addresses that it had them for.
    /// * What is behind a retired entry is kept as [`ReferencePgd::replace`] demands.
    pub unsafe fn retire(&self, slots: Range<usize>, mut retired: impl FnMut(usize, W)) {
        let mut states = self.update.lock();
        let next = self.next_generation();
        for slot in slots {
            let state = &mut states[slot];
            state.shares = state.shares.checked_sub(1).expect("the caller has a share");
            // Before the store: who finds the slot synced relies on every PGD having the entry, and on TLBs having nothing that was
            // unmapped. So a slot that keeps its entry is not synced either, until the caller or who helps him has flushed.
            self.synced.remove(slot);
            state.flush_due = true;
            state.changed_at = next;
            if state.shares > 0 || state.permanent {
                continue;
            }
            // Relaxed: the lock orders writers.
            let old = W::load(&self.slots[slot], Ordering::Relaxed);
            self.store(state, slot, W::NONE, next);
            self.populated.remove(slot);
            retired(slot, old);
        }
        self.bump(next);
    }

    /// Tells whether a CPU may still translate through a former entry of one of `slots`.
    #[must_use]
    pub fn is_flush_due(&self, mut slots: Range<usize>) -> bool {
        let states = self.update.lock();
        slots.any(|slot| states[slot].flush_due)
    }

    /// Marks those of `slots` synced that hold an entry and have not changed since `walked_from`, the stamp at the
    /// beginning of a walk: from here on growths hand out their addresses.
    ///
    /// # Safety
    ///
    /// * A walk that began after `walked_from` was taken, behind a full barrier, has brought the slots to every PGD that a CPU may load.
    /// * If [`ReferencePgd::is_flush_due`] said so after that, every CPU has flushed the slots since.
    pub unsafe fn mark_synced(&self, slots: Range<usize>, walked_from: Stamp) {
        let mut states = self.update.lock();
        for slot in slots {
            let state = &mut states[slot];
            if state.changed_at > walked_from.to_u64() {
                continue;
            }
            state.flush_due = false;
            if self.populated.contains(slot) {
                self.synced.insert(slot);
            }
        }
    }

    /// Stores an entry or none.
    fn store(&self, state: &mut SlotState, slot: usize, entry: W, generation: u64) {
        state.changed_at = generation;
        // Release: who copies the entry, and the MMU behind it, finds the table it points to
        // initialised.
        W::store(&self.slots[slot], entry, Ordering::Release);
    }

    fn next_generation(&self) -> u64 {
        self.generation.0.load(Ordering::Relaxed) + 1
    }

    /// Publishes the stores of this update. The lock serialises callers.
    fn bump(&self, generation: u64) {
        // A plain store: an atomic add would be a full barrier on x86 and hide a missing barrier in the caller from
        // every test on real CPUs.
        self.generation.0.store(generation, Ordering::Release);
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
