//! What replace and reclaim ask of an architecture's slots: entries that change, and entries that go.

use kernel_sync::OutOfHeap;

use crate::kernel_range::KernelRange;
use crate::replacement::{ReplaceError, Replacement};
use crate::retired::Retired;

/// The slots of a reference PGD, for updaters. Nothing here reaches other PGDs:
/// [`crate::arch::ArchPgd::sync_global_pgds`] does, afterwards.
pub trait KernelSlots: Send + Sync {
    /// All addresses of the slots that `range` touches: what a changed entry makes CPUs forget.
    fn whole(&self, range: KernelRange) -> KernelRange;

    /// The first address of `range` that a large page shows which stands in a slot.
    fn first_large(&self, range: KernelRange) -> Option<u64>;

    /// Replaces the entry of the slot at `addr`, and returns what it was.
    ///
    /// # Errors
    ///
    /// See [`ReplaceError`]; the reference PGD is then unchanged.
    ///
    /// # Safety
    ///
    /// The caller has a share in the slot and maps nothing below it meanwhile; the returned entry goes to
    /// [`KernelSlots::free_retired`].
    unsafe fn replace(&self, addr: u64, how: Replacement) -> Result<Retired, ReplaceError>;

    /// Makes a list with room for what [`KernelSlots::retire`] may take out for `range`.
    ///
    /// # Errors
    ///
    /// [`OutOfHeap`] without heap for it.
    fn reserve_retired(&self, range: KernelRange) -> Result<Retired, OutOfHeap>;

    /// Gives back a share in each slot of `range`, and takes the entries of those where none is left out of the reference.
    ///
    /// # Safety
    ///
    /// The caller has the shares, nothing is mapped in `range`, and `retired`, which was reserved for it, goes to
    /// [`KernelSlots::free_retired`].
    unsafe fn retire(&self, range: KernelRange, retired: &mut Retired);

    /// Frees the tables behind entries that were replaced or retired.
    ///
    /// # Safety
    ///
    /// Since the entries were taken out of the reference, a [`crate::arch::ArchPgd::sync_global_pgds`] has returned, then every
    /// CPU has flushed, and then a grace period has passed.
    unsafe fn free_retired(&self, retired: Retired);
}
