//! All 256 slots are populated at boot and copied into every PGD: nothing ever grows.
//!
//! The simplest scheme that is right, with the cheapest growth there can be. It pays with a table for each slot from
//! boot on, 1 MiB with 4 levels (and with 5), with a copy of 2 KiB in each fork and exec, and with kernel halves that
//! cannot differ in what they share: a slot can neither be replaced nor given back.

use kernel_sync::atomic::AtomicU64;
use mm_generic::arch::{ArchPgd, PgdAllocError, PgdWalk, PopulateError};
use mm_generic::frames::{Frame, Frames};
use mm_generic::kernel_range::{KernelHalf, KernelRange};

use arch_x86::geometry::LongMode;
use arch_x86::tables::Tables;

use super::half::{Half, SLOTS};

/// x86 with a full reference PGD.
pub struct Preallocated<F: Frames> {
    half: Half<F>,
}

impl<F: Frames> Preallocated<F> {
    /// Makes the reference PGD and all 256 tables below it.
    ///
    /// # Errors
    ///
    /// [`PopulateError::OutOfFrames`].
    pub fn new(frames: &'static F) -> Result<Self, PopulateError> {
        let half = Half::new(frames)?;
        half.populate(0..SLOTS, || ())?;
        Ok(Self { half })
    }
}

impl<F: Frames> ArchPgd for Preallocated<F> {
    type Pgd = Frame;
    type Tables = Tables<LongMode, F>;

    fn tables(&self) -> &Self::Tables {
        self.half.tables()
    }

    fn root(&self, pgd: &Frame) -> Frame {
        *pgd
    }

    fn reference_root(&self) -> Frame {
        self.half.root()
    }

    fn kernel_half(&self) -> KernelHalf {
        self.half.addresses()
    }

    fn pgd_alloc(&self) -> Result<Frame, PgdAllocError> {
        let root = self.half.frames().alloc()?;
        let from = self.half.slots(self.half.root()).as_ptr().cast::<u64>();
        let to = self.half.slots(root).as_ptr().cast::<u64>().cast_mut();
        const { assert!(size_of::<AtomicU64>() == size_of::<u64>()) };
        // SAFETY: 256 words each of two frames; the reference's top level has not changed since `new`, and nobody
        // else has the new frame.
        unsafe { to.copy_from_nonoverlapping(from, SLOTS) };
        Ok(root)
    }

    unsafe fn pgd_free(&self, pgd: Frame) {
        // SAFETY: the caller's promise.
        unsafe { self.half.frames().put(pgd) };
    }

    fn populate_kernel(&self, _range: KernelRange) -> Result<(), PopulateError> {
        Ok(())
    }

    #[inline]
    fn is_synced(&self, _range: KernelRange) -> bool {
        true
    }

    fn sync_global_pgds(
        &self,
        _range: KernelRange,
        _walk: &dyn PgdWalk<Frame>,
        _flush: &mut dyn FnMut(),
    ) {
    }
}
