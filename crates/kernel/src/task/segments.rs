//! A program's segment registers: the selectors in DS, ES, FS and GS, and the bases of FS and GS.
//!
//! Long mode asks DS and ES for nothing, but a program can load what it may into them, and read it back. The load of a selector
//! into FS or GS brings the descriptor's base, so what counts is what the processor holds, whoever put it there: the program, or `arch_prctl`.
//! The kernel uses GS, whose base SWAPGS exchanges, and none of the others.

use crate::sync::IrqGuard;
use x86_64::VirtAddr;
use x86_64::registers::model_specific::{FsBase, KernelGsBase};
use x86_64::registers::segmentation::{DS, ES, FS, GS, Segment, SegmentSelector};

/// What a program has in its segment registers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Segments {
    ds: u16,
    es: u16,
    fs: u16,
    gs: u16,
    /// The thread pointer, as a rule.
    pub fs_base: u64,
    /// Swapped in on the way to user mode.
    pub gs_base: u64,
}

impl Segments {
    /// Null, as a program finds them that has just been executed.
    pub const INITIAL: Self = Self { ds: 0, es: 0, fs: 0, gs: 0, fs_base: 0, gs_base: 0 };

    /// Reads them off this processor, which has come from the program into the kernel.
    #[must_use]
    pub fn save() -> Self {
        Self {
            ds: DS::get_reg().0,
            es: ES::get_reg().0,
            fs: FS::get_reg().0,
            gs: GS::get_reg().0,
            fs_base: FsBase::read().as_u64(),
            gs_base: KernelGsBase::read().as_u64(),
        }
    }

    /// Loads them into this processor, which is going back to the program.
    pub fn load(&self) {
        // SAFETY: `save` has read each selector off a processor that had accepted it from a program, or it is null.
        unsafe {
            if DS::get_reg().0 != self.ds {
                DS::set_reg(SegmentSelector(self.ds));
            }
            if ES::get_reg().0 != self.es {
                ES::set_reg(SegmentSelector(self.es));
            }
        }
        self.load_fs();
        self.load_gs();
    }

    /// Loads FS. The base comes second: the load of a selector changes it.
    fn load_fs(&self) {
        if FS::get_reg().0 != self.fs {
            // SAFETY: as in `load`.
            unsafe { FS::set_reg(SegmentSelector(self.fs)) };
        }
        FsBase::write(VirtAddr::new_truncate(self.fs_base));
    }

    /// Loads GS, likewise.
    fn load_gs(&self) {
        if GS::get_reg().0 != self.gs {
            let _irqs_off = IrqGuard::disable();
            // SAFETY: as in `load`. The base that the selector brings is the program's, for the kernel's is out of the way; nothing
            // uses GS meanwhile but a non-maskable interrupt, which looks whose base it is.
            unsafe {
                GS::swap();
                GS::set_reg(SegmentSelector(self.gs));
                GS::swap();
            }
        }
        KernelGsBase::write(VirtAddr::new_truncate(self.gs_base));
    }

    /// Gives FS, of the program that this processor has come from, another base, and no selector.
    pub fn set_fs_base(base: u64) {
        Self { fs_base: base, ..Self::INITIAL }.load_fs();
    }

    /// Gives GS, of the program that this processor has come from, another base, and no selector.
    pub fn set_gs_base(base: u64) {
        Self { gs_base: base, ..Self::INITIAL }.load_gs();
    }

    /// The same for a program that has not run yet: FS has this base, and no selector.
    #[must_use]
    pub const fn with_fs_base(self, base: u64) -> Self {
        Self { fs: 0, fs_base: base, ..self }
    }
}
