//! x86 with the scheme that the feature selects, which logs every call that a hook could be.

use arch_x86::X86;
use arch_x86::geometry::Geometry;
use hosted::frames::HostFrames;
use mm_generic::arch::{ArchPgd, PgdAllocError, PgdWalk, PopulateError};
use mm_generic::frames::Frame;
use mm_generic::kernel_range::{KernelHalf, KernelRange};
use mm_generic::kernel_slots::KernelSlots;

use super::trace::{Event, log};

type Inner<G> = X86<G, HostFrames>;

pub(crate) struct Watched<G: Geometry>(pub(crate) Inner<G>);

impl<G: Geometry> ArchPgd for Watched<G> {
    type Pgd = <Inner<G> as ArchPgd>::Pgd;
    type Tables = <Inner<G> as ArchPgd>::Tables;

    fn tables(&self) -> &Self::Tables {
        self.0.tables()
    }

    fn root(&self, pgd: &Self::Pgd) -> Frame {
        self.0.root(pgd)
    }

    fn reference_root(&self) -> Frame {
        self.0.reference_root()
    }

    fn kernel_half(&self) -> KernelHalf {
        self.0.kernel_half()
    }

    fn pgd_alloc(&self) -> Result<Self::Pgd, PgdAllocError> {
        let pgd = self.0.pgd_alloc()?;
        log(Event::PgdAlloc(self.0.root(&pgd)));
        Ok(pgd)
    }

    unsafe fn pgd_free(&self, pgd: Self::Pgd) {
        log(Event::PgdFree(self.0.root(&pgd)));
        // SAFETY: the caller's promise is the same.
        unsafe { self.0.pgd_free(pgd) };
    }

    fn pgd_init_late(&self, pgd: &Self::Pgd) {
        log(Event::InitLate(self.0.root(pgd)));
        self.0.pgd_init_late(pgd);
    }

    fn pgd_attach(&self, pgd: &Self::Pgd) {
        log(Event::Attach(self.0.root(pgd)));
        self.0.pgd_attach(pgd);
    }

    fn populate_kernel(&self, range: KernelRange) -> Result<(), PopulateError> {
        self.0.populate_kernel(range)
    }

    fn kernel_slots(&self) -> Option<&dyn KernelSlots> {
        self.0.kernel_slots()
    }

    fn is_synced(&self, range: KernelRange) -> bool {
        self.0.is_synced(range)
    }

    fn sync_global_pgds(
        &self,
        range: KernelRange,
        walk: &dyn PgdWalk<Self::Pgd>,
        flush: &mut dyn FnMut(),
    ) {
        self.0.sync_global_pgds(range, walk, flush);
    }
}
