//! One kernel with its frames, and programs that run on it.

use std::mem::ManuallyDrop;
use std::ops::Range;

use arch_x86::geometry::Geometry;
#[cfg(feature = "pgd-init-late")]
use arch_x86::late::LateInit;
use arch_x86::locked::Locked;
use arch_x86::slots::Slots;
use hosted::frames::HostFrames;
use hosted::mmu::{self, MmuKind};
use kernel_sync::MutexGuard;
use kernel_sync::atomic::Ordering;
use mm_generic::arch::ArchPgd;
use mm_generic::frames::{Frame, Frames, PAGE_SIZE};
use mm_generic::init_mm::InitMm;
use mm_generic::mm::MmUser;
use mm_generic::prot::Prot;
use mm_generic::publish::NewMm;
use mm_generic::user::{Access, FaultError, ForkMmError, UserSpace};
use mm_generic::vma::{Backing, Vma, VmaFlags};

use super::kernel::{MmList, Pattern, TestKernel};
use super::tlb;

pub(crate) const R: Prot = Prot::READ;
pub(crate) const RW: Prot = Prot::READ.union(Prot::WRITE);
pub(crate) const RX: Prot = Prot::READ.union(Prot::EXEC);
pub(crate) const PRIVATE: VmaFlags = VmaFlags::empty();
pub(crate) const SHARED: VmaFlags = VmaFlags::SHARED;
pub(crate) const STACK: VmaFlags = VmaFlags::GROWS_DOWN;
pub(crate) const PAGE: u64 = PAGE_SIZE;

/// A kernel.
pub(crate) struct World<A: ArchPgd> {
    pub(crate) init_mm: &'static InitMm<TestKernel<A>>,
    pub(crate) frames: &'static HostFrames,
    pub(crate) kind: MmuKind,
    /// The geometry has a no-execute bit.
    pub(crate) has_nx: bool,
    /// First top-level entry of the kernel half.
    pub(crate) boundary: usize,
}

fn slots<G: Geometry>(geometry: G, frames: &'static HostFrames) -> Slots<G, HostFrames> {
    Slots::with_empty_reference(geometry, frames).unwrap()
}

impl<G: Geometry> World<Locked<G, HostFrames>> {
    pub(crate) fn locked(geometry: G, kind: MmuKind) -> Self {
        let frames = HostFrames::new(4096).checked().leak();
        Self::over::<G>(Locked::new(slots(geometry, frames)), frames, kind)
    }
}

#[cfg(feature = "pgd-init-late")]
impl<G: Geometry> World<LateInit<G, HostFrames>> {
    pub(crate) fn late(geometry: G, kind: MmuKind) -> Self {
        let frames = HostFrames::new(4096).checked().leak();
        Self::over::<G>(LateInit::new(slots(geometry, frames)), frames, kind)
    }
}

impl<A: ArchPgd> World<A> {
    fn over<G: Geometry>(arch: A, frames: &'static HostFrames, kind: MmuKind) -> Self {
        let init_mm = Box::leak(Box::new(InitMm::new(arch, frames, MmList::new())));
        Self { init_mm, frames, kind, has_nx: G::HAS_NX, boundary: G::BOUNDARY }
    }

