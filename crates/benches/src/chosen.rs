//! Either scheme, chosen when the kernel boots.
//!
//! Two kernels of two types are two copies of all code above the scheme, and the compiler does not treat
//! them alike: what is inlined, and how a loop is aligned, made a difference of a quarter between two
//! copies of one fork, several times what the schemes differ by, in favour of now the one and now the other. Two
//! kernels of this one type run the same code but for the schemes' own.

use arch_x86::geometry::Geometry;
use arch_x86::late::{LateInit, LatePgd};
use arch_x86::locked::{Locked, LockedPgd};
use arch_x86::slots::Slots;
use arch_x86::tables::Tables;
use kernel_sync::Rcu;
use mm_generic::arch::{ArchPgd, PgdAllocError, PgdWalk, PopulateError};
use mm_generic::frames::{Frame, Frames};
use mm_generic::kernel_range::{KernelHalf, KernelRange};
use mm_generic::kernel_slots::KernelSlots;

/// x86 with one of the two schemes.
pub enum Chosen<G: Geometry, F: Frames> {
    /// Late initialisation.
    Late(LateInit<G, F>),
    /// `pgd_lock` and `pgd_list`.
    Locked(Locked<G, F>),
}

/// A PGD of either scheme.
pub enum ChosenPgd {
    /// Of [`Chosen::Late`].
    Late(LatePgd),
    /// Of [`Chosen::Locked`].
    Locked(LockedPgd),
}

impl<G: Geometry, F: Frames> Chosen<G, F> {
    /// Chooses late initialisation.
    pub fn late(slots: Slots<G, F>) -> Self {
        Self::Late(LateInit::new(slots))
    }

    /// Chooses the lock.
    pub fn locked(slots: Slots<G, F>) -> Self {
        Self::Locked(Locked::new(slots))
    }
}

/// Says why a PGD cannot be of the other scheme.
const OWN_PGD: &str = "a kernel has PGDs of its own scheme only";

impl<G: Geometry, F: Frames> ArchPgd for Chosen<G, F> {
    type Pgd = ChosenPgd;
    type Tables = Tables<G, F>;

    fn tables(&self) -> &Tables<G, F> {
        match self {
            Self::Late(late) => late.tables(),
            Self::Locked(locked) => locked.tables(),
        }
    }

    fn root(&self, pgd: &ChosenPgd) -> Frame {
        match (self, pgd) {
            (Self::Late(late), ChosenPgd::Late(pgd)) => late.root(pgd),
            (Self::Locked(locked), ChosenPgd::Locked(pgd)) => locked.root(pgd),
            _ => unreachable!("{OWN_PGD}"),
        }
    }

    fn reference_root(&self) -> Frame {
        match self {
            Self::Late(late) => late.reference_root(),
            Self::Locked(locked) => locked.reference_root(),
        }
    }

    fn kernel_half(&self) -> KernelHalf {
        match self {
            Self::Late(late) => late.kernel_half(),
            Self::Locked(locked) => locked.kernel_half(),
        }
    }

    fn pgd_alloc(&self) -> Result<ChosenPgd, PgdAllocError> {
        match self {
            Self::Late(late) => late.pgd_alloc().map(ChosenPgd::Late),
            Self::Locked(locked) => locked.pgd_alloc().map(ChosenPgd::Locked),
        }
    }

    unsafe fn pgd_free(&self, pgd: ChosenPgd) {
        match (self, pgd) {
            // SAFETY: the caller's promise is the same.
            (Self::Late(late), ChosenPgd::Late(pgd)) => unsafe { late.pgd_free(pgd) },
            // SAFETY: as above.
            (Self::Locked(locked), ChosenPgd::Locked(pgd)) => unsafe { locked.pgd_free(pgd) },
            _ => unreachable!("{OWN_PGD}"),
        }
    }

    fn pgd_init_late<R: Rcu>(&self, pgd: &ChosenPgd) {
        if let (Self::Late(late), ChosenPgd::Late(pgd)) = (self, pgd) {
            late.pgd_init_late::<R>(pgd);
        }
    }

    fn pgd_attach<R: Rcu>(&self, pgd: &ChosenPgd) {
        if let (Self::Late(late), ChosenPgd::Late(pgd)) = (self, pgd) {
            late.pgd_attach::<R>(pgd);
        }
    }

    fn populate_kernel(&self, range: KernelRange) -> Result<(), PopulateError> {
        match self {
            Self::Late(late) => late.populate_kernel(range),
            Self::Locked(locked) => locked.populate_kernel(range),
        }
    }

    fn kernel_slots(&self) -> Option<&dyn KernelSlots> {
        match self {
            Self::Late(late) => late.kernel_slots(),
            Self::Locked(locked) => locked.kernel_slots(),
        }
    }

    fn is_synced(&self, range: KernelRange) -> bool {
        match self {
            Self::Late(late) => late.is_synced(range),
            Self::Locked(locked) => locked.is_synced(range),
        }
    }

    fn sync_global_pgds(
        &self,
        range: KernelRange,
        walk: &dyn PgdWalk<ChosenPgd>,
        flush: &mut dyn FnMut(),
    ) {
        match self {
            Self::Late(late) => late.sync_global_pgds(range, &OfLate(walk), flush),
            Self::Locked(locked) => locked.sync_global_pgds(range, &OfLocked(walk), flush),
        }
    }
}

/// A walk over PGDs that are all [`ChosenPgd::Late`].
struct OfLate<'a>(&'a dyn PgdWalk<ChosenPgd>);

// SAFETY: visits what the walk inside visits.
unsafe impl PgdWalk<LatePgd> for OfLate<'_> {
    fn for_each_pgd(&self, visit: &mut dyn FnMut(&LatePgd)) {
        self.0.for_each_pgd(&mut |pgd| match pgd {
            ChosenPgd::Late(pgd) => visit(pgd),
            ChosenPgd::Locked(_) => unreachable!("{OWN_PGD}"),
        });
    }
}

/// A walk over PGDs that are all [`ChosenPgd::Locked`].
struct OfLocked<'a>(&'a dyn PgdWalk<ChosenPgd>);

// SAFETY: visits what the walk inside visits.
unsafe impl PgdWalk<LockedPgd> for OfLocked<'_> {
    fn for_each_pgd(&self, visit: &mut dyn FnMut(&LockedPgd)) {
        self.0.for_each_pgd(&mut |pgd| match pgd {
            ChosenPgd::Locked(pgd) => visit(pgd),
            ChosenPgd::Late(_) => unreachable!("{OWN_PGD}"),
        });
    }
}
