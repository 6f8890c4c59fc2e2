//! The ledger: which kernel addresses have been handed out, what each must show in every address space, and which are gone.
//!
//! A page of the ledger changes while CPUs look at it. Each has a version, odd while it changes: whoever finds the same even version
//! before and after a translation has translated what the page said, and what he saw counts. The same goes for the entry of the
//! page's slot, which must be the reference's whenever no replacement is under way.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};

use hosted::cpu::HostRcu;
use hosted::frames::HostFrames;
use hosted::mmu::{Access, PageFault, Reason, translate};
use hosted::tlb::KernelTlb;
use kernel_sync::Rcu;
use mm_generic::frames::Frame;

use crate::half::Half;
use crate::tally::Tally;

/// A page of the kernel half.
#[derive(Default)]
struct Page {
    version: AtomicU64,
    /// 0 before the page was first used.
    addr: AtomicU64,
    /// The frame that the page must show, or [`GONE`].
    phys: AtomicU64,
    /// Odd while the entry of the page's slot may be changing, although the page shows the same.
    entry: AtomicU64,
}

/// Accessed and dirty.
const SET_BY_MMU: u64 = 0x60;

/// Stands for a page that has been reclaimed: no address space shows anything there.
const GONE: u64 = u64::MAX;

/// The ledger of one round.
pub(crate) struct Ledger {
    pages: Vec<Page>,
    /// Indices of pages in the order in which they changed; the oldest are written over.
    changes: Vec<AtomicUsize>,
    changed: AtomicUsize,
}

/// What a CPU looks through.
pub(crate) struct Eyes<'a> {
    pub(crate) frames: &'static HostFrames,
    pub(crate) half: Half,
    pub(crate) cr3: u64,
    pub(crate) reference: Frame,
    pub(crate) tlb: Option<&'a mut KernelTlb>,
    /// A processor answers a shootdown between two translations, never within one. So no table is freed while these eyes are open.
    pub(crate) _section: <HostRcu as Rcu>::Guard,
}

impl Ledger {
    /// Makes a ledger for `pages` pages.
    pub(crate) fn new(pages: usize) -> Self {
        Self {
            pages: (0..pages).map(|_| Page::default()).collect(),
            changes: (0..pages).map(|_| AtomicUsize::new(usize::MAX)).collect(),
            changed: AtomicUsize::new(0),
        }
    }

    /// Says that a page is about to change: nobody may rely on it. By the one CPU that has the page.
    pub(crate) fn begin(&self, page: usize) {
        let version = &self.pages[page].version;
        let odd = version.load(Ordering::Relaxed) | 1;
        version.store(odd, Ordering::Relaxed);
        // Nothing that the change does comes before the version.
        fence(Ordering::SeqCst);
    }

    /// Says that the entry of a page's slot is about to change, while the page goes on to show what it shows.
    pub(crate) fn begin_replace(&self, page: usize) {
        self.pages[page].entry.fetch_add(1, Ordering::SeqCst);
    }

    /// Says that every PGD has the new entry.
    pub(crate) fn replaced(&self, page: usize) {
        self.pages[page].entry.fetch_add(1, Ordering::SeqCst);
        self.note(page);
    }

    /// Says what a page must show from now on.
    pub(crate) fn mapped(&self, page: usize, addr: u64, phys: u64) {
        self.pages[page].addr.store(addr, Ordering::Relaxed);
        self.end(page, phys);
    }

    /// Says that a page must show nothing from now on.
    pub(crate) fn gone(&self, page: usize) {
        self.end(page, GONE);
    }

    fn end(&self, page: usize, phys: u64) {
        let Page { version, phys: cell, .. } = &self.pages[page];
        cell.store(phys, Ordering::Relaxed);
        version.store((version.load(Ordering::Relaxed) | 1) + 1, Ordering::Release);
        self.note(page);
    }

    fn note(&self, page: usize) {
        let change = self.changed.fetch_add(1, Ordering::Relaxed);
        self.changes[change % self.changes.len()].store(page, Ordering::Release);
    }

    /// Changes so far.
    pub(crate) fn changed(&self) -> usize {
        self.changed.load(Ordering::Relaxed)
    }

    /// Looks at the pages that have changed since change number `from`, and returns how far it came.
    pub(crate) fn look_at_changes(
        &self,
        from: usize,
        eyes: &mut Eyes<'_>,
        tally: &mut Tally,
    ) -> usize {
        let changed = self.changed();
        for change in from.max(changed.saturating_sub(self.changes.len()))..changed {
            // A change is counted a moment before it can be read; the next look finds it, or the one after.
            let page = self.changes[change % self.changes.len()].load(Ordering::Acquire);
            if page == usize::MAX {
                return change.max(from);
            }
            self.look_at(page, eyes, tally);
        }
        changed.max(from)
    }

    /// Looks at every page.
    pub(crate) fn look_at_all(&self, eyes: &mut Eyes<'_>, tally: &mut Tally) {
        (0..self.pages.len()).for_each(|page| self.look_at(page, eyes, tally));
    }

    fn look_at(&self, page: usize, eyes: &mut Eyes<'_>, tally: &mut Tally) {
        let Page { version, addr, phys, entry } = &self.pages[page];
        let before = version.load(Ordering::Acquire);
        let entry_before = entry.load(Ordering::Acquire);
        let (addr, phys) = (addr.load(Ordering::Relaxed), phys.load(Ordering::Relaxed));
        if before == 0 || before % 2 == 1 {
            return;
        }
        let walked =
            translate(eyes.frames, eyes.half.place.kind, eyes.cr3, addr, Access::KERNEL_READ);
        let remembered =
            eyes.tlb.as_deref_mut().map(|tlb| tlb.translate(eyes.cr3, addr, Access::KERNEL_READ));
        let place = eyes.half.place;
        let cr3 = Frame::at(eyes.cr3).expect("a root is a page");
        let entries = [cr3, eyes.reference].map(|root| place.entry(eyes.frames, root, addr));
        fence(Ordering::Acquire);
        if version.load(Ordering::Relaxed) != before {
            return;
        }
        tally.resolved += 1;
        let settled =
            entry_before.is_multiple_of(2) && entry.load(Ordering::Relaxed) == entry_before;
        // A page that is gone says nothing of its slot, which others may be changing.
        if settled && phys != GONE && (entries[0] ^ entries[1]) & !SET_BY_MMU != 0 {
            tally.stale += 1;
        }
        for seen in [Some(walked), remembered].into_iter().flatten() {
            judge(seen, phys, tally);
        }
    }
}

fn judge(seen: Result<u64, PageFault>, phys: u64, tally: &mut Tally) {
    match (seen, phys) {
        (Err(fault), GONE) if fault.reason == Reason::NotPresent => {}
        (Ok(seen), phys) if seen == phys => {}
        (Err(fault), _) if fault.reason == Reason::NotPresent => tally.missed += 1,
        (Ok(_) | Err(_), _) => tally.stale += 1,
    }
}
