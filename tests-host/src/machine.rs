//! A hosted kernel that one thread drives, whichever of its CPUs a step happens on.
//!
//! The kernel is the product's: `Tasks`, `copy_process`, `exec_mmap`, `exit`, growth, and one of
//! x86's schemes on one of its geometries. What is asked about its PGDs is asked of the hosted MMU
//! and of the words in the frames.

mod boot;
mod life;
mod scheme;

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use arch_x86::geometry::Geometry;
use arch_x86::slots::Slots;
use hosted::cpu::{HostCpu, HostRcu};
use hosted::frames::HostFrames;
use hosted::mmu::{Access, PageFault, translate};
use hosted::world::World;
use kernel_sync::Rcu;
use kernel_task::task::TaskRef;
use kernel_task::tasks::Tasks;
use mm_generic::arch::ArchPgd;
use mm_generic::frames::{Frame, Frames, PAGE_SIZE};
use mm_generic::growth::{GrowError, SyncedRange};
use mm_generic::init_mm::InitMm;
use mm_generic::mm::Mm;
use mm_generic::prot::Prot;
use mm_generic::reference::ReferencePgd;
use mm_generic::walk::Walkers;

use crate::shape::Shape;

pub use boot::Boot;
#[cfg(feature = "pgd-init-late")]
pub use scheme::{CachedPgds, LatePgds};
pub use scheme::{LockedPgds, MachineKernel, PgdScheme, Staged};

/// CPUs of a machine.
pub const CPUS: usize = 4;

/// First user address of the one mapping that each program has.
pub const DATA: u64 = 0x10_0000;

/// Pages of that mapping. A new program has written to the first.
pub const DATA_PAGES: u64 = 4;

/// One above the largest pid of a machine: few enough that a test can use a pid twice.
pub const PID_MAX: u32 = 64;

/// A page that a growth has mapped: every address space must show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grown {
    /// Index of its slot.
    pub slot: usize,
    /// Its address.
    pub addr: u64,
    /// What it shows.
    pub frame: Frame,
}

/// A running machine.
pub struct Machine<G: Geometry, A: PgdScheme<G>> {
    world: World<Staged<A>>,
    shape: Shape,
    init: TaskRef<MachineKernel<A>>,
    grown: Mutex<Vec<Grown>>,
    /// Page within a slot that no growth has used in any.
    next_page: AtomicU64,
    geometry: PhantomData<fn() -> G>,
}

