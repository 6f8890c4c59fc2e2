//! Ranges of kernel addresses, checked once where they enter.

use thiserror::Error;

use crate::frames::PAGE_SIZE;

/// The addresses above the kernel/user boundary, both ends included (the last byte may be `u64::MAX`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KernelHalf {
    /// First byte.
    pub first: u64,
    /// Last byte.
    pub last: u64,
}

/// A non-empty, page-aligned range within a [`KernelHalf`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KernelRange {
    start: u64,
    last: u64,
}

/// A range that is no part of the kernel half.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RangeError {
    /// Zero bytes were asked for.
    #[error("kernel range at {start:#x} is empty")]
    Empty {
        /// First byte asked for.
        start: u64,
    },
    /// The start or the length is not a multiple of the page size.
    #[error(
        "kernel range {start:#x} of {len:#x} bytes is not made of whole {PAGE_SIZE}-byte pages"
    )]
    Unaligned {
        /// First byte asked for.
        start: u64,
        /// Bytes asked for.
        len: u64,
    },
    /// The range begins below, ends above, or wraps around the kernel half.
    #[error(
        "range {start:#x} of {len:#x} bytes lies outside the kernel half {first:#x}..={last:#x}"
    )]
    OutsideKernelHalf {
        /// First byte asked for.
        start: u64,
        /// Bytes asked for.
        len: u64,
        /// First byte of the kernel half.
        first: u64,
        /// Last byte of the kernel half.
        last: u64,
    },
}

impl KernelHalf {
    /// Checks that `len` bytes from `start` are whole pages of this half.
    ///
    /// # Errors
    ///
    /// [`RangeError::Empty`] for `len == 0`, [`RangeError::Unaligned`] unless both are multiples of
    /// [`PAGE_SIZE`], [`RangeError::OutsideKernelHalf`] when any byte is not in this half.
    pub const fn range(self, start: u64, len: u64) -> Result<KernelRange, RangeError> {
        if len == 0 {
            return Err(RangeError::Empty { start });
        }
        if !start.is_multiple_of(PAGE_SIZE) || !len.is_multiple_of(PAGE_SIZE) {
            return Err(RangeError::Unaligned { start, len });
        }
        match start.checked_add(len - 1) {
            Some(last) if start >= self.first && last <= self.last => {
                Ok(KernelRange { start, last })
            }
            _ => Err(RangeError::OutsideKernelHalf {
                start,
                len,
                first: self.first,
                last: self.last,
            }),
        }
    }
}

impl KernelRange {
    /// First byte.
    #[must_use]
    pub const fn start(self) -> u64 {
        self.start
    }

    /// Last byte, included.
    #[must_use]
    pub const fn last(self) -> u64 {
        self.last
    }

    /// Length in bytes. A range never spans all 2^64 of them.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a kernel range is never empty")]
    pub const fn len(self) -> u64 {
        self.last - self.start + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF: KernelHalf = KernelHalf { first: 0xffff_8000_0000_0000, last: u64::MAX };

    #[test]
    fn a_range_up_to_the_last_byte_of_the_address_space_is_accepted() {
        let range = HALF.range(u64::MAX - 0xfff, 0x1000).unwrap();
        assert_eq!((range.last(), range.len()), (u64::MAX, 0x1000));
    }

    #[test]
    fn bad_ranges_are_refused_with_their_values() {
        let start = HALF.first;
        assert_eq!(HALF.range(start, 0), Err(RangeError::Empty { start }));
        assert_eq!(
            HALF.range(start + 1, 0x1000),
            Err(RangeError::Unaligned { start: start + 1, len: 0x1000 })
        );
        assert_eq!(HALF.range(start, 0x1800), Err(RangeError::Unaligned { start, len: 0x1800 }));
        for (start, len) in [
            (0x1000, 0x1000),
            (HALF.first - 0x1000, 0x2000),
            (u64::MAX - 0xfff, 0x2000),
            (0xffff_8000_0000_0000, 0xffff_f000_0000_0000),
        ] {
            assert_eq!(
                HALF.range(start, len),
                Err(RangeError::OutsideKernelHalf {
                    start,
                    len,
                    first: HALF.first,
                    last: HALF.last
                })
            );
        }
    }
}