    /// A process with an empty user half.
    pub(crate) fn process(&self) -> Process<'_, A> {
        self.publish(NewMm::new(self.init_mm).unwrap())
    }

    pub(crate) fn publish(&self, mm: NewMm<TestKernel<A>>) -> Process<'_, A> {
        let (published, mm) = mm.publish(self.init_mm.walkers());
        published.init_late();
        Process { mm: ManuallyDrop::new(mm), world: self }
    }

    /// Asserts that only `frames` frames are allocated and that no free one was written to.
    pub(crate) fn assert_allocated(&self, frames: usize) {
        assert_eq!(self.frames.allocated(), frames, "allocated frames");
        self.frames.check_free_frames().unwrap();
    }

    /// A first user address whose page lies at the end of a top-level entry's reach, or of what maps 2 or 4 MiB:
    /// mappings there need tables of their own on either side.
    pub(crate) fn seam(&self) -> u64 {
        match self.kind {
            MmuKind::TwoLevel => 0x4000_0000,
            MmuKind::Pae => 0x8000_0000,
            MmuKind::FourLevel => 0x80_0000_0000,
            MmuKind::FiveLevel => 0x1_0000_0000_0000,
        }
    }

    pub(crate) fn user_end(&self) -> u64 {
        match self.kind {
            MmuKind::TwoLevel | MmuKind::Pae => 0xc000_0000,
            MmuKind::FourLevel => 1 << 47,
            MmuKind::FiveLevel => 1 << 56,
        }
    }

    pub(crate) fn kernel_start(&self) -> u64 {
        match self.kind {
            MmuKind::TwoLevel | MmuKind::Pae => 0xc000_0000,
            MmuKind::FourLevel => 0xffff_8000_0000_0000,
            MmuKind::FiveLevel => 0xff00_0000_0000_0000,
        }
    }
}

/// A process: an mm on the task list.
pub(crate) struct Process<'w, A: ArchPgd> {
    pub(crate) mm: ManuallyDrop<MmUser<TestKernel<A>>>,
    pub(crate) world: &'w World<A>,
}

impl<'w, A: ArchPgd> Process<'w, A> {
    pub(crate) fn user(&self) -> MutexGuard<'_, UserSpace<TestKernel<A>>> {
        self.mm.user()
    }

    /// Maps anonymous memory, over whatever is there.
    pub(crate) fn map(&self, range: Range<u64>, prot: Prot, flags: VmaFlags) {
        let vma = Vma::new(range, prot, flags, Backing::Anonymous).unwrap();
        self.user().mmap_fixed(&self.mm, vma).unwrap();
    }

    /// Maps the first `len` bytes of a file from `offset` on, over whatever is there.
    pub(crate) fn map_file(
        &self,
        range: Range<u64>,
        prot: Prot,
        flags: VmaFlags,
        (object, offset, len): (Pattern, u64, u64),
    ) {
        let vma = Vma::new(range, prot, flags, Backing::Object { object, offset, len }).unwrap();
        self.user().mmap_fixed(&self.mm, vma).unwrap();
    }

    pub(crate) fn unmap(&self, range: Range<u64>) {
        self.user().munmap(&self.mm, range).unwrap();
    }

    pub(crate) fn protect(&self, range: Range<u64>, prot: Prot) {
        self.user().mprotect(&self.mm, range, prot).unwrap();
    }

    /// A copy of the process, as fork makes it.
    pub(crate) fn fork(&self) -> Process<'w, A> {
        self.try_fork().unwrap()
    }

    pub(crate) fn try_fork(&self) -> Result<Process<'w, A>, ForkMmError> {
        let child = NewMm::new(self.world.init_mm).expect("a frame for the PGD");
        child.copy_user_half(&self.mm)?;
        Ok(self.world.publish(child))
    }

    /// What the MMU says, without a fault handler.
    pub(crate) fn translate(&self, addr: u64, access: mmu::Access) -> Result<u64, mmu::PageFault> {
        mmu::translate(self.world.frames, self.world.kind, self.mm.root().phys(), addr, access)
    }

    /// Runs one access as the program's CPU does: through the TLB, with the fault handler behind it.
    pub(crate) fn run(&self, addr: u64, access: mmu::Access) -> Result<*mut u8, FaultError> {
        let World { frames, kind, .. } = *self.world;
        let kind_of_fault = match access {
            mmu::Access { write: true, .. } => Access::Write,
            mmu::Access { exec: true, .. } => Access::Exec,
            _ => Access::Read,
        };
        for _ in 0..3 {
            if let Ok(phys) = tlb::access(frames, kind, self.mm.root(), addr, access) {
                let frame = Frame::at(phys - phys % PAGE).unwrap();
                assert_ne!(frames.count(frame), 0, "{addr:#x} shows the free frame {frame:?}");
                let start = frames.bytes(frame).as_ptr().cast::<u8>();
                return Ok(start.wrapping_add((phys % PAGE) as usize));
            }
            self.user().fault(&self.mm, addr, kind_of_fault)?;
        }
        panic!("the fault at {addr:#x} was resolved twice, and the MMU still raises it");
    }

    pub(crate) fn load(&self, addr: u64) -> Result<u8, FaultError> {
        let byte = self.run(addr, mmu::Access::USER_READ)?;
        // SAFETY: a byte of an allocated frame in the arena, and nobody else runs.
        Ok(unsafe { byte.read() })
    }

    pub(crate) fn store(&self, addr: u64, value: u8) -> Result<(), FaultError> {
        let byte = self.run(addr, mmu::Access::USER_WRITE)?;
        // SAFETY: as in `load`.
        unsafe { byte.write(value) };
        Ok(())
    }

    pub(crate) fn fetch(&self, addr: u64) -> Result<u8, FaultError> {
        let byte = self.run(addr, mmu::Access::USER_EXEC)?;
        // SAFETY: as in `load`.
        Ok(unsafe { byte.read() })
    }

    /// The words of the top-level table that belong to the kernel.
    pub(crate) fn kernel_slots(&self) -> Vec<u64> {
        let World { frames, kind, boundary, .. } = *self.world;
        let root = self.mm.root();
        match kind {
            MmuKind::TwoLevel => frames.table32(root)[boundary..]
                .iter()
                .map(|word| u64::from(word.load(Ordering::Acquire)))
                .collect(),
            MmuKind::Pae => frames.table64(root)[boundary..4]
                .iter()
                .map(|word| word.load(Ordering::Acquire))
                .collect(),
            MmuKind::FourLevel | MmuKind::FiveLevel => frames.table64(root)[boundary..]
                .iter()
                .map(|word| word.load(Ordering::Acquire))
                .collect(),
        }
    }

    pub(crate) fn assert_no_stale_tlb_entry(&self) {
        tlb::assert_no_stale_entry(self.world.frames, self.world.kind, self.mm.root());
    }
}

