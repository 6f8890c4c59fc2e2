//! Any of the five schemes, chosen when the kernel boots.
//!
//! Kernels of different types are different copies of all code above the scheme, and the compiler does not treat
//! them alike: what is inlined, and how a loop is aligned, made a difference of a quarter between two
//! copies of one fork, several times what the schemes differ by, in favour of now the one and now the other. Kernels
//! of this one type run the same code but for the schemes' own.

use arch_x86::cached::Cached;
use arch_x86::geometry::LongMode;
use arch_x86::late::LateInit;
use arch_x86::late_pgd::LatePgd;
use arch_x86::locked::{Locked, LockedPgd};
use arch_x86::slots::Slots;
use arch_x86::tables::Tables;
use hosted::cpu::this_cpu;
use hosted::frames::HostFrames;
use mm_generic::arch::{ArchPgd, PgdAllocError, PgdWalk, PopulateError};
use mm_generic::frames::Frame;
use mm_generic::kernel_range::{KernelHalf, KernelRange};
use mm_generic::kernel_slots::KernelSlots;
use serde::Serialize;

use crate::loading::Loading;
use crate::schemes::constructed::{CACHED, CACHES, Constructed, ConstructedPgd};
use crate::schemes::generation::GenerationCheck;
use crate::schemes::preallocated::Preallocated;

/// The name of a scheme.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scheme {
    /// This project: late initialisation.
    Late,
    /// `pgd_list` under `pgd_lock`.
    PgdList,
    /// All 256 slots from boot on.
    Preallocated,
    /// A generation check at `switch_mm`.
    Generation,
    /// A cache of constructed PGDs.
    Constructed,
}

impl Scheme {
    /// All of them, this project first.
    pub const ALL: [Self; 5] =
        [Self::Late, Self::PgdList, Self::Preallocated, Self::Generation, Self::Constructed];

    /// The name in tables and in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Late => "late",
            Self::PgdList => "pgd-list",
            Self::Preallocated => "preallocated",
            Self::Generation => "generation",
            Self::Constructed => "constructed",
        }
    }
}

/// x86 with one of the schemes.
pub struct Chosen {
    arch: Arch,
    loading: &'static Loading,
}

enum Arch {
    Late(Cached<LongMode, HostFrames>),
    Locked(Locked<LongMode, HostFrames>),
    Preallocated(Preallocated<HostFrames>),
    Generation(GenerationCheck<HostFrames>),
    Constructed(Constructed<HostFrames>),
}

/// A PGD of any scheme.
pub enum ChosenPgd {
    /// Of [`Scheme::Late`].
    Late(LatePgd),
    /// Of [`Scheme::PgdList`].
    Locked(LockedPgd),
    /// Of [`Scheme::Preallocated`] or [`Scheme::Generation`]: a frame and no more.
    Bare(Frame),
    /// Of [`Scheme::Constructed`].
    Constructed(ConstructedPgd),
}

impl Chosen {
    /// Chooses `scheme`, for a kernel of `cpus` CPUs.
    ///
    /// # Panics
    ///
    /// When `frames` are too few for the kernel half.
    #[must_use]
    pub fn new(scheme: Scheme, frames: &'static HostFrames, cpus: usize) -> Self {
        const ENOUGH: &str = "frames for the kernel half";
        let loading: &Loading = Box::leak(Box::new(Loading::new(cpus)));
        let slots = || Slots::with_empty_reference(LongMode::FOUR_LEVEL, frames).expect(ENOUGH);
        let arch = match scheme {
            Scheme::Late => {
                let late = LateInit::new(slots());
                let cached = Cached::try_new(late, CACHES, CACHED, this_cpu);
                Arch::Late(cached.expect("heap for the caches"))
            }
            Scheme::PgdList => Arch::Locked(Locked::new(slots())),
            Scheme::Preallocated => Arch::Preallocated(Preallocated::new(frames).expect(ENOUGH)),
            Scheme::Generation => {
                let total = frames.total();
                Arch::Generation(GenerationCheck::new(frames, total, loading).expect(ENOUGH))
            }
            Scheme::Constructed => Arch::Constructed(Constructed::new(frames).expect(ENOUGH)),
        };
        Self { arch, loading }
    }

    /// What a kernel's `load_pgd` does before CR3, whatever the scheme: notes the root for TLB shoot-down. And then the one
    /// thing that `ArchPgd` has no hook for, the generation check.
    #[inline]
    pub fn before_load(&self, cpu: usize, root: Frame) {
        self.loading.note(cpu, root);
        if let Arch::Generation(arch) = &self.arch {
            arch.before_load(root);
        }
    }

    /// PGDs that are kept for later.
    #[must_use]
    pub fn cached(&self) -> usize {
        match &self.arch {
            Arch::Late(arch) => arch.kept(),
            Arch::Constructed(arch) => arch.cached(),
            Arch::Locked(_) | Arch::Preallocated(_) | Arch::Generation(_) => 0,
        }
    }
}

/// Says why a PGD cannot be of another scheme.
const OWN_PGD: &str = "a kernel has PGDs of its own scheme only";

/// Calls a method that all schemes have.
macro_rules! each {
    ($chosen:expr, $arch:ident => $call:expr) => {
        match &$chosen.arch {
            Arch::Late($arch) => $call,
            Arch::Locked($arch) => $call,
            Arch::Preallocated($arch) => $call,
            Arch::Generation($arch) => $call,
            Arch::Constructed($arch) => $call,
        }
    };
}

