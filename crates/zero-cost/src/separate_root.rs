//! An architecture with a kernel root of its own: every provided method of `ArchPgd` is left alone.

use core::ops::{ControlFlow, Range};

use mm_generic::arch::{ArchPgd, PgdAllocError, PopulateError};
use mm_generic::frames::{Frame, Frames};
use mm_generic::kernel_range::{KernelHalf, KernelRange};
use mm_generic::page_tables::{Leaf, MapError, PageTables, Shows};
use mm_generic::prot::Prot;

use crate::outside::{self, OutsideFrames};

/// Two roots, as on arm64: TTBR0 for the user half, TTBR1 for the kernel half, one for all.
pub struct SeparateRoot {
    tables: UserTables,
    kernel_root: Frame,
}

impl SeparateRoot {
    /// Uses `kernel_root` for the kernel half.
    #[must_use]
    pub const fn new(kernel_root: Frame) -> Self {
        Self { tables: UserTables, kernel_root }
    }
}

impl ArchPgd for SeparateRoot {
    /// A user root, and nothing of the kernel in it.
    type Pgd = Frame;
    type Tables = UserTables;

    fn tables(&self) -> &UserTables {
        &self.tables
    }

    fn root(&self, pgd: &Frame) -> Frame {
        *pgd
    }

    fn reference_root(&self) -> Frame {
        self.kernel_root
    }

    fn kernel_half(&self) -> KernelHalf {
        KernelHalf { first: 0xffff_0000_0000_0000, last: u64::MAX }
    }

    fn pgd_alloc(&self) -> Result<Frame, PgdAllocError> {
        Ok(OutsideFrames.alloc()?)
    }

    unsafe fn pgd_free(&self, pgd: Frame) {
        // SAFETY: the caller's promise.
        unsafe { OutsideFrames.put(pgd) };
    }

    fn populate_kernel(&self, range: KernelRange) -> Result<(), PopulateError> {
        outside::kernel_populate(range)
    }
}

/// The page tables behind TTBR0, which are not compiled here.
pub struct UserTables;

// SAFETY: there is no MMU; nothing of this crate is run.
unsafe impl PageTables for UserTables {
    fn user_end(&self) -> u64 {
        1 << 48
    }

    unsafe fn map(&self, root: Frame, addr: u64, leaf: Leaf) -> Result<Shows, MapError> {
        outside::kernel_map(root, addr, leaf)
    }

    unsafe fn lookup(&self, root: Frame, addr: u64) -> Option<Leaf> {
        outside::kernel_lookup(root, addr)
    }

    unsafe fn unmap_range(&self, root: Frame, range: Range<u64>, mut visit: impl FnMut(u64, Leaf)) {
        outside::kernel_unmap_range(root, range, &mut visit);
    }

    unsafe fn protect_range<B>(
        &self,
        root: Frame,
        range: Range<u64>,
        mut visit: impl FnMut(u64, Leaf) -> ControlFlow<B, Prot>,
    ) -> ControlFlow<B> {
        let mut broken = None;
        outside::kernel_protect_range(root, range, &mut |addr, leaf| match visit(addr, leaf) {
            ControlFlow::Continue(prot) => Some(prot),
            ControlFlow::Break(value) => {
                broken = Some(value);
                None
            }
        });
        broken.map_or(ControlFlow::Continue(()), ControlFlow::Break)
    }

    unsafe fn unlink_user_tables(
        &self,
        root: Frame,
        mut ranges: impl Iterator<Item = Range<u64>>,
        mut free: impl FnMut(Frame),
    ) {
        outside::kernel_unlink_user_tables(root, &mut ranges, &mut free);
    }

    unsafe fn map_kernel(
        &self,
        root: Frame,
        addr: u64,
        frame: Frame,
        prot: Prot,
    ) -> Result<(), MapError> {
        outside::kernel_map_kernel(root, addr, frame, prot)
    }

    unsafe fn unmap_kernel(&self, root: Frame, addr: u64) -> Option<Frame> {
        outside::kernel_unmap_kernel(root, addr)
    }

    unsafe fn unmap_kernel_range<B>(
        &self,
        root: Frame,
        range: KernelRange,
        mut visit: impl FnMut(u64, Frame) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let mut end = ControlFlow::Continue(());
        outside::kernel_unmap_kernel_range(root, range, &mut |addr, frame| {
            end = visit(addr, frame);
            end.is_continue()
        });
        end
    }
}