impl<A: ArchPgd> Drop for Process<'_, A> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        self.world.init_mm.walkers().remove(&self.mm);
        let root = self.mm.root();
        // SAFETY: `self.mm` is neither used nor dropped after this.
        unsafe { ManuallyDrop::drop(&mut self.mm) };
        tlb::retire(root);
    }
}

/// Makes a test of each function named, for each geometry and scheme.
macro_rules! on_every_mmu {
    ($($test:ident),* $(,)?) => {
        crate::world::on_every_mmu! { @mmu locked: $($test),* }
        #[cfg(feature = "pgd-init-late")]
        crate::world::on_every_mmu! { @mmu late: $($test),* }
    };
    (@mmu $scheme:ident: $($test:ident),*) => {
        mod $scheme {
            use arch_x86::geometry::{LongMode, PaePrivate, PaeShared, TwoLevel};
            use hosted::mmu::MmuKind;
            use crate::world::World;
            $(mod $test {
                use super::*;
                #[test]
                fn two_level() {
                    super::super::$test(&World::$scheme(TwoLevel, MmuKind::TwoLevel));
                }
                #[test]
                fn pae_shared() {
                    super::super::$test(&World::$scheme(PaeShared, MmuKind::Pae));
                }
                #[test]
                fn pae_private() {
                    super::super::$test(&World::$scheme(PaePrivate, MmuKind::Pae));
                }
                #[test]
                fn four_level() {
                    super::super::$test(&World::$scheme(LongMode::FOUR_LEVEL, MmuKind::FourLevel));
                }
                #[test]
                fn five_level() {
                    super::super::$test(&World::$scheme(LongMode::FIVE_LEVEL, MmuKind::FiveLevel));
                }
            })*
        }
    };
}
pub(crate) use on_every_mmu;
