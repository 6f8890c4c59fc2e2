//! From names on the command line to kernels: geometry, scheme, mutant.

use arch_x86::geometry::{Geometry, LongMode, PaePrivate, PaeShared, TwoLevel};
use arch_x86::late::LateInit;
use arch_x86::locked::Locked;
use arch_x86::slots::Slots;
use hosted::frames::HostFrames;
use hosted::kernel::{Host, Scheme, With};
use hosted::mmu::MmuKind;
use hosted::tlb::SlotPlace;
use kernel_task::tasks::Tasks;
use mutants::{Mutant, MutantArch, MutantWalk};

use crate::ground::Half;
use crate::options::{Options, Shape};
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
    match kind {
        Kind::Late => {
            let arch = move |frames| LateInit::new(slots(frames));
            run.run::<With<LateInit<G, HostFrames>>>(recipe(
                options,
                geometry,
                mmu,
                arch,
                |tasks| tasks,
            ))
        }
        Kind::Locked => {
            let arch = move |frames| Locked::new(slots(frames));
            run.run::<With<Locked<G, HostFrames>>>(recipe(options, geometry, mmu, arch, |tasks| {
                tasks
            }))
        }
        Kind::Mutant(mutant) => {
            let arch = move |frames| MutantArch::new(slots(frames), Some(mutant));
            let walkers = move |tasks| MutantWalk::new(tasks, Some(mutant));
            let recipe = recipe(options, geometry, mmu, arch, walkers);
            run.run::<Mutated<G>>(Recipe { mutant: Some(mutant), ..recipe })
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
        seed: options.seed,
        growth: options.growth,
        grow_every: options.grow_every(),
    }
}

/// The scheme of the mutants: a wrong architecture, a wrong walk, or neither and a wrong RCU.
struct Mutated<G>(std::marker::PhantomData<fn() -> G>);

impl<G: Geometry> Scheme for Mutated<G> {
    type Arch = MutantArch<G, HostFrames>;
    type Walkers = MutantWalk<Tasks<Host<Self>>>;

    fn tasks(walkers: &Self::Walkers) -> &Tasks<Host<Self>> {
        walkers.right()
    }
}
