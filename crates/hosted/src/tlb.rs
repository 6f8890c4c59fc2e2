//! What a CPU remembers of the kernel half: the paging-structure cache for top-level entries.
//!
//! The page walk of [`crate::mmu`] caches nothing, so it could not show that a flush is missing. A [`KernelTlb`] does what
//! a processor may do (Intel SDM volume 3, 4.10.3): it goes on using a slot's entry that it has read once, from whatever PGD was
//! loaded then, until the entry is flushed. Only live entries are remembered (4.10.2.3).
//!
//! A flush is one counter for all CPUs: a CPU whose memory is older than the counter forgets it before it translates
//! again. That is the end of a shootdown as its sender sees it; how interrupts are sent and answered is the kernel's business.

use std::collections::HashMap;

use kernel_sync::atomic::{AtomicU64, Ordering};

/// Flushes so far.
static FLUSHES: AtomicU64 = AtomicU64::new(0);

/// Makes every CPU forget what it remembers of the kernel half, before its next translation.
pub fn flush_all() {
    FLUSHES.fetch_add(1, Ordering::SeqCst);
}

/// One CPU's memory of top-level entries.
#[derive(Debug, Default)]
pub struct KernelTlb {
    flushes: u64,
    entries: HashMap<u64, u64>,
}

impl KernelTlb {
    /// The entry of `slot`: the one remembered, or what `read` finds in the PGD that is loaded, if it is live.
    pub fn entry(&mut self, slot: u64, read: impl FnOnce() -> u64) -> u64 {
        let flushes = FLUSHES.load(Ordering::SeqCst);
        if flushes != self.flushes {
            self.entries.clear();
            self.flushes = flushes;
        }
        if let Some(&entry) = self.entries.get(&slot) {
            return entry;
        }
        let entry = read();
        if entry & 1 != 0 {
            self.entries.insert(slot, entry);
        }
        entry
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_live_entry_is_remembered_until_it_is_flushed_and_an_absent_one_is_not() {
        let mut tlb = KernelTlb::default();
        assert_eq!(tlb.entry(3, || 0x1001), 0x1001);
        assert_eq!(tlb.entry(4, || 0), 0);
        // Tests of other threads may flush at any moment; a few tries find a quiet one.
        let remembered = (0..1000).any(|_| {
            tlb.entry(3, || 0x2001) == 0x1001 || {
                tlb.entries.clear();
                tlb.entry(3, || 0x1001) != 0x1001
            }
        });
        assert!(remembered);
        assert_eq!(tlb.entry(4, || 0x4001), 0x4001);
        flush_all();
        assert_eq!(tlb.entry(3, || 0x3001), 0x3001);
    }
}
