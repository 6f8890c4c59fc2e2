//! A page walk as the processor does it, written from the manual and sharing no code with arch-x86.
//!
//! Tests ask this walk what a program would see, so that a mistake in the tables' own code cannot
//! hide in the question. Source: Intel SDM volume 3, chapter 4; the tables and sections are named where
//! they are used.
//!
//! The processor is taken to run with `CR0.WP`, `CR4.PSE`, `EFER.NXE` and 52 bits of physical
//! address, without SMEP, SMAP and protection keys. It caches nothing and sets no accessed or dirty bit.

use kernel_sync::atomic::Ordering;
use mm_generic::frames::{Frame, Frames};
use thiserror::Error;

use crate::frames::HostFrames;

/// A paging mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MmuKind {
    /// 32-bit paging (4.3).
    TwoLevel,
    /// PAE paging (4.4).
    Pae,
    /// 4-level paging (4.5).
    FourLevel,
    /// 5-level paging (4.5, `CR4.LA57`).
    FiveLevel,
}

/// What a program does at an address. All `false` is a load in supervisor mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Access {
    /// A store.
    pub write: bool,
    /// In user mode.
    pub user: bool,
    /// An instruction fetch.
    pub exec: bool,
}

impl Access {
    /// A load in user mode.
    pub const USER_READ: Self = Self { write: false, user: true, exec: false };
    /// A store in user mode.
    pub const USER_WRITE: Self = Self { write: true, user: true, exec: false };
    /// An instruction fetch in user mode.
    pub const USER_EXEC: Self = Self { write: false, user: true, exec: true };
    /// A load in supervisor mode.
    pub const KERNEL_READ: Self = Self { write: false, user: false, exec: false };
    /// A store in supervisor mode.
    pub const KERNEL_WRITE: Self = Self { write: true, user: false, exec: false };
}

/// Why the processor raises a page fault (or, for [`Reason::NonCanonical`], a general protection fault).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The entry's present bit is clear.
    NotPresent,
    /// The entry is present and has a reserved bit set.
    ReservedBit,
    /// A store where the entry denies stores.
    Write,
    /// User mode where the entry is the supervisor's.
    User,
    /// A fetch where the entry denies execution.
    NoExecute,
    /// The address has no meaning in this mode; no entry was read.
    NonCanonical,
    /// The walk left the arena: the entry leads to memory that does not exist. A processor would
    /// read all ones or nothing in particular there.
    NoMemory,
}

/// A translation that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("page fault at level {level}: entry {entry:#x}, {reason:?}")]
pub struct PageFault {
    /// Level of the entry, counted from 1 for 4 KiB pages; 0 if none was read. Where several
    /// entries deny the access, the topmost.
    pub level: u8,
    /// The entry.
    pub entry: u64,
    /// What is wrong with it.
    pub reason: Reason,
}

const P: u64 = 1 << 0;
const RW: u64 = 1 << 1;
const US: u64 = 1 << 2;
const PS: u64 = 1 << 7;
const XD: u64 = 1 << 63;

/// Bits `low..=high`.
const fn bits(high: u32, low: u32) -> u64 {
    (u64::MAX >> (63 - high)) & (u64::MAX << low)
}

/// Translates the linear address `addr` through the tables at `cr3` and returns the physical address.
///
/// Entries are loaded with acquire ordering: a processor that reads an entry reads what it leads to later.
///
/// # Errors
///
/// [`PageFault`], as the processor would find it: entries that are absent or malformed come before
/// rights, which are judged at the end of the walk.
pub fn translate(
    frames: &HostFrames,
    kind: MmuKind,
    cr3: u64,
    addr: u64,
    access: Access,
) -> Result<u64, PageFault> {
    if !is_address(kind, addr) {
        return Err(PageFault { level: 0, entry: 0, reason: Reason::NonCanonical });
    }
    let mut walk = Walk { frames, access, denied: None };
    let phys = match kind {
        MmuKind::TwoLevel => walk.two_level(cr3, addr),
        MmuKind::Pae => walk.pae(cr3, addr),
        MmuKind::FourLevel => walk.long_mode(4, cr3, addr),
        MmuKind::FiveLevel => walk.long_mode(5, cr3, addr),
    }?;
    match walk.denied {
        Some(fault) => Err(fault),
        None => Ok(phys),
    }
}

/// 32 bits, or bits 63:47 (63:56) all equal.
fn is_address(kind: MmuKind, addr: u64) -> bool {
    let signed = addr.cast_signed();
    match kind {
        MmuKind::TwoLevel | MmuKind::Pae => addr <= 0xffff_ffff,
        MmuKind::FourLevel => signed << 16 >> 16 == signed,
        MmuKind::FiveLevel => signed << 7 >> 7 == signed,
    }
}

