//! The set of VMAs: looking up, mapping, unmapping and changing rights.

use alloc::vec::{self, Vec};
use core::ops::{Deref, Range};

use kernel_sync::OutOfHeap;

use super::area::check_range;
use super::{Vma, VmaError, VmaFlags};
use crate::prot::Prot;

/// How many VMAs a set may hold unless it is told otherwise: Linux's default for the sysctl
/// `vm.max_map_count`.
pub const DEFAULT_MAX_MAP_COUNT: usize = 65530;

/// VMAs, or parts of them, as they were before an edit, in address order.
///
/// Page tables may still map pages there as before, and TLBs may hold the translations. Zap or
/// rewrite the entries and flush before the owner's lock is dropped.
#[must_use = "page tables may still map these pages as they were before"]
#[derive(Debug, PartialEq, Eq)]
pub struct Pieces<B>(Vec<Vma<B>>);

impl<B> Default for Pieces<B> {
    /// No pieces: the edit took nothing away.
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<B> Deref for Pieces<B> {
    type Target = [Vma<B>];

    fn deref(&self) -> &[Vma<B>] {
        &self.0
    }
}

impl<B> IntoIterator for Pieces<B> {
    type Item = Vma<B>;
    type IntoIter = vec::IntoIter<Vma<B>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// The virtual memory areas of one address space, in address order.
///
/// `B` is the kernel's handle for an object that backs mappings, usually a counted reference to a
/// file; two handles are equal when they mean the same object.
///
/// The VMAs lie one behind the other in memory: a look-up is a binary search, fork's copy one allocation, and an edit moves
/// what lies above it, 4 MiB at most with Linux's default limit. A tree would not move anything, and `alloc` has none that can be refused memory
/// for a node without aborting.
#[derive(Debug, PartialEq, Eq)]
pub struct VmaSet<B> {
    /// In address order.
    areas: Vec<Vma<B>>,
    limits: Range<u64>,
    max_map_count: usize,
    mapped: u64,
}

impl<B> VmaSet<B> {
    /// Makes an empty set for the user addresses `limits`, in bytes, that may hold
    /// [`DEFAULT_MAX_MAP_COUNT`] VMAs.
    ///
    /// With 48-bit addresses, end the limits one page below the canonical hole: `SYSRET` to an
    /// address in the hole faults in kernel mode on Intel processors, and a `SYSCALL` in the last
    /// two bytes of that page would return there.
    ///
    /// # Panics
    ///
    /// When the limits are empty or not on page boundaries.
    pub fn new(limits: Range<u64>) -> Self {
        Self::with_max_map_count(limits, DEFAULT_MAX_MAP_COUNT)
    }

    /// Makes an empty set for the user addresses `limits` that may hold `max_map_count` VMAs.
    ///
    /// # Panics
    ///
    /// When the limits are empty or not on page boundaries.
    pub fn with_max_map_count(limits: Range<u64>, max_map_count: usize) -> Self {
        // The limits are a constant of the geometry, so a bad value is a bug of the kernel and not
        // a condition that a caller could handle.
        assert!(check_range(&limits).is_ok(), "user limits {limits:#x?} are not whole pages");
        Self { areas: Vec::new(), limits, max_map_count, mapped: 0 }
    }

    /// Returns the user addresses that VMAs may cover, in bytes.
    pub fn limits(&self) -> Range<u64> {
        self.limits.clone()
    }

    /// Returns the number of VMAs (Linux's `map_count`).
    pub fn len(&self) -> usize {
        self.areas.len()
    }

    /// Tells whether nothing is mapped.
    pub fn is_empty(&self) -> bool {
        self.areas.is_empty()
    }

    /// Returns how many bytes the VMAs cover, which `RLIMIT_AS` bounds (Linux's `total_vm`, there
    /// in pages).
    pub fn mapped_bytes(&self) -> u64 {
        self.mapped
    }

    /// Iterates over the VMAs in address order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Vma<B>> + ExactSizeIterator {
        self.areas.iter()
    }

    /// Returns the VMA that covers `addr`, which need not be on a page boundary.
    ///
    /// Unlike Linux's `find_vma` it never returns the next VMA above.
    pub fn find(&self, addr: u64) -> Option<&Vma<B>> {
        self.at_or_below(addr).filter(|vma| addr < vma.end())
    }