impl<G: Geometry, A: PgdScheme<G>> Machine<G, A> {
    /// What the geometry looks like.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The frames.
    pub fn frames(&self) -> &'static HostFrames {
        self.world.frames()
    }

    /// The kernel's `init_mm`.
    pub fn init_mm(&self) -> &'static InitMm<MachineKernel<A>> {
        self.world.init_mm()
    }

    /// The tasks.
    pub fn tasks(&self) -> &'static Tasks<MachineKernel<A>> {
        self.world.tasks()
    }

    /// The architecture's slots.
    pub fn slots(&self) -> &'static Slots<G, HostFrames> {
        self.init_mm().arch().inner().slots()
    }

    /// The reference PGD.
    pub fn reference(&self) -> &'static ReferencePgd<G::Word> {
        self.slots().reference()
    }

    /// The first process; orphans go to it.
    pub fn init(&self) -> &TaskRef<MachineKernel<A>> {
        &self.init
    }

    /// Makes the calling thread one more CPU.
    pub fn cpu_online(&self) -> HostCpu {
        self.world.cpu_online()
    }

    /// Grows the kernel by a page that is new in each of `slots`, in one range, and maps a frame at
    /// each of these pages.
    ///
    /// # Panics
    ///
    /// When the machine is full.
    pub fn grow(&self, slots: Range<usize>) -> Vec<Grown> {
        let page = self.next_page.fetch_add(1, Ordering::Relaxed);
        let range = self.try_grow_page(slots.clone(), page).expect("slots of the kernel half");
        let mapped: Vec<_> = slots
            .map(|slot| {
                let addr = self.shape.addr(slot) + page * PAGE_SIZE;
                let frame = self.frames().alloc().expect("frames enough");
                self.init_mm()
                    .map_kernel(&range, addr, frame, Prot::READ | Prot::WRITE)
                    .expect("a page that nothing is mapped at");
                Grown { slot, addr, frame }
            })
            .collect();
        self.lock_grown().extend(&mapped);
        mapped
    }

    /// Grows the kernel by `slots` and maps nothing.
    ///
    /// # Errors
    ///
    /// As [`InitMm::grow`].
    pub fn try_grow(&self, slots: Range<usize>) -> Result<SyncedRange, GrowError> {
        self.try_grow_page(slots, 0)
    }

    fn try_grow_page(&self, slots: Range<usize>, page: u64) -> Result<SyncedRange, GrowError> {
        let start = self.shape.addr(slots.start) + page * PAGE_SIZE;
        let spans = (slots.len() as u64).saturating_sub(1);
        self.init_mm().grow(start, spans * self.shape.span + PAGE_SIZE)
    }

    /// Pages of all finished growths.
    pub fn grown(&self) -> Vec<Grown> {
        self.lock_grown().clone()
    }

    /// Forgets a page that a test has taken out of the kernel half.
    pub fn forget(&self, addr: u64) {
        self.lock_grown().retain(|grown| grown.addr != addr);
    }

    fn lock_grown(&self) -> MutexGuard<'_, Vec<Grown>> {
        self.grown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a load at `addr` finds through the PGD at `root`, in kernel mode.
    ///
    /// # Errors
    ///
    /// The page fault that it raises.
    pub fn translate(&self, root: Frame, addr: u64) -> Result<u64, PageFault> {
        translate(self.frames(), self.shape.kind, root.phys(), addr, Access::KERNEL_READ)
    }

    /// The words of the slots of the PGD at `root`.
    pub fn slots_of(&self, root: Frame) -> Vec<u64> {
        self.shape.slots_of(self.frames(), root)
    }

    /// The words of the reference's slots.
    pub fn reference_slots(&self) -> Vec<u64> {
        self.slots_of(self.init_mm().arch().reference_root())
    }

    /// The words of the user half of the top-level table at `root`.
    pub fn user_of(&self, root: Frame) -> Vec<u64> {
        self.shape.user_of(self.frames(), root)
    }

    /// The root that CPU number `cpu` has loaded, unless it is the reference's.
    pub fn loaded_root(&self, cpu: usize) -> Option<Frame> {
        let rcu = HostRcu::read_lock();
        self.loaded(cpu).get(&rcu).map(Mm::root)
    }

    /// Roots of all mms that a task has or a CPU has loaded.
    pub fn roots(&self) -> Vec<Frame> {
        let rcu = HostRcu::read_lock();
        let mut roots = Vec::new();
        self.tasks().for_each_published(&rcu, &mut |mm| roots.push(mm.root()));
        self.tasks().for_each_loaded(&rcu, &mut |mm| roots.push(mm.root()));
        roots
    }

    /// Asserts that the PGD at `root` shows the pages of every finished growth.
    ///
    /// # Panics
    ///
    /// When it does not.
    pub fn assert_shows_everything(&self, root: Frame) {
        for Grown { slot, addr, frame } in self.grown() {
            assert_eq!(
                self.translate(root, addr),
                Ok(frame.phys()),
                "slot {slot} in the PGD at {:#x}",
                root.phys()
            );
        }
    }

    /// Asserts that every mm that a task has or a CPU has loaded, and the reference, shows the
    /// pages of every finished growth.
    ///
    /// # Panics
    ///
    /// When one does not.
    pub fn assert_complete(&self) {
        for root in self.roots().into_iter().chain([self.init_mm().arch().reference_root()]) {
            self.assert_shows_everything(root);
        }
    }
}
