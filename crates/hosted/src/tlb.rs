//! What a CPU remembers of the kernel half: the paging-structure cache for top-level entries.
//!
//! The page walk of [`crate::mmu`] caches nothing, so it could not show that a flush is missing. A [`KernelTlb`] does what
//! a processor may do (Intel SDM volume 3, 4.10.3): it goes on using a slot's entry that it has read once, from whatever PGD was
//! loaded then, until the entry is flushed, as if the kernel's entries were global. Only live entries are remembered (4.10.2.3).
//!
//! A flush is one counter for all CPUs: a CPU whose memory is older than the counter forgets it before it translates
//! again. That is a shootdown as its sender sees it, when all have answered; how interrupts are sent is the kernel's business.

use kernel_sync::atomic::{AtomicBool, AtomicU64, Ordering};
use mm_generic::frames::{Frame, Frames, OutOfFrames};

use crate::frames::HostFrames;
use crate::mmu::{Access, MmuKind, PageFault, translate};

/// Flushes so far.
static FLUSHES: AtomicU64 = AtomicU64::new(0);

/// Flushes do nothing in this process.
static IGNORED: AtomicBool = AtomicBool::new(false);

/// Makes flushes do nothing, in every kernel of this process: a deliberate bug.
pub fn ignore_flushes() {
    IGNORED.store(true, Ordering::Relaxed);
}

/// Makes every CPU forget what it remembers of the kernel half, before its next translation.
pub fn flush_all() {
    if IGNORED.load(Ordering::Relaxed) {
        return;
    }
    FLUSHES.fetch_add(1, Ordering::SeqCst);
}

/// Where the slots of a geometry are, in the manual's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotPlace {
    /// Paging mode.
    pub kind: MmuKind,
    /// The slots are the entries of a PMD under PAE's fourth top-level entry, and not the top-level entries themselves.
    pub private_pmd: bool,
}

impl SlotPlace {
    /// What the PGD at `root` holds in the slot of `addr`.
    #[must_use]
    pub fn entry(self, frames: &HostFrames, root: Frame, addr: u64) -> u64 {
        let (table, index) = self.find(frames, root, addr);
        self.load(frames, table, index)
    }

    fn load(self, frames: &HostFrames, table: Frame, index: usize) -> u64 {
        match self.kind {
            MmuKind::TwoLevel => frames.table32(table)[index].load(Ordering::Acquire).into(),
            _ => frames.table64(table)[index].load(Ordering::Acquire),
        }
    }

    /// The table under `root` that the slots are in, and the index of the slot of `addr` in it.
    fn find(self, frames: &HostFrames, root: Frame, addr: u64) -> (Frame, usize) {
        match self.kind {
            MmuKind::TwoLevel => (root, (addr >> 22 & 0x3ff) as usize),
            MmuKind::Pae if self.private_pmd => {
                let pdpte = frames.table64(root)[3].load(Ordering::Acquire);
                let pmd =
                    Frame::at(pdpte & 0x000f_ffff_ffff_f000).expect("the low bits are masked");
                (pmd, (addr >> 21 & 0x1ff) as usize)
            }
            MmuKind::Pae => (root, (addr >> 30 & 3) as usize),
            MmuKind::FourLevel => (root, (addr >> 39 & 0x1ff) as usize),
            MmuKind::FiveLevel => (root, (addr >> 48 & 0x1ff) as usize),
        }
    }
}

/// One CPU's memory of top-level entries: a PGD that holds what it remembers.
pub struct KernelTlb {
    place: SlotPlace,
    frames: &'static HostFrames,
    root: Frame,
    pmd: Option<Frame>,
    /// Slots that are remembered, as places in their table.
    remembered: Vec<(Frame, usize)>,
    flushes: u64,
}

