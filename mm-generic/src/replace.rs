//! Entries that change: another top-level entry for the same addresses, in every PGD.
//!
//! 32-bit kernels split a large page of their direct map when one page of it needs other rights, and the large page
//! *is* a top-level entry there: it changes in every PGD, while forks copy it. That is what `pgd_list` was made for in
//! 2003, and what a late init by plain copy would undo with an old value. Here the entry changes in the reference,
//! then in every PGD by a walk, then every TLB is flushed; what the old entry led to is freed after a grace period.
//! See [`mod@crate::reference`] for why no PGD goes back to the old one.
//!
//! The addresses may be used meanwhile: they show the same frames through the old entry and the new one.

use kernel_sync::{CallbackRoom, Rcu};

use crate::arch::ArchPgd;
use crate::growth::SyncedRange;
use crate::init_mm::InitMm;
use crate::kernel::{Kernel, RcuGuard};
use crate::kernel_range::KernelRange;
use crate::kernel_slots::KernelSlots;
use crate::replacement::{ReplaceError, Replacement};
use crate::retired::Retired;

impl<K: Kernel> InitMm<K> {
    /// Replaces the top-level entry of the slot at `addr`, an address of `range`, in every PGD, and returns when no CPU translates
    /// through the old one.
    ///
    /// `range` is borrowed exclusively, so that its owner maps nothing in the slot meanwhile, and unless a large page is split,
    /// below which nobody maps, it must be the only one in the slot. Fork, exec and exit go on; a growth into the slot that
    /// begins now maps into the new table.
    ///
    /// # Errors
    ///
    /// See [`ReplaceError`].
    pub fn replace(
        &'static self,
        range: &mut SyncedRange,
        addr: u64,
        how: Replacement,
    ) -> Result<(), ReplaceError> {
        if !range.contains(addr) {
            return Err(ReplaceError::BadAddress { addr });
        }
        let room = CallbackRoom::try_new()?;
        // Before the reference store, as in `grow`.
        let rcu = K::Rcu::read_lock();
        let slots = self.arch().kernel_slots().ok_or(ReplaceError::NoSlots { addr })?;
        // SAFETY: the range has a share in each of its slots, and is borrowed exclusively; freed below.
        let retired = unsafe { slots.replace(addr, how)? };
        self.sync_retired(range.0, Some(Doomed { slots, retired, room }), &rcu);
        Ok(())
    }

    /// Brings changed slots of `range` to every PGD, flushes every CPU, and frees what the former entries led to a grace period later.
    pub(crate) fn sync_retired(
        &'static self,
        range: KernelRange,
        doomed: Option<Doomed>,
        rcu: &RcuGuard<K>,
    ) {
        // Another updater's walk and flush may have done for the slots; what was unmapped below them is this one's own.
        if !self.sync(range, rcu) {
            // MUTATION(removed): where PGDs have slots, who has flushed for them since has flushed what was unmapped before; where they
            // have none, this is the flush, and no test has such an architecture with a TLB.
            K::flush_kernel_tlb(range);
        }
        if let Some(Doomed { slots, retired, room }) = doomed
            && !retired.is_empty()
        {
            K::Rcu::call_rcu(room.fill((slots, retired), |(slots, retired)| {
                // SAFETY: walked and flushed above; a callback runs after a grace period.
                unsafe { slots.free_retired(retired) };
            }));
        }
    }
}

/// Entries on their way out, who frees what they lead to, and room to wait for it in. All had before anything changes: it could
/// not be refused afterwards.
pub(crate) struct Doomed {
    pub(crate) slots: &'static dyn KernelSlots,
    pub(crate) retired: Retired,
    pub(crate) room: CallbackRoom<(&'static dyn KernelSlots, Retired)>,
}