    /// Returns the highest VMA that starts at `addr` or below.
    pub(super) fn at_or_below(&self, addr: u64) -> Option<&Vma<B>> {
        let above = self.areas.partition_point(|vma| vma.start() <= addr);
        self.areas[..above].last()
    }

    /// Returns the lowest VMA that starts at `addr` or above.
    pub(super) fn at_or_above(&self, addr: u64) -> Option<&Vma<B>> {
        self.areas.get(self.areas.partition_point(|vma| vma.start() < addr))
    }

    /// Returns the places of the VMAs that overlap `range` or end or start right beside it.
    fn touching(&self, range: &Range<u64>) -> Range<usize> {
        let first = self.areas.partition_point(|vma| vma.end() < range.start);
        first..self.areas.partition_point(|vma| vma.start() <= range.end)
    }

    /// Iterates over the VMAs that share at least a page with `range`.
    pub(super) fn overlapping(&self, range: &Range<u64>) -> impl Iterator<Item = &Vma<B>> {
        let Range { start, end } = *range;
        let touching = &self.areas[self.touching(range)];
        touching.iter().filter(move |vma| vma.start() < end && start < vma.end())
    }

    /// Refuses a range that is not within the user addresses.
    pub(super) fn check_limits(&self, range: &Range<u64>) -> Result<(), VmaError> {
        if self.limits.start <= range.start && range.end <= self.limits.end {
            return Ok(());
        }
        Err(VmaError::OutsideUser {
            start: range.start,
            end: range.end,
            limits: self.limits.clone(),
        })
    }
}

impl<B: Clone + PartialEq> VmaSet<B> {
    /// Maps `vma` where nothing is mapped yet (`mmap` with `MAP_FIXED_NOREPLACE`).
    ///
    /// # Errors
    ///
    /// - [`VmaError::OutsideUser`]: it is not within the limits.
    /// - [`VmaError::Overlap`]: something is mapped there.
    /// - [`VmaError::TooMany`]: the set is full, and no neighbour takes the VMA in.
    /// - [`VmaError::OutOfHeap`]: there is no heap for the edit.
    pub fn insert(&mut self, vma: Vma<B>) -> Result<(), VmaError> {
        let range = vma.range();
        self.check_limits(&range)?;
        if let Some(existing) = self.overlapping(&range).next() {
            let existing = existing.range();
            return Err(VmaError::Overlap { start: range.start, end: range.end, existing });
        }
        let removed = self.splice(&range, [vma])?;
        debug_assert!(removed.is_empty(), "nothing overlapped {range:#x?}");
        Ok(())
    }

    /// Maps `vma` over whatever is there (`mmap` with `MAP_FIXED`), and returns what was there.
    ///
    /// # Errors
    ///
    /// - [`VmaError::OutsideUser`]: it is not within the limits.
    /// - [`VmaError::TooMany`]: the set would hold too many VMAs.
    /// - [`VmaError::OutOfHeap`]: there is no heap for the edit.
    pub fn replace(&mut self, vma: Vma<B>) -> Result<Pieces<B>, VmaError> {
        let range = vma.range();
        self.check_limits(&range)?;
        self.splice(&range, [vma])
    }

    /// Unmaps the bytes of `range` (`munmap`), and returns what was there. Holes are no error.
    ///
    /// # Errors
    ///
    /// - [`VmaError::Unaligned`], [`VmaError::Empty`]: the range does not consist of whole pages.
    /// - [`VmaError::OutsideUser`]: it is not within the limits.
    /// - [`VmaError::TooMany`]: a VMA would be split, and the set is full.
    /// - [`VmaError::OutOfHeap`]: there is no heap for the edit, not even one that only takes away.
    pub fn remove(&mut self, range: Range<u64>) -> Result<Pieces<B>, VmaError> {
        check_range(&range)?;
        self.check_limits(&range)?;
        self.splice(&range, [])
    }