impl KernelTlb {
    /// Makes an empty memory in one or two of `frames`.
    ///
    /// # Errors
    ///
    /// [`OutOfFrames`]; nothing is kept.
    pub fn new(frames: &'static HostFrames, place: SlotPlace) -> Result<Self, OutOfFrames> {
        let root = frames.alloc()?;
        let mut tlb = Self {
            place,
            frames,
            root,
            pmd: None,
            remembered: Vec::new(),
            flushes: FLUSHES.load(Ordering::SeqCst),
        };
        if place.private_pmd {
            let pmd = frames.alloc()?;
            tlb.pmd = Some(pmd);
            frames.table64(root)[3].store(pmd.phys() | 1, Ordering::Relaxed);
        }
        Ok(tlb)
    }

    /// Translates a kernel address by what is remembered, or else through the PGD at `cr3`, and remembers that.
    ///
    /// # Errors
    ///
    /// [`PageFault`], as [`translate`].
    ///
    /// # Panics
    ///
    /// When `cr3` is no page address.
    pub fn translate(&mut self, cr3: u64, addr: u64, access: Access) -> Result<u64, PageFault> {
        let flushes = FLUSHES.load(Ordering::SeqCst);
        if flushes != self.flushes {
            self.forget();
            self.flushes = flushes;
        }
        let (mine, index) = self.place.find(self.frames, self.root, addr);
        if self.place.load(self.frames, mine, index) & 1 == 0 {
            let cr3 = Frame::at(cr3).expect("a root is a page");
            let entry = self.place.entry(self.frames, cr3, addr);
            if entry & 1 != 0 {
                self.store(mine, index, entry);
                self.remembered.push((mine, index));
            }
        }
        translate(self.frames, self.place.kind, self.root.phys(), addr, access)
    }

    fn forget(&mut self) {
        while let Some((table, index)) = self.remembered.pop() {
            self.store(table, index, 0);
        }
    }

    fn store(&self, table: Frame, index: usize, entry: u64) {
        match self.place.kind {
            MmuKind::TwoLevel => {
                let entry = u32::try_from(entry).expect("read from a 32-bit table");
                self.frames.table32(table)[index].store(entry, Ordering::Relaxed);
            }
            _ => self.frames.table64(table)[index].store(entry, Ordering::Relaxed),
        }
    }
}

impl Drop for KernelTlb {
    fn drop(&mut self) {
        for frame in [Some(self.root), self.pmd].into_iter().flatten() {
            // SAFETY: allocated in `new`, and in no table but the memory's own.
            unsafe { self.frames.put(frame) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: SlotPlace = SlotPlace { kind: MmuKind::TwoLevel, private_pmd: false };
    const ADDR: u64 = 0xc040_3000;

    /// A PGD of 32-bit paging that shows `phys`, a large page, at `ADDR`.
    fn pgd(frames: &HostFrames, phys: u32) -> Frame {
        let root = frames.alloc().unwrap();
        frames.table32(root)[0x301].store(phys | 0x83, Ordering::Relaxed);
        root
    }

    #[test]
    fn a_live_entry_is_remembered_until_it_is_flushed_and_an_absent_one_is_not() {
        let frames = HostFrames::new(8).leak();
        let before = frames.allocated();
        let (old, new) = (pgd(frames, 0x40_0000), pgd(frames, 0x80_0000));
        let mut tlb = KernelTlb::new(frames, PLACE).unwrap();
        let empty = frames.alloc().unwrap();
        assert!(tlb.translate(empty.phys(), ADDR, Access::KERNEL_READ).is_err());
        assert_eq!(tlb.translate(old.phys(), ADDR, Access::KERNEL_READ), Ok(0x40_3000));
        // Another test may flush in between; then the entry is read anew, and remembered.
        let kept = (0..1000).any(|_| {
            tlb.translate(old.phys(), ADDR, Access::KERNEL_READ).unwrap();
            tlb.translate(new.phys(), ADDR, Access::KERNEL_READ) == Ok(0x40_3000)
        });
        assert!(kept);
        flush_all();
        assert_eq!(tlb.translate(new.phys(), ADDR, Access::KERNEL_READ), Ok(0x80_3000));
        drop(tlb);
        assert_eq!(frames.allocated() - before, 3, "two PGDs and an empty one");
    }
}
