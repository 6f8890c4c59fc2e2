//! From names on the command line to kernels: geometry, scheme, mutant.

use arch_x86::geometry::{Geometry, LongMode, PaePrivate, PaeShared, TwoLevel};
use arch_x86::late::LateInit;
use arch_x86::locked::Locked;
use arch_x86::slots::Slots;
use hosted::frames::HostFrames;
use hosted::kernel::{Host, Scheme};
use hosted::mmu::MmuKind;
use hosted::tlb::{self, SlotPlace};
use hosted::walk::{ChosenWalk, Walk};
use kernel_task::tasks::Tasks;
use mm_generic::arch::ArchPgd;
use mutants::{Mutant, MutantArch, MutantWalk};

use crate::half::Half;
use crate::options::{Options, Shape, WalkChoice};
use crate::round::Recipe;

/// A scheme to be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Late,
    Locked,
    Mutant(Mutant),
}

impl Kind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Late => "late",
            Self::Locked => "locked",
            Self::Mutant(mutant) => mutant.name(),
        }
    }
}

/// What is done with a recipe, whatever its types.
pub(crate) trait Run {
    type Output;

    fn run<S: Scheme>(self, recipe: Recipe<S>) -> Self::Output;
}

/// Makes the recipe that `options` and `kind` name, and hands it to `run`.
pub(crate) fn with_recipe<R: Run>(options: &Options, kind: Kind, run: R) -> R::Output {
    match options.geometry {
        Shape::Two => with_geometry(options, kind, run, TwoLevel, MmuKind::TwoLevel),
        Shape::ThreeShared => with_geometry(options, kind, run, PaeShared, MmuKind::Pae),
        Shape::ThreePrivate => with_geometry(options, kind, run, PaePrivate, MmuKind::Pae),
        Shape::Four => with_geometry(options, kind, run, LongMode::FOUR_LEVEL, MmuKind::FourLevel),
        Shape::Five => with_geometry(options, kind, run, LongMode::FIVE_LEVEL, MmuKind::FiveLevel),
    }
}

fn with_geometry<G: Geometry, R: Run>(
    options: &Options,
    kind: Kind,
    run: R,
    geometry: G,
    mmu: MmuKind,
) -> R::Output {
    let slots = move |frames| {
        Slots::with_empty_reference(geometry, frames).expect("frames enough for a root")
    };
    let walk = options.walk(kind);
    match kind {
        Kind::Late => {
            let arch = move |frames| LateInit::new(slots(frames));
            let walkers = move |tasks| ChosenWalk::new(walk, tasks);
            run.run::<Walked<LateInit<G, HostFrames>>>(recipe(
                options, geometry, mmu, arch, walkers,
            ))
        }
        Kind::Locked => {
            let arch = move |frames| Locked::new(slots(frames));
            let walkers = move |tasks| ChosenWalk::new(walk, tasks);
            run.run::<Walked<Locked<G, HostFrames>>>(recipe(options, geometry, mmu, arch, walkers))
        }
        Kind::Mutant(mutant) => {
            if mutant == Mutant::FlushLeftOut {
                tlb::ignore_flushes();
            }
            let arch = move |frames| MutantArch::new(slots(frames), Some(mutant));
            let walkers = move |tasks| MutantWalk::new(ChosenWalk::new(walk, tasks), Some(mutant));
            let recipe = recipe(options, geometry, mmu, arch, walkers);
            run.run::<Mutated<G>>(Recipe { mutant: Some(mutant), ..recipe })
        }
    }
}

impl Options {
    /// How walks of a scheme find mms. A mutant that is about tasks shows where tasks are walked, and so do most others: over the list, the
    /// task lock, taken between joining and late init, is the barrier that a mutant lacks. On the walk's side it is the other way round:
    /// through tasks, the first read that matters comes too late after the reference store (docs/findings.md).
    /// The locked scheme has a list of its own and walks neither.
    pub(crate) fn walk(&self, kind: Kind) -> Walk {
        match kind {
            Kind::Late => self.walk.map_or(Walk::OverMms, WalkChoice::walk),
            Kind::Mutant(Mutant::WalkBarrierGone | Mutant::WalkBarrierWeak) => {
                self.walk.map_or(Walk::OverMms, WalkChoice::walk)
            }
            Kind::Mutant(_) => self.walk.map_or(Walk::ThroughTasks, WalkChoice::walk),
            Kind::Locked => Walk::ThroughTasks,
        }
    }
}

fn recipe<S: Scheme>(
    options: &Options,
    geometry: impl Geometry,
    kind: MmuKind,
    arch: impl Fn(&'static HostFrames) -> S::Arch + Sync + 'static,
    walkers: impl Fn(Tasks<Host<S>>) -> S::Walkers + Sync + 'static,
) -> Recipe<S> {
    let slots = geometry.slots() as u64;
    Recipe {
        half: Half {
            place: SlotPlace { kind, private_pmd: kind == MmuKind::Pae && slots > 1 },
            first: geometry.kernel_half().first,
            slot_span: geometry.slot_span(),
            slots,
            // The slots' table is the last but one: 32-bit paging, and PAE's own PMDs.
            large_slots: geometry.slots_hold_large_pages(),
            slot_level: match (kind, slots) {
                (MmuKind::TwoLevel, _) => 2,
                // With private kernel PMDs the slots are the PMD's entries.
                (MmuKind::Pae, 1) => 3,
                (MmuKind::Pae, _) => 2,
                (MmuKind::FourLevel, _) => 4,
                (MmuKind::FiveLevel, _) => 5,
            },
            // At least 256 growths to a round, and at least two to a slot.
            growths_per_slot: (256 / slots).max(2),
        },
        arch: Box::new(arch),
        walkers: Box::new(walkers),
        mutant: None,
        cpus: options.cpus(),
        pinned_to: options.pinned_to(),
        only_duels: options.duels,
        seed: options.seed,
        growth: options.growth,
        grow_every: options.grow_every(),
    }
}

/// The scheme of an architecture with the right walk, either of them.
struct Walked<A>(std::marker::PhantomData<fn() -> A>);

impl<A: ArchPgd> Scheme for Walked<A> {
    type Arch = A;
    type Walkers = ChosenWalk<Host<Self>>;

    fn tasks(walkers: &Self::Walkers) -> &Tasks<Host<Self>> {
        walkers.tasks()
    }
}

/// The scheme of the mutants: a wrong architecture, a wrong walk, or neither and a wrong RCU.
struct Mutated<G>(std::marker::PhantomData<fn() -> G>);

impl<G: Geometry> Scheme for Mutated<G> {
    type Arch = MutantArch<G, HostFrames>;
    type Walkers = MutantWalk<ChosenWalk<Host<Self>>>;

    fn tasks(walkers: &Self::Walkers) -> &Tasks<Host<Self>> {
        walkers.right().tasks()
    }
}
