//! A page-table entry as the protocol sees it: one machine word that is either none or something.

use kernel_sync::atomic::{AtomicU32, AtomicU64, Ordering};
use static_assertions::const_assert;

use crate::frames::{Frame, Frames};

/// A page-table entry of 32 or 64 bits.
///
/// The walker of another CPU's MMU reads entries at any moment, and other CPUs' late inits and
/// growths write them, so every access is atomic and none goes through `&mut` of a live table.
pub trait Word: Copy + Eq + Send + Sync + core::fmt::Debug + 'static {
    /// The atomic cell that holds one entry.
    type Atomic: Send + Sync + 'static;

    /// The empty entry: all bits zero (`pgd_none`).
    const NONE: Self;

    /// What late init puts into a slot before it reads the reference: neither live, nor [`Word::NONE`], nor ever in a reference.
    ///
    /// All bits but the lowest are set, so that a processor which speculates through an entry that is not present (L1TF,
    /// CVE-2018-3620) goes by a physical address where no memory is.
    const UNSETTLED: Self;

    /// Tells whether the MMU follows the entry: bit 0 on every architecture whose entries have this form (x86's present
    /// bit, arm64's and RISC-V's valid bit). Neither [`Word::NONE`] nor [`Word::UNSETTLED`] is live.
    fn is_live(self) -> bool;

    /// Loads an entry.
    fn load(cell: &Self::Atomic, order: Ordering) -> Self;

    /// Stores an entry. Only for tables that nobody else can reach yet, for the reference PGD, whose writers are serialised,
    /// and for an entry of a user half that is none, where the caller has exclusive use of that: MMUs store to no such entry.
    fn store(cell: &Self::Atomic, value: Self, order: Ordering);

    /// Replaces `current` by `new`.
    ///
    /// # Errors
    ///
    /// The value found, when it was not `current`; the cell keeps it.
    fn compare_exchange(
        cell: &Self::Atomic,
        current: Self,
        new: Self,
        success: Ordering,
        failure: Ordering,
    ) -> Result<Self, Self>;

    /// Replaces whatever is there and returns it.
    fn swap(cell: &Self::Atomic, new: Self, order: Ordering) -> Self;

    /// Views a frame as a table of such entries.
    fn table<F: Frames>(frames: &F, frame: Frame) -> &[Self::Atomic];

    /// Widens to 64 bits.
    fn to_u64(self) -> u64;

    /// Narrows from 64 bits; `None` when the value does not fit.
    fn from_u64(bits: u64) -> Option<Self>;
}

macro_rules! word {
    ($word:ty, $atomic:ty, $table:ident) => {
        impl Word for $word {
            type Atomic = $atomic;

            const NONE: Self = 0;

            const UNSETTLED: Self = !1;

            #[inline]
            fn is_live(self) -> bool {
                self & 1 != 0
            }

            #[inline]
            fn load(cell: &Self::Atomic, order: Ordering) -> Self {
                cell.load(order)
            }

            #[inline]
            fn store(cell: &Self::Atomic, value: Self, order: Ordering) {
                cell.store(value, order);
            }

            #[inline]
            fn compare_exchange(
                cell: &Self::Atomic,
                current: Self,
                new: Self,
                success: Ordering,
                failure: Ordering,
            ) -> Result<Self, Self> {
                cell.compare_exchange(current, new, success, failure)
            }

            #[inline]
            fn swap(cell: &Self::Atomic, new: Self, order: Ordering) -> Self {
                cell.swap(new, order)
            }

            #[inline]
            fn table<F: Frames>(frames: &F, frame: Frame) -> &[Self::Atomic] {
                frames.$table(frame)
            }

            #[inline]
            fn to_u64(self) -> u64 {
                u64::from(self)
            }

            #[inline]
            fn from_u64(bits: u64) -> Option<Self> {
                Self::try_from(bits).ok()
            }
        }
    };
}

word!(u32, AtomicU32, table32);
word!(u64, AtomicU64, table64);

// Not live, and not none.
const_assert!(u32::UNSETTLED & 1 == 0 && u32::UNSETTLED != u32::NONE);
const_assert!(u64::UNSETTLED & 1 == 0 && u64::UNSETTLED != u64::NONE);
