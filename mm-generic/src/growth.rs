//! Growth of the kernel half: a kernel address exists only as the result of a finished sync.
//!
//! In Linux a CPU could find the reference entry present while the CPU that had put it there was
//! still walking, and use the address too early (4819e15f740e, 2020); and code could use a new vmemmap
//! before anybody had synced it at all (7cc183f2e67d, 2025). Here [`InitMm::grow`] is the only source of a
//! [`SyncedRange`], and only a `SyncedRange` can be mapped into.

use kernel_sync::Rcu;
use thiserror::Error;

use crate::arch::{ArchPgd, PopulateError};
use crate::frames::{Frame, PAGE_SIZE};
use crate::init_mm::InitMm;
use crate::kernel::{Kernel, RcuGuard};
use crate::kernel_range::{KernelRange, RangeError};
use crate::page_tables::{MapError, PageTables};
use crate::prot::Prot;
use crate::walk::Walk;

/// A growth that failed. Nothing was handed out, and no PGD holds what the reference does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum GrowError {
    /// What was asked for is no range of the kernel half.
    #[error(transparent)]
    Range(#[from] RangeError),
    /// The reference PGD could not be extended.
    #[error(transparent)]
    Populate(#[from] PopulateError),
}

/// Kernel addresses whose top-level entries every PGD of the kernel holds.
///
/// The evidence that a walk over all mms has ended. It cannot be made in any other way than by
/// [`InitMm::grow`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "the addresses can only be used through the range"]
pub struct SyncedRange(pub(crate) KernelRange);

impl SyncedRange {
    /// First address.
    #[must_use]
    pub const fn start(&self) -> u64 {
        self.0.start()
    }

    /// Length in bytes; never zero.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a kernel range is never empty")]
    pub const fn len(&self) -> u64 {
        self.0.len()
    }

    /// Tells whether `addr` is an address of this range.
    #[must_use]
    pub const fn contains(&self, addr: u64) -> bool {
        addr >= self.0.start() && addr <= self.0.last()
    }

    /// Tells whether `addr` is the first byte of a page of this range.
    #[must_use]
    pub const fn has_page(&self, addr: u64) -> bool {
        addr.is_multiple_of(PAGE_SIZE) && self.contains(addr)
    }
}

impl<K: Kernel> InitMm<K> {
    /// Makes `len` bytes of kernel addresses from `start` usable in every address space.
    ///
    /// Stores the missing top-level entries in the reference PGD, then visits every mm once for
    /// the whole range, then returns. Fork, exec and exit go on meanwhile; they wait for nothing
    /// and are missed by nothing. Where another CPU is growing, replacing or reclaiming the same slot this one helps: it
    /// walks too, and does not rely on a walk that has not ended.
    ///
    /// The range keeps its top-level slots until it is given to [`InitMm::reclaim`]. Dropped, it keeps them for ever.
    ///
    /// # Errors
    ///
    /// [`GrowError::Range`] for a range that is empty, unaligned or not in the kernel half;
    /// [`GrowError::Populate`] when tables cannot be had or a private slot is touched. The
    /// reference PGD is then as it was.
    pub fn grow(&self, start: u64, len: u64) -> Result<SyncedRange, GrowError> {
        let arch = self.arch();
        let range = arch.kernel_half().range(start, len)?;
        // The guard comes before the reference store. Entering an epoch-based section is a
        // full barrier; placed between the store and the walk it would stand in for the
        // barrier of `sync_global_pgds` and hide from every test that it is missing.
        let rcu = K::Rcu::read_lock();
        arch.populate_kernel(range)?;
        if !arch.is_synced(range) {
            self.sync(range, &rcu);
        }
        Ok(SyncedRange(range))
    }

    /// Brings the entries of `range` to every PGD, and makes every CPU forget former ones where some may be cached. Tells whether it
    /// has flushed.
    pub(crate) fn sync(&self, range: KernelRange, rcu: &RcuGuard<K>) -> bool {
        let arch = self.arch();
        let mut flushed = false;
        arch.sync_global_pgds(range, &Walk::new(self, rcu), &mut || {
            // A flush is due where a reclaim or a replacement is under way that has not come to its own yet. All of the slots: that
            // one's addresses need not be this one's, and nobody flushes for them again once the slots are marked synced.
            K::flush_kernel_tlb(arch.kernel_slots().map_or(range, |slots| slots.whole(range)));
            flushed = true;
        });
        flushed
    }

    /// Maps `frame` at `addr`, a page of `range`, for the kernel in every address space.
    ///
    /// # Errors
    ///
    /// [`MapError::BadAddress`] when `addr` is no page of `range`, else as [`PageTables::map_kernel`].
    pub fn map_kernel(
        &self,
        range: &SyncedRange,
        addr: u64,
        frame: Frame,
        prot: Prot,
    ) -> Result<(), MapError> {
        if !range.has_page(addr) {
            return Err(MapError::BadAddress { addr });
        }
        let root = self.arch().reference_root();
        // SAFETY: `root` is the reference PGD; a synced range is populated.
        unsafe { self.tables().map_kernel(root, addr, frame, prot) }
    }

    /// Takes the page at `addr` of `range` out of the kernel half and returns the frame it showed.
    ///
    /// `None` when nothing was mapped there or `addr` is no page of `range`.
    ///
    /// # Safety
    ///
    /// The caller flushes the TLBs of all CPUs ([`Kernel::flush_kernel_tlb`]) before it reuses the address or frees the frame.
    pub unsafe fn unmap_kernel(&self, range: &SyncedRange, addr: u64) -> Option<Frame> {
        if !range.has_page(addr) {
            return None;
        }
        let root = self.arch().reference_root();
        let rcu = K::Rcu::read_lock();
        // SAFETY: `root` is the reference PGD; a synced range is populated; the caller flushes.
        let frame = unsafe { self.tables().unmap_kernel(root, addr) }?;
        self.sync_unmapped(range.0, &rcu);
        Some(frame)
    }

    /// Makes a flush enough for what was unmapped in `range`: brings the table that it was unmapped in to every PGD.
    ///
    /// The table may be one that a large page was split into this moment, for another range in the same slot. PGDs that its walk has
    /// not come to show the large page, and CPUs would load it again after the flush.
    pub(crate) fn sync_unmapped(&self, range: KernelRange, rcu: &RcuGuard<K>) {
        // After the unmapping: who finds the new table finds the slot not synced.
        if !self.arch().is_synced(range) {
            self.sync(range, rcu);
        }
    }
}
