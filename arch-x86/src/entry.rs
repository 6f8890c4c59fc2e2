//! The bits of an x86 page-table entry (SDM volume 3, tables 4-4 to 4-20).

use mm_generic::frames::Frame;
use mm_generic::prot::Prot;
use mm_generic::word::Word;

use crate::geometry::Geometry;

/// The entry is present.
pub const PRESENT: u64 = 1 << 0;
/// Stores are allowed.
pub const WRITABLE: u64 = 1 << 1;
/// User mode is allowed.
pub const USER: u64 = 1 << 2;
/// The MMU has used the entry.
pub const ACCESSED: u64 = 1 << 5;
/// The MMU has stored through the entry.
pub const DIRTY: u64 = 1 << 6;
/// The entry maps a large page instead of a table.
pub const LARGE: u64 = 1 << 7;
/// Instruction fetches are denied (64-bit entries, `EFER.NXE`).
pub const NO_EXECUTE: u64 = 1 << 63;

/// The frame address in a 64-bit entry; a 32-bit one has the lower part of it.
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// An entry for a table of level `depth + 1`, in a table of level `depth` (0 is the top).
///
/// `None` when the frame's address does not fit. The four top-level entries of PAE have neither a
/// writable nor a user bit: they are reserved, and a set one faults when CR3 is loaded.
pub(crate) fn table<G: Geometry>(geometry: &G, depth: usize, frame: Frame, user: bool) -> Option<G::Word> {
    let is_pdpte = geometry.levels()[depth].bits == 2;
    let rights = match (is_pdpte, user) {
        (true, _) => 0,
        (false, true) => WRITABLE | USER,
        (false, false) => WRITABLE,
    };
    G::Word::from_u64(frame.phys() | rights | PRESENT)
}

/// An entry that maps a 4 KiB page.
///
/// `None` when the frame's address does not fit.
pub(crate) fn page<G: Geometry>(frame: Frame, prot: Prot, user: bool, dirty: bool) -> Option<G::Word> {
    let mut bits = frame.phys() | PRESENT;
    if user {
        bits |= USER;
    }
    if prot.contains(Prot::WRITE) {
        bits |= WRITABLE;
    }
    if dirty {
        bits |= DIRTY | ACCESSED;
    }
    if G::HAS_NX && !prot.contains(Prot::EXEC) {
        bits |= NO_EXECUTE;
    }
    G::Word::from_u64(bits)
}

/// The frame that a present entry points to; `None` for one that is not present.
pub(crate) fn frame(entry: impl Word) -> Option<Frame> {
    let bits = entry.to_u64();
    if bits & PRESENT == 0 { None } else { Frame::at(bits & ADDRESS) }
}

/// What a present page entry allows.
pub(crate) fn prot<G: Geometry>(entry: G::Word) -> Prot {
    let bits = entry.to_u64();
    let mut prot = Prot::READ;
    prot.set(Prot::WRITE, bits & WRITABLE != 0);
    prot.set(Prot::EXEC, !G::HAS_NX || bits & NO_EXECUTE == 0);
    prot
}
