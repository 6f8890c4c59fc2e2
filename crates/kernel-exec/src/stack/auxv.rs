//! The auxiliary vector: what the kernel tells a program about itself and about the program.

use super::Layout;

/// Bytes of `AT_RANDOM`.
pub(super) const RANDOM_BYTES: usize = 16;

/// What the kernel tells the program about itself and about the program (`AT_*`).
///
/// `AT_FLAGS` is always 0. `AT_RANDOM`, `AT_EXECFN` and `AT_PLATFORM` hold addresses within the
/// image; their contents are given here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuxValues<'a> {
    /// Address of the program headers ([`LoadPlan::phdr`](crate::elf::LoadPlan::phdr), or 0).
    pub phdr: u64,
    /// Bytes of a program header.
    pub phent: u16,
    /// Number of program headers.
    pub phnum: u16,
    /// Bytes of a page.
    pub pagesz: u64,
    /// Where the interpreter was loaded; 0 without one.
    pub base: u64,
    /// Entry point of the program.
    pub entry: u64,
    /// Real user id.
    pub uid: u32,
    /// Effective user id.
    pub euid: u32,
    /// Real group id.
    pub gid: u32,
    /// Effective group id.
    pub egid: u32,
    /// Whether the program gained privileges by being executed, so its libc distrusts `envp`.
    pub secure: bool,
    /// Processor features: EDX of CPUID leaf 1.
    pub hwcap: u64,
    /// Ticks per second of `times(2)`.
    pub clktck: u64,
    /// Name of the processor, without NUL: `x86_64`, `i686`.
    pub platform: &'a [u8],
    /// Seed of the program's stack canaries and pointer mangling. Must be unpredictable.
    pub random: [u8; RANDOM_BYTES],
    /// Path by which the program was executed, without NUL.
    pub execfn: &'a [u8],
    /// Address of the vDSO's ELF header; without one, the pair is left out.
    pub sysinfo_ehdr: Option<u64>,
}

const AUX_PAIRS: usize = 19;

/// Tag and value; the empty place is that of a vDSO that does not exist.
pub(super) type AuxPairs = [Option<(u64, u64)>; AUX_PAIRS];

/// Tags of the auxiliary vector (Linux `uapi/linux/auxvec.h`).
mod at {
    pub(super) const NULL: u64 = 0;
    pub(super) const PHDR: u64 = 3;
    pub(super) const PHENT: u64 = 4;
    pub(super) const PHNUM: u64 = 5;
    pub(super) const PAGESZ: u64 = 6;
    pub(super) const BASE: u64 = 7;
    pub(super) const FLAGS: u64 = 8;
    pub(super) const ENTRY: u64 = 9;
    pub(super) const UID: u64 = 11;
    pub(super) const EUID: u64 = 12;
    pub(super) const GID: u64 = 13;
    pub(super) const EGID: u64 = 14;
    pub(super) const PLATFORM: u64 = 15;
    pub(super) const HWCAP: u64 = 16;
    pub(super) const CLKTCK: u64 = 17;
    pub(super) const SECURE: u64 = 23;
    pub(super) const RANDOM: u64 = 25;
    pub(super) const EXECFN: u64 = 31;
    pub(super) const SYSINFO_EHDR: u64 = 33;
}

impl AuxValues<'_> {
    /// Number of pairs that [`pairs`](Self::pairs) will hold.
    pub(super) fn count(&self) -> usize {
        AUX_PAIRS - usize::from(self.sysinfo_ehdr.is_none())
    }

    /// The auxiliary vector in Linux's order, `AT_NULL` included.
    pub(super) fn pairs(&self, layout: &Layout) -> AuxPairs {
        [
            self.sysinfo_ehdr.map(|address| (at::SYSINFO_EHDR, address)),
            Some((at::HWCAP, self.hwcap)),
            Some((at::PAGESZ, self.pagesz)),
            Some((at::CLKTCK, self.clktck)),
            Some((at::PHDR, self.phdr)),
            Some((at::PHENT, u64::from(self.phent))),
            Some((at::PHNUM, u64::from(self.phnum))),
            Some((at::BASE, self.base)),
            Some((at::FLAGS, 0)),
            Some((at::ENTRY, self.entry)),
            Some((at::UID, u64::from(self.uid))),
            Some((at::EUID, u64::from(self.euid))),
            Some((at::GID, u64::from(self.gid))),
            Some((at::EGID, u64::from(self.egid))),
            Some((at::SECURE, u64::from(self.secure))),
            Some((at::RANDOM, layout.random)),
            Some((at::EXECFN, layout.execfn)),
            Some((at::PLATFORM, layout.platform)),
            Some((at::NULL, 0)),
        ]
    }
}
