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

/// Not the MMU's: in an entry of the last level that is not present, a page is kept there that allows nothing.
const KEPT: u64 = 1 << 8;

/// The frame address in a 64-bit entry; a 32-bit one has the lower part of it.
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// An entry for a table of level `depth + 1`, in a table of level `depth` (0 is the top).
///
/// `None` when the frame's address does not fit. The four top-level entries of PAE have neither a
/// writable nor a user nor an accessed bit: they are reserved, and a set one faults when CR3 is loaded. Elsewhere the kernel's tables
/// are born accessed, so that no MMU has to store to a PGD for it (Linux's `_KERNPG_TABLE`).
pub(crate) fn table<G: Geometry>(
    geometry: &G,
    depth: usize,
    frame: Frame,
    user: bool,
) -> Option<G::Word> {
    let rights = match (is_pdpte(geometry, depth), user) {
        (true, _) => 0,
        (false, true) => WRITABLE | USER,
        (false, false) => WRITABLE | ACCESSED,
    };
    G::Word::from_u64(frame.phys() | rights | PRESENT)
}

/// An entry that maps a 4 KiB page of the user half (`user`) or of the kernel half.
///
/// `None` when the frame's address does not fit.
pub(crate) fn page<G: Geometry>(
    frame: Frame,
    prot: Prot,
    user: bool,
    dirty: bool,
) -> Option<G::Word> {
    let used = if dirty { DIRTY | ACCESSED } else { 0 };
    if user && prot.is_empty() {
        return kept_page::<G>(frame, used);
    }
    G::Word::from_u64(frame.phys() | PRESENT | rights::<G>(prot, user) | used)
}

/// An entry that holds a page of the user half for which no right is left (`PROT_NONE`).
///
/// It is not present. A present one without the user bit would do for user mode; the kernel, which may read
/// whatever is present, would read the page when a program passes its address to a system call. A processor may speculate
/// through an entry that is not present, to what its frame number says is in its cache (L1TF, CVE-2018-3620), so the
/// number's bits are inverted, as in Linux (`protnone_mask`).
fn kept_page<G: Geometry>(frame: Frame, used: u64) -> Option<G::Word> {
    // What fits is inverted within the width of the entry.
    G::Word::from_u64(frame.phys())?;
    G::Word::from_u64(inverted::<G>(frame.phys()) | KEPT | used)
}

/// The bits of an address field, inverted.
fn inverted<G: Geometry>(bits: u64) -> u64 {
    // The mark of late init has all bits but the lowest.
    !bits & ADDRESS & G::Word::UNSETTLED.to_u64()
}

/// An entry that maps a large page of the kernel half, in a table of level `depth`, the last but one.
///
/// `None` when the address does not fit.
pub(crate) fn large_page<G: Geometry>(frame: Frame, prot: Prot, dirty: bool) -> Option<G::Word> {
    let entry = page::<G>(frame, prot, false, dirty)?;
    G::Word::from_u64(entry.to_u64() | LARGE)
}

/// A page entry of the user half with other rights, and everything else as it was.
pub(crate) fn with_prot<G: Geometry>(entry: G::Word, prot: Prot) -> G::Word {
    let Some(frame) = page_frame::<G>(entry) else { return entry };
    let used = entry.to_u64() & (DIRTY | ACCESSED);
    let fresh = page::<G>(frame, prot, true, false).expect("the frame fitted before");
    G::Word::from_u64(fresh.to_u64() | used).expect("both bits are in every entry")
}

/// The bits that allow what `prot` says.
fn rights<G: Geometry>(prot: Prot, user: bool) -> u64 {
    let mut bits = if user { USER } else { 0 };
    if prot.contains(Prot::WRITE) {
        bits |= WRITABLE;
    }
    if G::HAS_NX && !prot.contains(Prot::EXEC) {
        bits |= NO_EXECUTE;
    }
    bits
}

/// What an entry leads to.
pub(crate) enum Target {
    /// Nothing: the entry is not present.
    Nothing,
    /// A table of the next level.
    Table(Frame),
    /// A page: of 4 KiB at the last level, a large one above it. The frame is the page's first.
    Page(Frame),
}

/// Follows an entry of a table of level `depth` (0 is the top).
pub(crate) fn target<G: Geometry>(geometry: &G, depth: usize, entry: G::Word) -> Target {
    let levels = geometry.levels();
    if depth + 1 == levels.len() {
        return page_frame::<G>(entry).map_or(Target::Nothing, Target::Page);
    }
    let Some(frame) = frame(entry) else { return Target::Nothing };
    if entry.to_u64() & LARGE == 0 {
        return Target::Table(frame);
    }
    // Bit 12 of a large page's entry is PAT, and those up to its size are reserved.
    let base = frame.phys() & !(levels[depth].span() - 1);
    Target::Page(Frame::at(base).expect("a large page begins on a frame boundary"))
}

/// Tells whether level `depth` is the four entries that PAE keeps in registers: they have no rights
/// of their own.
pub(crate) fn is_pdpte<G: Geometry>(geometry: &G, depth: usize) -> bool {
    geometry.levels()[depth].bits == 2
}

/// The frame that a present entry points to; `None` for one that is not present.
pub(crate) fn frame(entry: impl Word) -> Option<Frame> {
    let bits = entry.to_u64();
    if bits & PRESENT == 0 { None } else { Frame::at(bits & ADDRESS) }
}

/// The frame of the page that an entry of the last level holds, present or kept without any right.
pub(crate) fn page_frame<G: Geometry>(entry: G::Word) -> Option<Frame> {
    let bits = entry.to_u64();
    if bits & (PRESENT | KEPT) == KEPT { Frame::at(inverted::<G>(bits)) } else { frame(entry) }
}

/// What an entry of the user half (`user`) or of the kernel half allows. Not for PAE's four.
pub(crate) fn prot<G: Geometry>(entry: G::Word, user: bool) -> Prot {
    let bits = entry.to_u64();
    if user && bits & USER == 0 {
        return Prot::empty();
    }
    let mut prot = Prot::READ;
    prot.set(Prot::WRITE, bits & WRITABLE != 0);
    prot.set(Prot::EXEC, !G::HAS_NX || bits & NO_EXECUTE == 0);
    prot
}

/// The bits of an entry of level `depth` that MMUs set on their own.
pub(crate) fn set_by_mmu<G: Geometry>(geometry: &G, depth: usize) -> u64 {
    if is_pdpte(geometry, depth) { 0 } else { ACCESSED | DIRTY }
}

/// Tells whether a store has gone through the entry.
pub(crate) fn is_dirty(entry: impl Word) -> bool {
    entry.to_u64() & DIRTY != 0
}
