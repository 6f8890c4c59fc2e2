//! The scheme with one step wrong; the command line's `mutant=NAME` says which.
//!
//! Walks go through tasks and processors. With the list of mms, some mutants make no mistake: what a processor has loaded is on
//! the list, and so is an mm that no task has, so that nobody need look at processors, nor look again when such an mm is attached.

use crate::mm::page_frames::PageFrames;
use arch_x86::geometry::LongMode;
use arch_x86::slots::Slots;
use kernel_sync::OutOfHeap;
use kernel_task::kernel::TaskKernel;
use kernel_task::tasks::Tasks;
use mutants::{Mutant, MutantArch, MutantWalk};
use spin::Once;

/// The architecture: x86 in long mode.
pub type Arch = MutantArch<LongMode, PageFrames>;

/// How a growth finds every mm.
pub type Walkers<K> = MutantWalk<Tasks<K>>;

static CHOSEN: Once<Option<Mutant>> = Once::new();

/// Chooses the mutant, before there are any PGDs; `None` for a second writing-down of the right scheme.
///
/// # Panics
///
/// When there is no such mutant.
pub fn choose(name: Option<&str>) {
    let parse = |name: &str| name.parse().unwrap_or_else(|error| panic!("mutant {name}: {error}"));
    CHOSEN.call_once(|| name.map(parse));
}

/// Returns the mutant that was chosen.
#[must_use]
pub fn chosen() -> Option<Mutant> {
    CHOSEN.get().copied().flatten()
}

/// Tells whether RCU waits for nobody.
#[must_use]
pub fn frees_early() -> bool {
    chosen() == Some(Mutant::PgdFreedEarly)
}

/// Tells whether nobody flushes what changes in the kernel half.
#[must_use]
pub fn leaves_flush_out() -> bool {
    chosen() == Some(Mutant::FlushLeftOut)
}

/// Makes the architecture of its slots.
pub fn arch(slots: Slots<LongMode, PageFrames>) -> Arch {
    MutantArch::new(slots, chosen())
}

/// Makes the walkers of the tasks.
///
/// # Errors
///
/// None: the walkers of the product have some.
pub fn walkers<K: TaskKernel>(tasks: Tasks<K>) -> Result<Walkers<K>, OutOfHeap> {
    Ok(MutantWalk::new(tasks, chosen()))
}

/// Returns the tasks that the walkers visit.
#[inline]
#[must_use]
pub fn tasks<K: TaskKernel>(walkers: &Walkers<K>) -> &Tasks<K> {
    walkers.right()
}
