//! One virtual memory area: a run of pages with the same rights and one source of their bytes.

use core::ops::Range;

use bitflags::bitflags;

use super::VmaError;
use crate::frames::PAGE_SIZE;
use crate::prot::Prot;

bitflags! {
    /// How a VMA behaves, beyond what user mode may do with its pages.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub struct VmaFlags: u8 {
        /// Stores are seen by everyone who maps the same pages (`MAP_SHARED`); without it the
        /// first store copies the page. Memory that stays shared across fork wherever it is first
        /// touched needs an object to be found by, as Linux makes a shmem file for it.
        const SHARED = 1;
        /// A fault below the VMA extends it downwards: a stack. Only anonymous VMAs do.
        const GROWS_DOWN = 2;
        /// The child of a fork does not get this VMA (`MADV_DONTFORK`).
        const DONT_COPY = 4;
    }
}

/// Where the first contents of a VMA's pages come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Backing<B> {
    /// Zeros.
    Anonymous,
    /// Bytes `offset..offset + len` of the kernel's object, usually a file, appear from the VMA's
    /// start. What the VMA has beyond them reads as zeros: the `.bss` tail of an ELF segment.
    ///
    /// A split gives each part its share of the bytes. A part that lies wholly in the zero tail
    /// keeps the object with a `len` of 0 and an `offset` that says where the bytes ended; it is
    /// not [`Anonymous`](Self::Anonymous), so the parts of a segment merge with each other again
    /// and never with a heap that happens to follow.
    Object {
        /// The object, by a handle that is cheap to clone.
        object: B,
        /// Where the bytes start in the object.
        offset: u64,
        /// How many bytes there are, at most the size of the VMA.
        len: u64,
    },
}

/// A virtual memory area.
///
/// It is never empty and begins and ends on page boundaries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vma<B> {
    range: Range<u64>,
    prot: Prot,
    flags: VmaFlags,
    backing: Backing<B>,
}

impl<B> Vma<B> {
    /// Makes a VMA over the bytes of `range`.
    ///
    /// Of an object, no more bytes are kept than the range has room for.
    ///
    /// # Errors
    ///
    /// - [`VmaError::Unaligned`]: the start, the end or the offset into the object is no multiple
    ///   of the page size.
    /// - [`VmaError::Empty`]: the range holds no page.
    /// - [`VmaError::ObjectOverflow`]: `offset + len` of the object exceeds 64 bits.
    pub fn new(
        range: Range<u64>,
        prot: Prot,
        flags: VmaFlags,
        mut backing: Backing<B>,
    ) -> Result<Self, VmaError> {
        check_range(&range)?;
        if let Backing::Object { offset, len, .. } = &mut backing {
            // Two mappings of a file at different distances from a page boundary could not share
            // a page, so mmap(2) refuses them, and so does this.
            check_aligned(*offset)?;
            if offset.checked_add(*len).is_none() {
                return Err(VmaError::ObjectOverflow { offset: *offset, len: *len });
            }
            *len = (*len).min(range.end - range.start);
        }
        Ok(Self { range, prot, flags, backing })
    }

    /// Returns the addresses covered, in bytes.
    pub fn range(&self) -> Range<u64> {
        self.range.clone()
    }

    /// Returns the address of the first byte.
    pub fn start(&self) -> u64 {
        self.range.start
    }

    /// Returns the address one past the last byte.
    pub fn end(&self) -> u64 {
        self.range.end
    }