struct Walk<'a> {
    frames: &'a HostFrames,
    access: Access,
    /// The first entry that denies the access; it counts only if the walk gets to its end.
    denied: Option<PageFault>,
}

impl Walk<'_> {
    /// 4.3, tables 4-3 to 4-6.
    fn two_level(&mut self, cr3: u64, addr: u64) -> Result<u64, PageFault> {
        let pde = self.load32(2, cr3 & bits(31, 12), addr >> 22 & 0x3ff)?;
        self.rights(2, pde, false);
        if pde & PS != 0 {
            // PSE-36: bits 20:13 are bits 39:32 of the address.
            reserved(2, pde, bits(21, 21))?;
            return Ok(pde & bits(31, 22) | (pde & bits(20, 13)) << 19 | addr & bits(21, 0));
        }
        let pte = self.load32(1, pde & bits(31, 12), addr >> 12 & 0x3ff)?;
        self.rights(1, pte, false);
        Ok(pte & bits(31, 12) | addr & bits(11, 0))
    }

    /// 4.4, tables 4-7 to 4-11.
    fn pae(&mut self, cr3: u64, addr: u64) -> Result<u64, PageFault> {
        let pdpte = self.load64(3, cr3 & bits(31, 5), addr >> 30 & 3)?;
        // No rights in these four: writable and user are reserved, and so is no-execute.
        reserved(3, pdpte, bits(2, 1) | bits(8, 5) | bits(63, 52))?;
        let pde = self.load64(2, pdpte & bits(51, 12), addr >> 21 & 0x1ff)?;
        reserved(2, pde, bits(62, 52))?;
        self.rights(2, pde, true);
        if pde & PS != 0 {
            reserved(2, pde, bits(20, 13))?;
            return Ok(pde & bits(51, 21) | addr & bits(20, 0));
        }
        let pte = self.load64(1, pde & bits(51, 12), addr >> 12 & 0x1ff)?;
        reserved(1, pte, bits(62, 52))?;
        self.rights(1, pte, true);
        Ok(pte & bits(51, 12) | addr & bits(11, 0))
    }

    /// 4.5, tables 4-14 to 4-20.
    fn long_mode(&mut self, levels: u8, cr3: u64, addr: u64) -> Result<u64, PageFault> {
        let mut table = cr3 & bits(51, 12);
        for level in (1..=levels).rev() {
            let shift = 12 + 9 * (u32::from(level) - 1);
            let entry = self.load64(level, table, addr >> shift & 0x1ff)?;
            self.rights(level, entry, true);
            match level {
                4 | 5 => reserved(level, entry, PS)?,
                2 | 3 if entry & PS != 0 => {
                    reserved(level, entry, bits(shift - 1, 13))?;
                    return Ok(entry & bits(51, shift) | addr & bits(shift - 1, 0));
                }
                _ => {}
            }
            table = entry & bits(51, 12);
        }
        Ok(table | addr & bits(11, 0))
    }

    fn load32(&self, level: u8, table: u64, index: u64) -> Result<u64, PageFault> {
        let frame = self.memory(level, table)?;
        let cell = &self.frames.table32(frame)[index as usize];
        present(level, u64::from(cell.load(Ordering::Acquire)))
    }

    fn load64(&self, level: u8, table: u64, index: u64) -> Result<u64, PageFault> {
        // A table of four entries need not begin at a page; the others do.
        let index = index + (table & bits(11, 0)) / 8;
        let frame = self.memory(level, table & bits(63, 12))?;
        present(level, self.frames.table64(frame)[index as usize].load(Ordering::Acquire))
    }

    /// The frame of a table, if that is memory. The entry that led there is one level up.
    fn memory(&self, level: u8, table: u64) -> Result<Frame, PageFault> {
        let fault = PageFault { level: level + 1, entry: table, reason: Reason::NoMemory };
        Frame::at(table).filter(|&frame| self.frames.contains(frame)).ok_or(fault)
    }

    /// 4.6, for one of the entries that control the translation.
    fn rights(&mut self, level: u8, entry: u64, has_xd: bool) {
        let Access { write, user, exec } = self.access;
        let reason = if user && entry & US == 0 {
            Reason::User
        } else if write && entry & RW == 0 {
            Reason::Write
        } else if exec && has_xd && entry & XD != 0 {
            Reason::NoExecute
        } else {
            return;
        };
        self.denied.get_or_insert(PageFault { level, entry, reason });
    }
}

fn present(level: u8, entry: u64) -> Result<u64, PageFault> {
    if entry & P != 0 {
        Ok(entry)
    } else {
        Err(PageFault { level, entry, reason: Reason::NotPresent })
    }
}

fn reserved(level: u8, entry: u64, mask: u64) -> Result<(), PageFault> {
    if entry & mask == 0 {
        Ok(())
    } else {
        Err(PageFault { level, entry, reason: Reason::ReservedBit })
    }
}

#[cfg(test)]
mod tests;
