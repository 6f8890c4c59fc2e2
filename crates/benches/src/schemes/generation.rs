//! Each PGD knows the generation of the reference that it holds, and is completed at `switch_mm` when it is behind.
//!
//! No list and no walk over mms: a growth reaches the PGDs that CPUs have loaded at the moment, and the others catch up when they
//! are loaded next. Proposed for Linux by Lutomirski (2015) and, for the 32-bit kernel, by wli (2004).
//!
//! # The race
//!
//! CPU A switches to a PGD, CPU B grows:
//!
//! ```text
//! CPU A: switch_mm                       CPU B: growth
//! a1 loading[A] := root                  b1 reference[s] := entry; generation += 1
//! a2 FULL BARRIER                        b2 FULL BARRIER
//! a3 generation of root == generation?   b3 for each CPU: fill s in the PGD that it is loading
//!    otherwise fill all slots
//! a4 load CR3
//! ```
//!
//! One of the two sees the other, as ever. `a1` and `a2` are what a kernel has anyway, for TLB shoot-down, which must
//! find the CPUs that may cache a translation.
//!
//! In a kernel, `b3` is an inter-processor interrupt to every CPU, a microsecond or two and a disturbance for each of
//! them. A hosted kernel has none: here CPU B does the CPUs' work for them, and the interrupts are **not** in any figure.
//!
//! The price is paid at each context switch, a load and a compare, and by every reader of another mm's page table: a PGD that
//! is not loaded may lack slots for as long as it likes.

use kernel_sync::atomic::{AtomicU64, Ordering};
use kernel_sync::smp_mb;
use mm_generic::arch::{ArchPgd, PgdAllocError, PgdWalk, PopulateError};
use mm_generic::frames::{Frame, Frames, OutOfFrames, PAGE_SIZE};
use mm_generic::kernel_range::{KernelHalf, KernelRange};

use arch_x86::geometry::LongMode;
use arch_x86::tables::Tables;

use super::half::{Half, Synced};
use crate::loading::Loading;

/// x86 with PGDs that catch up at `switch_mm`.
pub struct GenerationCheck<F: Frames> {
    half: Half<F>,
    current: Current,
    /// Generation of the PGD in each frame, a cache line apart as Linux's `struct page` are.
    of_frame: Box<[OfFrame]>,
    synced: Synced,
    loading: &'static Loading,
}

/// The generation, on lines of its own: every fork and every switch reads it.
#[repr(align(128))]
struct Current(AtomicU64);

#[derive(Default)]
#[repr(align(64))]
struct OfFrame(AtomicU64);

impl<F: Frames> GenerationCheck<F> {
    /// Makes an empty reference PGD for a kernel with `total` frames, whose CPUs say in `loading` what they load.
    ///
    /// # Errors
    ///
    /// [`OutOfFrames`].
    pub fn new(
        frames: &'static F,
        total: usize,
        loading: &'static Loading,
    ) -> Result<Self, OutOfFrames> {
        Ok(Self {
            half: Half::new(frames)?,
            current: Current(AtomicU64::new(1)),
            of_frame: (0..total).map(|_| OfFrame::default()).collect(),
            synced: Synced::new(),
            loading,
        })
    }

    /// The check at `switch_mm`: completes the PGD at `root` if it is behind. The caller has noted in `loading` that
    /// it is about to load it, and executed a full barrier.
    #[inline]
    pub fn before_load(&self, root: Frame) {
        let of_root = self.generation_of(root);
        // Read before the slots are: they then hold at least what the number stands for.
        let now = self.current.0.load(Ordering::Acquire);
        if of_root.load(Ordering::Relaxed) != now && root != self.half.root() {
            self.half.fill_populated(root);
            of_root.store(now, Ordering::Relaxed);
        }
    }

    fn generation_of(&self, root: Frame) -> &AtomicU64 {
        &self.of_frame[(root.phys() / PAGE_SIZE) as usize].0
    }
}

impl<F: Frames> ArchPgd for GenerationCheck<F> {
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

    /// Takes a frame and copies nothing: the first switch does.
    fn pgd_alloc(&self) -> Result<Frame, PgdAllocError> {
        let root = self.half.frames().alloc()?;
        self.generation_of(root).store(0, Ordering::Relaxed);
        Ok(root)
    }

    unsafe fn pgd_free(&self, pgd: Frame) {
        // SAFETY: the caller's promise.
        unsafe { self.half.frames().put(pgd) };
    }

    fn populate_kernel(&self, range: KernelRange) -> Result<(), PopulateError> {
        self.half.populate(self.half.range(range), || {
            let now = self.current.0.load(Ordering::Relaxed);
            self.current.0.store(now + 1, Ordering::Release);
        })
    }

    #[inline]
    fn is_synced(&self, range: KernelRange) -> bool {
        self.synced.contains(self.half.range(range))
    }

    /// Does for each CPU what the interrupt would make it do. The task layer's walk is not needed.
    fn sync_global_pgds(
        &self,
        range: KernelRange,
        _walk: &dyn PgdWalk<Frame>,
        _flush: &mut dyn FnMut(),
    ) {
        let range = self.half.range(range);
        smp_mb();
        // A CPU that has moved on since it was read gives its reference to the PGD up afterwards, and the caller is in a
        // read-side section: the frame lives.
        self.loading.for_each(|root| self.half.fill(root, range.clone()));
        self.synced.insert(range);
    }
}
