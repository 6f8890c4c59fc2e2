//! What the MMU finds in user memory, and how the kernel half grows.

use std::sync::atomic::Ordering;

use arch_x86::geometry::Geometry;
use hosted::mmu::{self, PageFault};
use mm_generic::frames::{Frame, Frames};
use mm_generic::mm::Mm;
use mm_generic::user::Access;

use super::super::kernel::TestKernel;
use super::{PAGE, RW, World};

/// A page of the kernel half, and the physical address that it shows in every address space.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Grown {
    pub(crate) addr: u64,
    pub(crate) phys: u64,
}

impl<G: Geometry> World<G> {
    /// Grows the kernel by a page in the next slot that is not private, and maps a frame there.
    pub(crate) fn grow(&self) -> Grown {
        let before = self.frames.allocated();
        let slots: Vec<usize> =
            (0..self.geometry.slots()).filter(|slot| !self.size.private.contains(slot)).collect();
        let number = self.growths.fetch_add(1, Ordering::Relaxed);
        let slot = slots[number as usize % slots.len()] as u64;
        let addr = self.slot_addr(slot as usize) + number / slots.len() as u64 * PAGE;
        let range = self.init_mm.grow(addr, PAGE).expect("a page of the kernel half");
        let frame = self.frames.alloc().expect("frames enough");
        self.init_mm.map_kernel(&range, addr, frame, RW).expect("a page that nobody has");
        self.kernel_frames.fetch_add(self.frames.allocated() - before, Ordering::Relaxed);
        Grown { addr, phys: frame.phys() }
    }

    pub(crate) fn slot_addr(&self, slot: usize) -> u64 {
        self.geometry.kernel_half().first + slot as u64 * self.geometry.slot_span()
    }

    /// Tells whether the MMU finds a grown page through `root`.
    pub(crate) fn shows(&self, root: Frame, grown: Grown) -> bool {
        self.translate(root, grown.addr, mmu::Access::KERNEL_READ) == Ok(grown.phys)
    }

    pub(crate) fn translate(
        &self,
        root: Frame,
        addr: u64,
        access: mmu::Access,
    ) -> Result<u64, PageFault> {
        mmu::translate(self.frames, self.kind, root.phys(), addr, access)
    }

    /// The bytes that the MMU finds from `addr` on in user mode. Every page is mapped.
    pub(crate) fn user_bytes(&self, root: Frame, addr: u64, len: usize) -> Vec<u8> {
        (addr..addr + len as u64).map(|at| self.user_byte(root, at)).collect()
    }

    fn user_byte(&self, root: Frame, addr: u64) -> u8 {
        let phys = self
            .translate(root, addr, mmu::Access::USER_READ)
            .unwrap_or_else(|fault| panic!("{addr:#x}: {fault}"));
        let frame = Frame::at(phys - phys % PAGE).expect("a page");
        let word = &self.frames.table64(frame)[(phys % PAGE / 8) as usize];
        word.load(Ordering::Relaxed).to_ne_bytes()[(phys % 8) as usize]
    }

    /// The 32-bit word at `addr`, as a program of `mm` would load it.
    pub(crate) fn user_word(&self, mm: &Mm<TestKernel<G>>, addr: u64) -> u32 {
        mm.user().fault(mm, addr, Access::Read).expect("a mapped address");
        let bytes = self.user_bytes(mm.root(), addr, 4);
        u32::from_le_bytes(bytes.try_into().expect("four bytes"))
    }

    pub(crate) fn store(&self, mm: &Mm<TestKernel<G>>, addr: u64, word: u32) {
        mm.user().write_bytes(mm, addr, &word.to_le_bytes()).expect("a mapped address");
    }
}