    /// Returns the number of bytes covered, a multiple of the page size.
    pub fn size(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// Returns what user mode may do with the pages.
    pub fn prot(&self) -> Prot {
        self.prot
    }

    /// Returns how the VMA behaves.
    pub fn flags(&self) -> VmaFlags {
        self.flags
    }

    /// Returns where the first contents of the pages come from.
    pub fn backing(&self) -> &Backing<B> {
        &self.backing
    }

    /// Tells whether an object is behind the VMA.
    #[must_use]
    pub fn has_object(&self) -> bool {
        matches!(self.backing, Backing::Object { .. })
    }

    /// Returns the object that fills the page around `addr`, and which of its bytes do.
    ///
    /// The bytes go to the start of the page; the rest of it is zeros. `None` means that the whole
    /// page starts out as zeros, or that `addr` is outside of the VMA.
    pub fn page_source(&self, addr: u64) -> Option<(&B, Range<u64>)> {
        let Backing::Object { object, offset, len } = &self.backing else { return None };
        if !self.range.contains(&addr) {
            return None;
        }
        let into = (addr - self.range.start) / PAGE_SIZE * PAGE_SIZE;
        let left = len.checked_sub(into).filter(|left| *left > 0)?;
        let first = offset + into;
        Some((object, first..first + left.min(PAGE_SIZE)))
    }
}

impl<B: Clone + PartialEq> Vma<B> {
    /// Returns the part of the VMA that lies within `bounds`, which are page boundaries.
    pub(super) fn clipped(&self, bounds: &Range<u64>) -> Option<Self> {
        let range = self.range.start.max(bounds.start)..self.range.end.min(bounds.end);
        if range.is_empty() {
            return None;
        }
        let backing = match &self.backing {
            Backing::Anonymous => Backing::Anonymous,
            Backing::Object { object, offset, len } => {
                let skipped = (range.start - self.range.start).min(*len);
                Backing::Object {
                    object: object.clone(),
                    offset: offset + skipped,
                    len: (len - skipped).min(range.end - range.start),
                }
            }
        };
        Some(Self { range, prot: self.prot, flags: self.flags, backing })
    }

    /// Returns the VMA with other rights.
    pub(super) fn with_prot(self, prot: Prot) -> Self {
        Self { prot, ..self }
    }

    /// Returns an anonymous VMA over `range` that behaves as this one does.
    pub(super) fn anonymous_like(&self, range: Range<u64>) -> Result<Self, VmaError> {
        Self::new(range, self.prot, self.flags, Backing::Anonymous)
    }

