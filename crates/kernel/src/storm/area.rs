//! The part of the kernel half that the storm grows into, and one page of it that is mapped.
//!
//! The first slots are everybody's: growers meet there, each with a page of its own in every slot. The last ones are in
//! pairs, one for each grower: a range over two slots is brought by one walk.

use super::{figures, report};
use crate::layout::{PAGE_SIZE, phys_to_virt};
use crate::mm::frames as allocator;
use crate::mm::page_frames::{own, theirs};
use crate::os::init_mm;
use arch_x86::geometry::Geometry;
use core::mem::ManuallyDrop;
use core::ops::Range;
use mm_generic::growth::SyncedRange;
use mm_generic::prot::Prot;
use mm_generic::reference::Refusal;
use mm_generic::replacement::{ReplaceError, Replacement};
use mm_generic::word::Word;

/// Growers at most; each has a page in every shared slot, and a pair of slots.
pub(super) const MAX_GROWERS: usize = 8;

/// First address and slots with four levels: behind the vmalloc area.
const FOUR_LEVEL: (u64, u64) = (0xffff_e000_0000_0000, 48);

/// The same with five levels.
const FIVE_LEVEL: (u64, u64) = (0xffd0_0000_0000_0000, 40);

/// Where a page shall be mapped.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// The range that is grown.
    start: u64,
    len: u64,
    /// The page of it that is mapped.
    pub(super) address: u64,
}

fn bounds() -> (u64, u64, u64) {
    let geometry = init_mm().tables().geometry();
    let (base, slots) = if geometry.levels().len() == 5 { FIVE_LEVEL } else { FOUR_LEVEL };
    (base, slots, geometry.slot_span())
}

/// Returns how many slots are everybody's.
pub(super) fn shared_slots() -> u64 {
    bounds().1 - 2 * MAX_GROWERS as u64
}

/// Returns grower `number`'s page of shared slot `slot`.
pub(super) fn shared(slot: u64, number: usize) -> Place {
    let (base, _, span) = bounds();
    let address = base + slot * span + number as u64 * PAGE_SIZE;
    Place { start: address, len: PAGE_SIZE, address }
}

/// Returns grower `number`'s range over two slots; the page is in the second one.
pub(super) fn pair(number: usize) -> Place {
    let (base, _, span) = bounds();
    let start = base + (shared_slots() + 2 * number as u64 + 1) * span - PAGE_SIZE;
    Place { start, len: 2 * PAGE_SIZE, address: start + PAGE_SIZE }
}

/// A growth that has returned, with its page mapped.
///
/// A growth that nobody reclaims keeps its slot for ever: see [`Grown::give_back`].
#[must_use = "reclaim it"]
pub(super) struct Grown {
    range: ManuallyDrop<SyncedRange>,
    pub(super) address: u64,
    /// What the first word of the page contains.
    pub(super) secret: u64,
}

/// Grows the kernel by `place`.
pub(super) fn grow(place: Place) -> SyncedRange {
    let range = init_mm().grow(place.start, place.len);
    figures::GROWTHS.one();
    range.unwrap_or_else(|error| panic!("growing at {:#x}: {error}", place.start))
}

/// Maps a frame in a range that was grown for `place`, with `secret` in it.
pub(super) fn map(place: Place, range: SyncedRange, secret: u64) -> Grown {
    let frame = allocator::alloc_zeroed().expect("frames enough for a storm");
    // SAFETY: the frame is this function's alone.
    unsafe { phys_to_virt(frame.address()).cast::<u64>().write(secret) };
    let rights = Prot::READ | Prot::WRITE;
    init_mm()
        .map_kernel(&range, place.address, theirs(frame), rights)
        .expect("nobody else has this page, and frames enough");
    Grown { range: ManuallyDrop::new(range), address: place.address, secret }
}

/// Grows the kernel by `place`, and maps a frame there.
pub(super) fn grow_and_map(place: Place) -> Grown {
    map(place, grow(place), crate::random::word())
}

/// Returns the address of the table that the reference's entry for `slot` leads to.
#[cfg(feature = "mutants")]
pub(super) fn table_behind(slot: usize) -> u64 {
    init_mm().arch().slots().reference().entry(slot).to_u64() & crate::mm::pte::ADDRESS_MASK
}

impl Grown {
    /// Moves the table of the page's slot to another frame, unless others have a share in the slot. The page may be used
    /// meanwhile.
    pub(super) fn move_table(&mut self) {
        match init_mm().replace(&mut self.range, self.address, Replacement::Move) {
            Ok(()) => figures::REPLACEMENTS.one(),
            Err(ReplaceError::Refused(Refusal::NotSoleOwner { .. })) => {}
            Err(error) => panic!("moving the table of {:#x}: {error}", self.address),
        }
    }

    /// Gives everything back. Nobody looks at the page any more.
    pub(super) fn give_back(self) {
        let Self { range, .. } = self;
        // SAFETY: the caller's windows are closed, and each grower has pages of its own.
        let result = unsafe {
            init_mm().reclaim(ManuallyDrop::into_inner(range), |_address, frame| {
                allocator::put(own(frame));
            })
        };
        result.expect("heap enough for a storm");
        figures::RECLAIMS.one();
    }
}

/// Returns the slots of the area, counted from the first of the kernel half.
pub(super) fn slots() -> Range<usize> {
    let (base, slots, _) = bounds();
    let first = report::slot_of(base);
    first..first + slots as usize
}

/// Makes sure that everything has been given back.
pub(super) fn check_empty() {
    let reference = init_mm().arch().slots().reference();
    for slot in slots() {
        let entry = reference.entry(slot);
        if entry.is_live() {
            figures::STALE.one();
            report::fail(format_args!(
                "slot {slot} is reclaimed, and the reference holds {entry:#x}"
            ));
        }
    }
}
