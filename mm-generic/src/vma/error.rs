//! Why an edit of the set of VMAs was refused.

use core::ops::Range;

use kernel_sync::OutOfHeap;

/// Why a VMA could not be made, or a set of VMAs could not be edited; the set is as it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VmaError {
    /// An address, a length or an offset into an object is no multiple of
    /// [`PAGE_SIZE`](crate::frames::PAGE_SIZE). Round it first: only the caller knows which way.
    #[error("{addr:#x} is not a multiple of the page size")]
    Unaligned {
        /// The value that was passed, in bytes.
        addr: u64,
    },
    /// The range holds no page: its end is at its start or, after a wrapped addition, below it.
    #[error("the range at {addr:#x} is empty or ends below its start")]
    Empty {
        /// Where the range starts.
        addr: u64,
    },
    /// The range is not within the addresses that user mode may have.
    #[error("{start:#x}..{end:#x} is outside of the user addresses {limits:#x?}")]
    OutsideUser {
        /// First byte of the range.
        start: u64,
        /// One past its last byte.
        end: u64,
        /// The user addresses, in bytes.
        limits: Range<u64>,
    },
    /// A VMA is in the way. Take another place, or replace what is there.
    #[error("{start:#x}..{end:#x} overlaps the VMA {existing:#x?}")]
    Overlap {
        /// First byte of the range that was asked for.
        start: u64,
        /// One past its last byte.
        end: u64,
        /// The lowest VMA in the way, in bytes.
        existing: Range<u64>,
    },
    /// No free range is long enough. A higher bound may help, or unmapping something.
    #[error("no {len:#x} free bytes in one piece below {below:#x}")]
    NoGap {
        /// How many bytes were asked for.
        len: u64,
        /// Where they had to end at the latest.
        below: u64,
    },
    /// No VMA that the operation could work on covers the address.
    #[error("no suitable VMA covers {addr:#x}")]
    NotMapped {
        /// The lowest address that lacks a VMA.
        addr: u64,
    },
    /// The bytes of the object end beyond what 64 bits can count.
    #[error("{len:#x} bytes from offset {offset:#x} of the object overflow")]
    ObjectOverflow {
        /// Where the bytes start in the object.
        offset: u64,
        /// How many there are.
        len: u64,
    },
    /// The stack would be longer than its limit (`RLIMIT_STACK`).
    #[error("the stack would grow to {len:#x} bytes, its limit is {max_len:#x}")]
    StackLimit {
        /// How long it would have become, in bytes.
        len: u64,
        /// How long it may be, in bytes.
        max_len: u64,
    },
    /// The stack would come too close to the VMA below it.
    #[error("a stack down to {start:#x} leaves less than {guard_gap:#x} bytes above {below:#x}")]
    GuardGap {
        /// Where the stack would have started.
        start: u64,
        /// Where the VMA below it ends.
        below: u64,
        /// How many bytes must stay free between the two.
        guard_gap: u64,
    },
    /// There would be more VMAs than the set may hold (`max_map_count`). Unmapping a piece in the
    /// middle of a VMA can fail for this reason too: it leaves two VMAs where there was one.
    #[error("more than {limit} VMAs")]
    TooMany {
        /// How many the set may hold.
        limit: usize,
    },
    /// No heap for the edit. Even one that only takes away needs some, for what it hands back.
    #[error("VMAs: {0}")]
    OutOfHeap(#[from] OutOfHeap),
}