impl ArchPgd for Chosen {
    type Pgd = ChosenPgd;
    type Tables = Tables<LongMode, HostFrames>;

    fn tables(&self) -> &Self::Tables {
        each!(self, arch => arch.tables())
    }

    fn root(&self, pgd: &ChosenPgd) -> Frame {
        match (&self.arch, pgd) {
            (Arch::Late(arch), ChosenPgd::Late(pgd)) => arch.root(pgd),
            (Arch::Locked(arch), ChosenPgd::Locked(pgd)) => arch.root(pgd),
            (Arch::Preallocated(_) | Arch::Generation(_), ChosenPgd::Bare(root)) => *root,
            (Arch::Constructed(arch), ChosenPgd::Constructed(pgd)) => arch.root(pgd),
            _ => unreachable!("{OWN_PGD}"),
        }
    }

    fn reference_root(&self) -> Frame {
        each!(self, arch => arch.reference_root())
    }

    fn kernel_half(&self) -> KernelHalf {
        each!(self, arch => arch.kernel_half())
    }

    fn pgd_alloc(&self) -> Result<ChosenPgd, PgdAllocError> {
        match &self.arch {
            Arch::Late(arch) => arch.pgd_alloc().map(ChosenPgd::Late),
            Arch::Locked(arch) => arch.pgd_alloc().map(ChosenPgd::Locked),
            Arch::Preallocated(arch) => arch.pgd_alloc().map(ChosenPgd::Bare),
            Arch::Generation(arch) => arch.pgd_alloc().map(ChosenPgd::Bare),
            Arch::Constructed(arch) => arch.pgd_alloc().map(ChosenPgd::Constructed),
        }
    }

    unsafe fn pgd_free(&self, pgd: ChosenPgd) {
        match (&self.arch, pgd) {
            // SAFETY: the caller's promise is the same.
            (Arch::Late(arch), ChosenPgd::Late(pgd)) => unsafe { arch.pgd_free(pgd) },
            // SAFETY: as above.
            (Arch::Locked(arch), ChosenPgd::Locked(pgd)) => unsafe { arch.pgd_free(pgd) },
            // SAFETY: as above.
            (Arch::Preallocated(arch), ChosenPgd::Bare(pgd)) => unsafe { arch.pgd_free(pgd) },
            // SAFETY: as above.
            (Arch::Generation(arch), ChosenPgd::Bare(pgd)) => unsafe { arch.pgd_free(pgd) },
            // SAFETY: as above.
            (Arch::Constructed(arch), ChosenPgd::Constructed(pgd)) => unsafe { arch.pgd_free(pgd) },
            _ => unreachable!("{OWN_PGD}"),
        }
    }

    fn pgd_init_late(&self, pgd: &ChosenPgd) {
        if let (Arch::Late(arch), ChosenPgd::Late(pgd)) = (&self.arch, pgd) {
            arch.pgd_init_late(pgd);
        }
    }

    fn pgd_attach(&self, pgd: &ChosenPgd) {
        if let (Arch::Late(arch), ChosenPgd::Late(pgd)) = (&self.arch, pgd) {
            arch.pgd_attach(pgd);
        }
    }

    fn populate_kernel(&self, range: KernelRange) -> Result<(), PopulateError> {
        each!(self, arch => arch.populate_kernel(range))
    }

    fn kernel_slots(&self) -> Option<&dyn KernelSlots> {
        each!(self, arch => arch.kernel_slots())
    }

    fn is_synced(&self, range: KernelRange) -> bool {
        each!(self, arch => arch.is_synced(range))
    }

    fn sync_global_pgds(
        &self,
        range: KernelRange,
        walk: &dyn PgdWalk<ChosenPgd>,
        flush: &mut dyn FnMut(),
    ) {
        match &self.arch {
            Arch::Late(arch) => arch.sync_global_pgds(range, &Of(walk, late), flush),
            Arch::Locked(arch) => arch.sync_global_pgds(range, &Of(walk, locked), flush),
            Arch::Preallocated(arch) => arch.sync_global_pgds(range, &Of(walk, bare), flush),
            Arch::Generation(arch) => arch.sync_global_pgds(range, &Of(walk, bare), flush),
            Arch::Constructed(arch) => arch.sync_global_pgds(range, &Of(walk, constructed), flush),
        }
    }
}

fn late(pgd: &ChosenPgd) -> Option<&LatePgd> {
    if let ChosenPgd::Late(pgd) = pgd { Some(pgd) } else { None }
}

fn locked(pgd: &ChosenPgd) -> Option<&LockedPgd> {
    if let ChosenPgd::Locked(pgd) = pgd { Some(pgd) } else { None }
}

fn bare(pgd: &ChosenPgd) -> Option<&Frame> {
    if let ChosenPgd::Bare(root) = pgd { Some(root) } else { None }
}

fn constructed(pgd: &ChosenPgd) -> Option<&ConstructedPgd> {
    if let ChosenPgd::Constructed(pgd) = pgd { Some(pgd) } else { None }
}

/// A walk over PGDs that are all of one scheme.
struct Of<'a, P>(&'a dyn PgdWalk<ChosenPgd>, fn(&ChosenPgd) -> Option<&P>);

// SAFETY: visits what the walk inside visits.
unsafe impl<P> PgdWalk<P> for Of<'_, P> {
    fn for_each_pgd(&self, visit: &mut dyn FnMut(&P)) {
        self.0.for_each_pgd(&mut |pgd| visit((self.1)(pgd).expect(OWN_PGD)));
    }
}
