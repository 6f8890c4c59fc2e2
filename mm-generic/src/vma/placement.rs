//! Where mappings go and how they grow: free ranges for `mmap`, stacks downwards, `brk` upwards.

use super::area::check_aligned;
use super::{Backing, Pieces, Vma, VmaError, VmaFlags, VmaSet};
use crate::frames::PAGE_SIZE;

impl<B: Clone + PartialEq> VmaSet<B> {
    /// Returns the start of `len` free bytes, without mapping them.
    ///
    /// A `hint`, rounded up to a page, is taken if it is within the limits and free, whether or
    /// not it is below `below`. Otherwise the highest place that ends at `below` or lower wins, as
    /// in Linux's top-down layout, where `below` (`mmap_base`) leaves the stack room to grow. Linux
    /// then tries above `mmap_base` as well; pass the end of the limits to do so.
    ///
    /// The search goes from VMA to VMA downwards, so it takes time in proportion to the VMAs above
    /// the gap it finds. A tree that knows the largest gap below each node would be faster with
    /// tens of thousands of VMAs and no gap among them, and slower and longer otherwise.
    ///
    /// # Errors
    ///
    /// - [`VmaError::Unaligned`]: `len` is no multiple of the page size.
    /// - [`VmaError::Empty`]: `len` is 0.
    /// - [`VmaError::NoGap`]: no free range that ends at `below` or lower is long enough.
    pub fn find_gap(&self, len: u64, hint: Option<u64>, below: u64) -> Result<u64, VmaError> {
        check_aligned(len)?;
        if len == 0 {
            return Err(VmaError::Empty { addr: hint.unwrap_or(below) });
        }
        if let Some(start) = hint.and_then(|hint| hint.checked_next_multiple_of(PAGE_SIZE))
            && let Some(end) = start.checked_add(len)
            && self.check_limits(&(start..end)).is_ok()
            && self.overlapping(&(start..end)).next().is_none()
        {
            return Ok(start);
        }
        let limits = self.limits();
        // `top` is where the gap under inspection ends; it goes down from VMA to VMA.
        let mut top = below.min(limits.end) / PAGE_SIZE * PAGE_SIZE;
        let fits = |bottom: u64, top: u64| top.checked_sub(bottom).is_some_and(|gap| gap >= len);
        while let Some(vma) = top.checked_sub(1).and_then(|last| self.at_or_below(last)) {
            if fits(vma.end(), top) {
                return Ok(top - len);
            }
            top = vma.start();
        }
        if fits(limits.start, top) { Ok(top - len) } else { Err(VmaError::NoGap { len, below }) }
    }

    /// Extends the stack above `addr` downwards until it covers `addr`, and returns its VMA.
    ///
    /// This is the fault handler's second try, after [`find`](Self::find) found nothing; `addr`
    /// need not be on a page boundary. If another thread's fault has extended the stack meanwhile,
    /// the VMA is returned as it is.
    ///
    /// The stack stays at least `guard_gap` bytes away from the VMA below it, so that a function
    /// with a large frame faults instead of writing into a heap ("stack clash", CVE-2017-1000364).
    /// A VMA without any rights does not need to be kept away from: it is a guard itself. The
    /// VMA grows to at most `max_len` bytes.
    ///
    /// # Errors
    ///
    /// - [`VmaError::NotMapped`]: the next VMA above `addr` is no anonymous [`VmaFlags::GROWS_DOWN`]
    ///   VMA, or there is none.
    /// - [`VmaError::StackLimit`]: the VMA would be longer than `max_len`.
    /// - [`VmaError::GuardGap`]: the VMA below would be closer than `guard_gap`.
    /// - [`VmaError::OutsideUser`]: `addr` is below the limits.
    pub fn grow_down(
        &mut self,
        addr: u64,
        guard_gap: u64,
        max_len: u64,
    ) -> Result<&Vma<B>, VmaError> {
        if self.find(addr).is_none() {
            let grown = self.stack_growth(addr, guard_gap, max_len)?;
            self.insert(grown)?;
        }
        // Covered now in either case: the error stands where a panic would, and cannot come out.
        self.find(addr).ok_or(VmaError::NotMapped { addr })
    }

    /// Returns the VMA that has to be put under the stack above `addr` to make it cover `addr`.
    fn stack_growth(&self, addr: u64, guard_gap: u64, max_len: u64) -> Result<Vma<B>, VmaError> {
        let start = addr / PAGE_SIZE * PAGE_SIZE;
        let stack = self
            .at_or_above(start)
            .filter(|vma| vma.flags().contains(VmaFlags::GROWS_DOWN))
            .filter(|vma| matches!(vma.backing(), Backing::Anonymous))
            .ok_or(VmaError::NotMapped { addr })?;
        let len = stack.end() - start;
        if len > max_len {
            return Err(VmaError::StackLimit { len, max_len });
        }
        if let Some(previous) = self.at_or_below(start)
            && !previous.prot().is_empty()
            && start - previous.end() < guard_gap
        {
            return Err(VmaError::GuardGap { start, below: previous.end(), guard_gap });
        }
        stack.anonymous_like(start..stack.start())
    }

    /// Moves the end of an anonymous VMA from `old_end` to `new_end` (`brk`).
    ///
    /// A heap that another anonymous mapping follows is one VMA with it, so the VMA is found by the
    /// page below `old_end` and may itself end higher. Returns what was unmapped when shrinking,
    /// which may be the whole VMA, and nothing when extending.
    ///
    /// # Errors
    ///
    /// - [`VmaError::Unaligned`]: `old_end` or `new_end` is no multiple of the page size.
    /// - [`VmaError::NotMapped`]: no anonymous VMA covers the page below `old_end`, or it starts
    ///   above `new_end`. Shrink a heap that consists of several VMAs with
    ///   [`remove`](Self::remove).
    /// - [`VmaError::Overlap`]: something is mapped between `old_end` and `new_end`.
    /// - [`VmaError::OutsideUser`]: `new_end` is above the limits.
    /// - [`VmaError::TooMany`]: shrinking would split the VMA, and the set is full.
    pub fn resize_end(&mut self, old_end: u64, new_end: u64) -> Result<Pieces<B>, VmaError> {
        check_aligned(old_end)?;
        check_aligned(new_end)?;
        let heap = old_end
            .checked_sub(1)
            .and_then(|last| self.find(last))
            .filter(|vma| matches!(vma.backing(), Backing::Anonymous))
            .ok_or(VmaError::NotMapped { addr: old_end.saturating_sub(PAGE_SIZE) })?;
        if new_end < heap.start() {
            return Err(VmaError::NotMapped { addr: new_end });
        }
        if new_end < old_end {
            return self.remove(new_end..old_end);
        }
        if new_end > old_end {
            let grown = heap.anonymous_like(old_end..new_end)?;
            self.insert(grown)?;
        }
        Ok(Pieces::default())
    }
}
