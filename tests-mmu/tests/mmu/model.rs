//! What each address space must show, as the steps have made it, and the comparison with the two MMUs.

use hosted::frames::HostFrames;
use hosted::mmu::{Access, MmuKind, translate};
use mm_generic::frames::{Frame, Frames, PAGE_SIZE};
use mm_generic::prot::Prot;
use tests_host::machine::{DATA, DATA_PAGES};
use thiserror::Error;

use super::qemu::Qemu;

/// Everything that a CPU can do at an address.
const ACCESSES: [Access; 6] = [
    Access::KERNEL_READ,
    Access::KERNEL_WRITE,
    Access { write: false, user: false, exec: true },
    Access::USER_READ,
    Access::USER_WRITE,
    Access::USER_EXEC,
];

/// A page of a program's one mapping.
#[derive(Debug, Clone, Copy)]
pub(crate) struct UserPage {
    /// What was written to its first byte; `None` for a page that nobody has touched.
    pub(crate) byte: Option<u8>,
    pub(crate) prot: Prot,
    /// Stores go through: there was one, and no fork or lesser rights since.
    pub(crate) is_writable: bool,
}

/// The user half of a program.
pub(crate) type UserHalf = [UserPage; DATA_PAGES as usize];

/// A new program's: it has written to the first page.
pub(crate) fn new_program() -> UserHalf {
    let untouched = UserPage { byte: None, prot: Prot::READ | Prot::WRITE, is_writable: false };
    let mut half = [untouched; DATA_PAGES as usize];
    half[0] = UserPage { byte: Some(1), is_writable: true, ..untouched };
    half
}

/// What an address of the kernel half must show.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KernelPage {
    pub(crate) addr: u64,
    /// The frame and the rights; `None` for an address that was reclaimed, or never used.
    pub(crate) shows: Option<(Frame, Prot)>,
}

/// What was compared.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Covered {
    /// Address spaces that were loaded into CR3.
    pub(crate) spaces: u64,
    pub(crate) addresses: u64,
    pub(crate) accesses: u64,
    /// Of the accesses, those that faulted, as they had to.
    pub(crate) faults: u64,
}

/// An access that did not do what it must.
#[derive(Debug, Error)]
pub(crate) enum Mismatch {
    #[error(
        "root {root:#x}, {addr:#x}, {access:x?}: must get to {expected:x?}, QEMU gets to {found:x?}"
    )]
    Qemu { root: u64, addr: u64, access: Access, expected: Option<u64>, found: Option<u64> },
    #[error(
        "root {root:#x}, {addr:#x}, {access:x?}: QEMU gets to {qemu:x?}, the hosted walk to {hosted:x?}"
    )]
    Hosted { root: u64, addr: u64, access: Access, qemu: Option<u64>, hosted: Option<u64> },
    #[error("root {root:#x}, {addr:#x}: holds {found}, and must hold {expected}")]
    Content { root: u64, addr: u64, expected: u8, found: u8 },
}

/// The MMUs, and the memory that they translate through.
pub(crate) struct Eyes {
    pub(crate) qemu: Qemu,
    pub(crate) frames: &'static HostFrames,
    pub(crate) kind: MmuKind,
    pub(crate) has_nx: bool,
}

impl Eyes {
    /// Compares the address space at `root` with what it must show. `user` is `None` for the reference PGD.
    pub(crate) fn look(
        &mut self,
        root: Frame,
        user: Option<&UserHalf>,
        kernel: &[KernelPage],
        covered: &mut Covered,
    ) -> Result<(), Mismatch> {
        self.qemu.load(root);
        covered.spaces += 1;
        for page in kernel {
            let allows = |access: Access, prot| !access.user && self.allows(access, prot);
            let expected = |access| {
                page.shows.filter(|&(_, prot)| allows(access, prot)).map(|(frame, _)| frame)
            };
            let expected = ACCESSES.map(expected);
            for (access, frame) in ACCESSES.into_iter().zip(expected) {
                let frame = frame.map(Frame::phys);
                self.compare(root, page.addr, access, |_| frame, covered)?;
            }
            covered.addresses += 1;
        }
        for (addr, page) in (DATA..).step_by(PAGE_SIZE as usize).zip(user.into_iter().flatten()) {
            let mut rights = page.prot;
            rights.set(Prot::WRITE, page.is_writable);
            // Which frame shows the page is the kernel's choice; what is in it, is not.
            for access in ACCESSES {
                let is_there = page.byte.is_some() && self.allows(access, rights);
                self.compare(
                    root,
                    addr,
                    access,
                    |found| found.filter(|_| is_there).or(is_there.then_some(0)),
                    covered,
                )?;
            }
            if let (Some(expected), Some(phys)) =
                (page.byte, self.qemu.translate(addr, Access::USER_READ))
            {
                let frame = Frame::at(phys & !(PAGE_SIZE - 1)).expect("a whole page");
                // SAFETY: a frame of the arena, which nobody writes to meanwhile.
                let found = unsafe { self.frames.bytes(frame).as_ref() }[0];
                if found != expected {
                    return Err(Mismatch::Content { root: root.phys(), addr, expected, found });
                }
            }
            covered.addresses += 1;
        }
        Ok(())
    }

    fn allows(&self, access: Access, prot: Prot) -> bool {
        match access {
            Access { write: true, .. } => prot.contains(Prot::WRITE),
            Access { exec: true, .. } => !self.has_nx || prot.contains(Prot::EXEC),
            _ => true,
        }
    }

    fn compare(
        &mut self,
        root: Frame,
        addr: u64,
        access: Access,
        expected: impl Fn(Option<u64>) -> Option<u64>,
        covered: &mut Covered,
    ) -> Result<(), Mismatch> {
        let qemu = self.qemu.translate(addr, access);
        let root = root.phys();
        let expected = expected(qemu);
        if qemu != expected {
            return Err(Mismatch::Qemu { root, addr, access, expected, found: qemu });
        }
        let hosted = translate(self.frames, self.kind, root, addr, access).ok();
        if qemu != hosted {
            return Err(Mismatch::Hosted { root, addr, access, qemu, hosted });
        }
        covered.accesses += 1;
        covered.faults += u64::from(qemu.is_none());
        Ok(())
    }
}