    /// Takes in `next` if the two are one VMA in all but name; tells whether it did.
    ///
    /// Whether two VMAs merge depends only on the pages at the seam, so the order in which a run
    /// of VMAs is merged does not change what comes out.
    pub(super) fn absorb(&mut self, next: &Self) -> bool {
        if self.range.end != next.range.start || self.prot != next.prot || self.flags != next.flags
        {
            return false;
        }
        let size = self.size();
        match (&mut self.backing, &next.backing) {
            (Backing::Anonymous, Backing::Anonymous) => {}
            (
                Backing::Object { object, offset, len },
                Backing::Object { object: next_object, offset: next_offset, len: next_len },
            ) if object == next_object
                && *offset + *len == *next_offset
                // Bytes of the object may follow its bytes, zeros may follow anything.
                && (*len == size || *next_len == 0) =>
            {
                *len += *next_len;
            }
            _ => return false,
        }
        self.range.end = next.range.end;
        true
    }
}

/// Refuses a value that is no multiple of the page size.
pub(super) fn check_aligned(addr: u64) -> Result<(), VmaError> {
    if addr.is_multiple_of(PAGE_SIZE) { Ok(()) } else { Err(VmaError::Unaligned { addr }) }
}

/// Refuses a range that does not consist of whole pages, or of none.
pub(super) fn check_range(range: &Range<u64>) -> Result<(), VmaError> {
    check_aligned(range.start)?;
    check_aligned(range.end)?;
    if range.is_empty() { Err(VmaError::Empty { addr: range.start }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RW: Prot = Prot::READ.union(Prot::WRITE);

    /// Pages 1 to 3 of a segment with 0x1234 bytes from offset 0x5000 of file 'f'.
    fn segment() -> Vma<char> {
        let backing = Backing::Object { object: 'f', offset: 0x5000, len: 0x1234 };
        Vma::new(0x1000..0x4000, RW, VmaFlags::empty(), backing).unwrap()
    }

    #[test]
    fn refuses_ranges_that_are_not_whole_pages() {
        let make =
            |range| Vma::<char>::new(range, RW, VmaFlags::empty(), Backing::Anonymous).map(drop);
        assert_eq!(make(0x1001..0x2000), Err(VmaError::Unaligned { addr: 0x1001 }));
        assert_eq!(make(0x1000..0x2fff), Err(VmaError::Unaligned { addr: 0x2fff }));
        assert_eq!(make(0x1000..0x1000), Err(VmaError::Empty { addr: 0x1000 }));
        // The end of a range that an addition carried past the last address.
        let wrapped = Range { start: 0xffff_ffff_ffff_f000, end: 0x1000 };
        assert_eq!(make(wrapped), Err(VmaError::Empty { addr: 0xffff_ffff_ffff_f000 }));
    }

    #[test]
    fn refuses_object_bytes_that_are_misplaced_or_overflow() {
        let make = |offset, len| {
            let backing = Backing::Object { object: 'f', offset, len };
            Vma::new(0x1000..0x2000, RW, VmaFlags::empty(), backing).map(drop)
        };
        assert_eq!(make(0x10, 1), Err(VmaError::Unaligned { addr: 0x10 }));
        let offset = 0xffff_ffff_ffff_f000;
        assert_eq!(make(offset, 0x1000), Err(VmaError::ObjectOverflow { offset, len: 0x1000 }));
        assert_eq!(make(offset, 0xfff), Ok(()));
    }

    #[test]
    fn keeps_no_more_object_bytes_than_there_is_room_for() {
        let backing = Backing::Object { object: 'f', offset: 0, len: 0x9000 };
        let vma = Vma::new(0x1000..0x3000, RW, VmaFlags::empty(), backing).unwrap();
        assert_eq!(*vma.backing(), Backing::Object { object: 'f', offset: 0, len: 0x2000 });
    }

    #[test]
    fn each_page_gets_its_share_of_the_object() {
        let vma = segment();
        assert_eq!(vma.page_source(0xfff), None);
        assert_eq!(vma.page_source(0x1fff), Some((&'f', 0x5000..0x6000)));
        assert_eq!(vma.page_source(0x2000), Some((&'f', 0x6000..0x6234)));
        assert_eq!(vma.page_source(0x3000), None);
        assert_eq!(vma.page_source(0x4000), None);
        // Bytes that end with a page leave none for the next.
        let backing = Backing::Object { object: 'f', offset: 0, len: 0x1000 };
        let whole = Vma::new(0x1000..0x3000, RW, VmaFlags::empty(), backing).unwrap();
        assert_eq!(whole.page_source(0x2000), None);
    }

    #[test]
    fn parts_of_a_segment_hold_their_bytes_and_merge_again() {
        let whole = segment();
        let at = |start| whole.clipped(&(start..start + PAGE_SIZE)).unwrap();
        let object = |offset, len| Backing::Object { object: 'f', offset, len };
        assert_eq!(*at(0x1000).backing(), object(0x5000, 0x1000));
        assert_eq!(*at(0x2000).backing(), object(0x6000, 0x234));
        assert_eq!(*at(0x3000).backing(), object(0x6234, 0));
        assert_eq!(whole.clipped(&(0x4000..0x5000)), None);

        // From the left, and from the right.
        let mut left = at(0x1000);
        assert!(left.absorb(&at(0x2000)) && left.absorb(&at(0x3000)));
        assert_eq!(left, whole);
        let (mut first, mut second) = (at(0x1000), at(0x2000));
        assert!(second.absorb(&at(0x3000)) && first.absorb(&second));
        assert_eq!(first, whole);
    }

    #[test]
    fn only_continuations_merge() {
        let vma = |range, prot, flags, backing| Vma::new(range, prot, flags, backing).unwrap();
        let file = |object, offset, len| Backing::Object { object, offset, len };
        let none = VmaFlags::empty();
        let left = vma(0x1000..0x2000, RW, none, file('f', 0, 0x1000));
        let merges = |right: Vma<char>| left.clone().absorb(&right);

        assert!(merges(vma(0x2000..0x3000, RW, none, file('f', 0x1000, 0x10))));
        assert!(!merges(vma(0x3000..0x4000, RW, none, file('f', 0x1000, 0x10))), "a hole");
        assert!(!merges(vma(0x2000..0x3000, Prot::READ, none, file('f', 0x1000, 0x10))));
        assert!(!merges(vma(0x2000..0x3000, RW, VmaFlags::SHARED, file('f', 0x1000, 0x10))));
        assert!(!merges(vma(0x2000..0x3000, RW, none, file('g', 0x1000, 0x10))), "another file");
        assert!(!merges(vma(0x2000..0x3000, RW, none, file('f', 0x2000, 0x10))), "other bytes");
        assert!(!merges(vma(0x2000..0x3000, RW, none, Backing::Anonymous)), "a heap");
        // A zero tail ends what the object can fill: its next bytes belong elsewhere.
        let mut short = vma(0x1000..0x3000, RW, none, file('f', 0, 0x1000));
        assert!(!short.absorb(&vma(0x3000..0x4000, RW, none, file('f', 0x1000, 0x1000))));
    }
}
