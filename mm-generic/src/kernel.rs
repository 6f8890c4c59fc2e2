//! The kernel that consumes these crates, as one type.

use core::ops::Range;

use kernel_sync::Rcu;

use crate::arch::ArchPgd;
use crate::frames::{Frame, Frames};
use crate::mm::Mm;
use crate::object::Object;
use crate::walk::Walkers;

/// Read-side guard of the kernel's RCU.
pub type RcuGuard<K> = <<K as Kernel>::Rcu as Rcu>::Guard;

/// A PGD of the kernel's architecture.
pub type Pgd<K> = <<K as Kernel>::Arch as ArchPgd>::Pgd;

/// Ties a kernel's architecture, frames, RCU, task structures and files together.
///
/// # Safety
///
/// An implementer promises what [`Kernel::load_pgd`] and [`Kernel::flush_tlb`] say: frames are
/// freed on the strength of it.
pub unsafe trait Kernel: Sized + Send + Sync + 'static {
    /// The architecture's PGDs.
    type Arch: ArchPgd;
    /// The page frames.
    type Frames: Frames;
    /// Read-copy update.
    type Rcu: Rcu;
    /// How walkers find every mm.
    type Walkers: Walkers<Self>;
    /// What a file-backed VMA shows.
    type Object: Object;

    /// Makes this CPU translate through `root` from now on (x86: writes CR3).
    ///
    /// # Safety
    ///
    /// `root` is the root of a ready mm or of the reference PGD; preemption is off.
    unsafe fn load_pgd(root: Frame);

    /// Removes every cached translation of `mm`'s `range` (user addresses in bytes), and paging-structure caches with them,
    /// from each CPU that has `mm` loaded, lazily or not. Returns when all have done so.
    ///
    /// [`crate::loaded::LoadedMm`] is not enough to find those CPUs: it is written after CR3, for the sake of walks, and a CPU
    /// caches translations as soon as CR3 is written. A kernel notes the root in a word of the CPU's own
    /// in [`Kernel::load_pgd`], before CR3 and with a full barrier behind it, and flushes by that.
    fn flush_tlb(mm: &Mm<Self>, range: Range<u64>);
}
