//! A kernel range given back: its pages unmapped, and its top-level entries gone from every PGD.
//!
//! Linux never clears a kernel top-level entry, and leaks the tables at memory hot-remove: a fork that has read the entry
//! could store it after the walk that cleared it. Here it cannot; see [`mod@crate::reference`].
//!
//! A top-level slot is large, and several ranges may lie in one. Each growth has a share in the slots of its range, and the entry
//! goes with the last share. The order is
//!
//! ```text
//! unmap the pages              the reference's tables are everybody's
//! clear it in the reference    generation += 1
//! FULL BARRIER (B)
//! walk all mms: tasks, CPUs    settle the slots
//! flush every CPU              pages, paging-structure caches
//! hand the pages' frames to the caller
//! a grace period later: free the tables
//! ```
//!
//! The slot may be grown into again as soon as it is clear, by any CPU: the growth then walks and flushes itself before it hands the
//! address out.

use core::ops::ControlFlow;

use kernel_sync::{CallbackRoom, Rcu};
use thiserror::Error;

use crate::arch::ArchPgd;
use crate::frames::Frame;
use crate::growth::SyncedRange;
use crate::init_mm::InitMm;
use crate::kernel::Kernel;
use crate::page_tables::PageTables;
use crate::replace::Doomed;
use crate::replacement::{ReplaceError, Replacement};

/// A reclaim that failed. Every page is mapped as it was, and the range comes back.
#[derive(Debug, Error)]
#[error("reclaiming {:#x} bytes from {:#x}: {source}", range.len(), range.start())]
pub struct ReclaimError {
    /// The range.
    pub range: SyncedRange,
    /// What was missing.
    pub source: ReplaceError,
}

/// Pages that one flush stands for, on the stack.
const BATCH: usize = 64;

impl<K: Kernel> InitMm<K> {
    /// Gives `range` back: takes its pages out of the kernel half, and its top-level entries out of every PGD where no other range
    /// has a share in them.
    ///
    /// Each page that was mapped is handed to `release`, with its frame, when no CPU can reach it any more. On return no PGD that a
    /// CPU may load, and no TLB, has a former entry; the tables below are freed a grace period later. Fork, exec and exit
    /// go on meanwhile. The slots can be grown into again at once.
    ///
    /// # Errors
    ///
    /// [`ReclaimError`] when there is no heap for the list of entries, or no frame for a table where a large page must be split before a
    /// part of it is taken out. Nothing has changed then.
    ///
    /// # Safety
    ///
    /// Nobody uses an address of `range` from now on, and no mapping of another range in it is relied on.
    pub unsafe fn reclaim(
        &'static self,
        mut range: SyncedRange,
        mut release: impl FnMut(u64, Frame),
    ) -> Result<(), ReclaimError> {
        let mut doomed = match self.prepare(&mut range) {
            Ok(doomed) => doomed,
            Err(source) => return Err(ReclaimError { range, source }),
        };
        let (arch, kernel_range) = (self.arch(), range.0);
        let mut pages = [None; BATCH];
        loop {
            let mut gathered = pages.iter_mut();
            let mut gather = |addr, frame| match gathered.next() {
                Some(page) => {
                    *page = Some((addr, frame));
                    if gathered.len() == 0 {
                        ControlFlow::Break(())
                    } else {
                        ControlFlow::Continue(())
                    }
                }
                None => unreachable!("broken off when the last place was taken"),
            };
            // SAFETY: the reference PGD, whose slots the range has shares in; flushed before a frame is handed on.
            let more = unsafe {
                self.tables().unmap_kernel_range(arch.reference_root(), kernel_range, &mut gather)
            };
            if more.is_continue() {
                break;
            }
            self.sync_unmapped(kernel_range, &K::Rcu::read_lock());
            K::flush_kernel_tlb(kernel_range);
            pages
                .iter_mut()
                .filter_map(Option::take)
                .for_each(|(addr, frame)| release(addr, frame));
        }
        // Before the reference store, as in `grow`.
        let rcu = K::Rcu::read_lock();
        if let Some(Doomed { slots, retired, .. }) = &mut doomed {
            // SAFETY: the range had the shares and is consumed; its pages are unmapped; `retired` was reserved for it.
            unsafe { slots.retire(kernel_range, retired) };
        }
        self.sync_retired(kernel_range, doomed, &rcu);
        drop(rcu);
        pages.iter_mut().filter_map(Option::take).for_each(|(addr, frame)| release(addr, frame));
        Ok(())
    }

    /// Does all that can fail. `None` where PGDs have no slots of their own.
    fn prepare(&'static self, range: &mut SyncedRange) -> Result<Option<Doomed>, ReplaceError> {
        let Some(slots) = self.arch().kernel_slots() else { return Ok(None) };
        let doomed = Doomed {
            slots,
            retired: slots.reserve_retired(range.0)?,
            room: CallbackRoom::try_new()?,
        };
        // Pages are taken out one by one, and a large page in a slot is one piece.
        while let Some(addr) = slots.first_large(range.0) {
            match self.replace(range, addr, Replacement::Split) {
                // Whoever reclaims another range of the slot has split it since. His walk may not have ended: ours comes before a
                // page is handed back.
                Ok(()) | Err(ReplaceError::WrongKind { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Some(doomed))
    }
}
