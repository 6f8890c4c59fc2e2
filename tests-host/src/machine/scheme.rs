//! The schemes a machine can be made with, behind one trait.

use std::marker::PhantomData;

#[cfg(feature = "pgd-init-late")]
use arch_x86::cached::Cached;
use arch_x86::geometry::Geometry;
#[cfg(feature = "pgd-init-late")]
use arch_x86::late::LateInit;
use arch_x86::locked::Locked;
use arch_x86::slots::Slots;
use hosted::frames::HostFrames;
use hosted::kernel::{Host, Scheme};
use kernel_task::tasks::Tasks;
use mm_generic::arch::ArchPgd;

use crate::interlude::{Interposed, InterposedWalk};

/// An x86 scheme that a machine can be made with.
pub trait PgdScheme<G: Geometry>: ArchPgd {
    /// Growths walk tasks and CPUs; otherwise, `pgd_list`.
    const WALKS: bool;

    /// Puts the scheme over `slots`.
    fn over(slots: Slots<G, HostFrames>) -> Self;

    /// The slots and the reference PGD.
    fn slots(&self) -> &Slots<G, HostFrames>;
}

impl<G: Geometry> PgdScheme<G> for Locked<G, HostFrames> {
    const WALKS: bool = false;

    fn over(slots: Slots<G, HostFrames>) -> Self {
        Self::new(slots)
    }

    fn slots(&self) -> &Slots<G, HostFrames> {
        self.slots()
    }
}

#[cfg(feature = "pgd-init-late")]
impl<G: Geometry> PgdScheme<G> for LateInit<G, HostFrames> {
    const WALKS: bool = true;

    fn over(slots: Slots<G, HostFrames>) -> Self {
        Self::new(slots)
    }

    fn slots(&self) -> &Slots<G, HostFrames> {
        self.slots()
    }
}

#[cfg(feature = "pgd-init-late")]
impl<G: Geometry> PgdScheme<G> for Cached<G, HostFrames> {
    const WALKS: bool = true;

    fn over(slots: Slots<G, HostFrames>) -> Self {
        // One small cache for all CPUs: what one of them frees, another forks with.
        Self::try_new(LateInit::new(slots), 1, 4, || 0).expect("heap for a small cache")
    }

    fn slots(&self) -> &Slots<G, HostFrames> {
        self.late().slots()
    }
}

/// The locked scheme of a machine.
pub type LockedPgds<G> = Locked<G, HostFrames>;

/// The lockless scheme of a machine.
#[cfg(feature = "pgd-init-late")]
pub type LatePgds<G> = LateInit<G, HostFrames>;

/// The lockless scheme of a machine, with PGDs that are used again.
#[cfg(feature = "pgd-init-late")]
pub type CachedPgds<G> = Cached<G, HostFrames>;

/// The hosted kernel's scheme: the architecture `A` and the right walk, with the points of
/// [`crate::interlude`].
pub struct Staged<A>(PhantomData<fn() -> A>);

impl<A: ArchPgd> Scheme for Staged<A> {
    type Arch = Interposed<A>;
    type Walkers = InterposedWalk<Tasks<Host<Self>>>;

    fn tasks(walkers: &Self::Walkers) -> &Tasks<Host<Self>> {
        walkers.inner()
    }
}

/// The kernel of a machine.
pub type MachineKernel<A> = Host<Staged<A>>;