    /// Gives the bytes of `range` the rights `prot` (`mprotect`).
    ///
    /// Returns the pieces whose rights were different, with those they had: where rights went
    /// away, page-table entries and TLBs must lose them. Linux changes what comes before a hole and
    /// then fails; this changes nothing.
    ///
    /// # Errors
    ///
    /// - [`VmaError::Unaligned`], [`VmaError::Empty`]: the range does not consist of whole pages.
    /// - [`VmaError::OutsideUser`]: it is not within the limits.
    /// - [`VmaError::NotMapped`]: a page of the range is not mapped; the lowest one is named.
    /// - [`VmaError::TooMany`]: a VMA would be split, and the set is full.
    /// - [`VmaError::OutOfHeap`]: there is no heap for the edit, not even one that only takes away.
    pub fn protect(&mut self, range: Range<u64>, prot: Prot) -> Result<Pieces<B>, VmaError> {
        check_range(&range)?;
        self.check_limits(&range)?;
        let mut changed = with_room(self.touching(&range).len())?;
        let mut covered = range.start;
        for vma in self.overlapping(&range) {
            if covered < vma.start() {
                break;
            }
            covered = vma.end();
            changed.extend(vma.clipped(&range).map(|piece| piece.with_prot(prot)));
        }
        if covered < range.end {
            return Err(VmaError::NotMapped { addr: covered });
        }
        let mut pieces = self.splice(&range, changed)?;
        pieces.0.retain(|piece| piece.prot() != prot);
        Ok(pieces)
    }

    /// Returns the set that the child of a fork starts with: a copy without the VMAs that carry
    /// [`VmaFlags::DONT_COPY`] (Linux's `dup_mmap`).
    ///
    /// # Errors
    ///
    /// [`OutOfHeap`].
    pub fn fork_copy(&self) -> Result<Self, OutOfHeap> {
        let copied = |vma: &&Vma<B>| !vma.flags().contains(VmaFlags::DONT_COPY);
        // Leaving VMAs out leaves holes and brings no neighbours together: the copy is merged.
        let mut areas = with_room(self.iter().filter(copied).count())?;
        areas.extend(self.iter().filter(copied).cloned());
        let mapped = areas.iter().map(Vma::size).sum();
        Ok(Self { areas, limits: self.limits.clone(), max_map_count: self.max_map_count, mapped })
    }

    /// Puts `middle` in the place of all that is mapped in `range`, merges what can be merged at
    /// its ends and within it, and returns what was in `range` before.
    ///
    /// Every edit ends here. `middle` lies within `range`, in address order and without overlap.
    ///
    /// INVARIANT: the VMAs that overlap or touch `range` are all that the edit can change. Their
    /// successors are made from `middle` and from what sticks out of `range` at both ends, in
    /// address order, each merged into the one before it where possible. VMAs further away do not
    /// touch any of these. So the set stays sorted, apart and merged.
    fn splice(
        &mut self,
        range: &Range<u64>,
        middle: impl IntoIterator<Item = Vma<B>, IntoIter: ExactSizeIterator>,
    ) -> Result<Pieces<B>, VmaError> {
        let middle = middle.into_iter();
        let touching = self.touching(range);
        let before = &self.areas[touching.clone()];
        // The first and the last can be the same VMA, which then sticks out at both ends.
        let head = before.first().and_then(|vma| vma.clipped(&(0..range.start)));
        let tail = before.last().and_then(|vma| vma.clipped(&(range.end..u64::MAX)));
        let mut after: Vec<Vma<B>> = with_room(middle.len() + 2)?;
        for vma in head.into_iter().chain(middle).chain(tail) {
            if !after.last_mut().is_some_and(|previous| previous.absorb(&vma)) {
                after.push(vma);
            }
        }
        if self.areas.len() - before.len() + after.len() > self.max_map_count {
            return Err(VmaError::TooMany { limit: self.max_map_count });
        }
        let mut removed = with_room(before.len())?;
        removed.extend(before.iter().filter_map(|vma| vma.clipped(range)));
        let sizes = |vmas: &[Vma<B>]| vmas.iter().map(Vma::size).sum::<u64>();
        let mapped = self.mapped - sizes(before) + sizes(&after);
        reserve(&mut self.areas, after.len().saturating_sub(touching.len()))?;

        // From here on nothing fails: the room is there.
        self.mapped = mapped;
        drop(self.areas.splice(touching, after));
        Ok(Pieces(removed))
    }
}

/// Makes an empty list with room for `len` elements.
fn with_room<T>(len: usize) -> Result<Vec<T>, OutOfHeap> {
    let mut list = Vec::new();
    list.try_reserve_exact(len).map_err(|_| OutOfHeap { bytes: len * size_of::<T>() })?;
    Ok(list)
}

/// Makes room for `more` elements, and for later ones with them.
fn reserve<T>(list: &mut Vec<T>, more: usize) -> Result<(), OutOfHeap> {
    list.try_reserve(more).map_err(|_| OutOfHeap { bytes: (list.len() + more) * size_of::<T>() })
}
