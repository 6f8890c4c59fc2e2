//! What happens to the kernel half in a round: it grows, entries are replaced, ranges are given back.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use hosted::frames::HostFrames;
use hosted::kernel::{Host, Scheme};
use mm_generic::frames::{Frame, Frames, PAGE_SIZE};
use mm_generic::growth::SyncedRange;
use mm_generic::init_mm::InitMm;
use mm_generic::prot::Prot;
use mm_generic::reference::Refusal;
use mm_generic::replacement::{ReplaceError, Replacement};

use crate::half::Half;
use crate::ledger::Ledger;
use crate::options::Growth;
use crate::random::Random;
use crate::tally::Tally;

/// Pages in use at a time, where they are given back.
const PAGES: usize = 96;

/// Slots that these are in: few, so that ranges share slots and slots come and go.
const SLOTS: u64 = 6;

/// Updates to a round, where the kernel half is not used up by them.
const UPDATES: u64 = 1500;

/// Where large pages lie: memory that only page-table entries know of, beyond all frames.
const LARGE_PHYS: u64 = 0x4000_0000;

/// A range in use, and its pages in the ledger.
struct Live {
    range: SyncedRange,
    pages: Vec<usize>,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// One page.
    Page,
    /// The last page of a slot and the first of the next.
    Boundary { slot: usize },
    /// A whole slot, as a large page or as a table of its pages.
    Large { is_large: bool },
}

/// The updates of one round.
pub(crate) struct Updates {
    half: Half,
    growth: Growth,
    pub(crate) ledger: Ledger,
    next: AtomicU64,
    live: Mutex<Vec<Live>>,
    /// Pages of the ledger that are not in use.
    free: Mutex<Vec<usize>>,
    /// Slots whose boundary with the next one is in use.
    boundaries: Vec<AtomicBool>,
    large: AtomicBool,
    used: AtomicUsize,
}

impl Updates {
    pub(crate) fn new(half: Half, growth: Growth) -> Self {
        let pages = match growth {
            Growth::Extend => half.growths() as usize,
            _ => PAGES,
        };
        Self {
            half,
            growth,
            ledger: Ledger::new(pages),
            next: AtomicU64::new(0),
            live: Mutex::default(),
            free: Mutex::new((0..pages).rev().collect()),
            boundaries: (0..half.slots).map(|_| AtomicBool::new(false)).collect(),
            large: AtomicBool::new(false),
            used: AtomicUsize::new(0),
        }
    }

    /// Does one update. Returns false when the round has had its share.
    pub(crate) fn step<S: Scheme>(
        &self,
        init_mm: &'static InitMm<Host<S>>,
        random: &mut Random,
        tally: &mut Tally,
    ) -> bool {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        if self.growth == Growth::Extend {
            return self.extend(init_mm, number, tally);
        }
        if number >= UPDATES {
            return false;
        }
        let room = self.used.load(Ordering::Relaxed) < PAGES - 8;
        let choice = random.below(8);
        match (self.growth, choice) {
            (_, 0..=2) if room => self.grow(init_mm, random, tally),
            (Growth::Replace, _) | (Growth::Mixed, 3..=4) => self.replace(init_mm, random, tally),
            _ => self.reclaim(init_mm, random, tally),
        }
        true
    }

    /// Tells whether ranges are given back at all.
    pub(crate) fn gives_back(&self) -> bool {
        self.growth != Growth::Extend
    }

    /// Gives back everything, after which the kernel half is empty.
    pub(crate) fn end<S: Scheme>(&self, init_mm: &'static InitMm<Host<S>>, tally: &mut Tally) {
        while let Some(live) = lock(&self.live).pop() {
            self.give_back(init_mm, live, tally);
        }
    }

    /// Grows the kernel by the next page that nobody has, for ever.
    ///
    /// Consecutive growths go to one slot, so that two CPUs often grow the same one at once.
    fn extend<S: Scheme>(
        &self,
        init_mm: &'static InitMm<Host<S>>,
        number: u64,
        tally: &mut Tally,
    ) -> bool {
        if number >= self.half.growths() {
            return false;
        }
        let (slot, addr) = self.half.place_of(number);
        // Now and then a range over two slots: one walk brings both.
        let both = number % 16 == 5 && slot + 1 < self.half.slots;
        let len = if both { self.half.slot_span } else { PAGE_SIZE };
        let range = init_mm.grow(addr, len).expect("a range of the kernel half, and frames enough");
        self.ledger.begin(number as usize);
        self.map(init_mm, &range, number as usize, addr);
        tally.growths += 1;
        true
    }

    fn grow<S: Scheme>(
        &self,
        init_mm: &'static InitMm<Host<S>>,
        random: &mut Random,
        tally: &mut Tally,
    ) {
        let slots = SLOTS.min(self.half.slots);
        let slot = random.below(slots) as usize;
        let start = self.half.first + slot as u64 * self.half.slot_span;
        let kind = match random.below(16) {
            0 if self.half.large_slots && !self.large.swap(true, Ordering::Relaxed) => {
                Kind::Large { is_large: false }
            }
            1 if (slot as u64 + 1) < slots
                && !self.boundaries[slot].swap(true, Ordering::Relaxed) =>
            {
                Kind::Boundary { slot }
            }
            _ => Kind::Page,
        };
        let live = match kind {
            Kind::Page => {
                let page = self.take_page();
                let addr = start + (1 + page as u64) * PAGE_SIZE;
                let range = init_mm.grow(addr, PAGE_SIZE).expect("frames enough");
                self.ledger.begin(page);
                self.map(init_mm, &range, page, addr);
                Live { range, pages: vec![page], kind }
            }
            Kind::Boundary { .. } => {
                let pages = vec![self.take_page(), self.take_page()];
                let addr = start + self.half.slot_span - PAGE_SIZE;
                let range = init_mm.grow(addr, 2 * PAGE_SIZE).expect("frames enough");
                for (&page, addr) in pages.iter().zip([addr, addr + PAGE_SIZE]) {
                    self.ledger.begin(page);
                    self.map(init_mm, &range, page, addr);
                }
                Live { range, pages, kind }
            }
            Kind::Large { .. } => self.grow_large(init_mm),
        };
        tally.growths += 1;
        lock(&self.live).push(live);
    }

    /// Grows into a slot that nothing else goes to, and maps all of it.
    fn grow_large<S: Scheme>(&self, init_mm: &'static InitMm<Host<S>>) -> Live {
        let start = self.half.first + SLOTS * self.half.slot_span;
        let range = init_mm.grow(start, self.half.slot_span).expect("frames enough");
        let page = self.take_page();
        self.ledger.begin(page);
        for offset in (0..self.half.slot_span).step_by(PAGE_SIZE as usize) {
            let frame = Frame::at(LARGE_PHYS + offset).expect("whole pages");
            init_mm
                .map_kernel(&range, start + offset, frame, Prot::READ | Prot::WRITE)
                .expect("the slot is this range's alone");
        }
        self.ledger.mapped(page, start + 7 * PAGE_SIZE, LARGE_PHYS + 7 * PAGE_SIZE);
        Live { range, pages: vec![page], kind: Kind::Large { is_large: false } }
    }

    fn replace<S: Scheme>(
        &self,
        init_mm: &'static InitMm<Host<S>>,
        random: &mut Random,
        tally: &mut Tally,
    ) {
        let Some(mut live) = self.take_live(random) else { return };
        let addr = live.range.start();
        let how = match live.kind {
            Kind::Large { is_large: true } => Replacement::Split,
            Kind::Large { is_large: false } if random.one_in(2) => Replacement::Collapse,
            _ => Replacement::Move,
        };
        live.pages.iter().for_each(|&page| self.ledger.begin_replace(page));
        let result = init_mm.replace(&mut live.range, addr, how);
        live.pages.iter().for_each(|&page| self.ledger.replaced(page));
        match result {
            Ok(()) => {
                tally.replacements += 1;
                if let Kind::Large { is_large } = &mut live.kind {
                    *is_large = how == Replacement::Collapse;
                }
            }
            Err(ReplaceError::Refused(Refusal::NotSoleOwner { .. })) => {
                tally.refused += 1;
            }
            Err(error) => panic!("a replacement failed: {error}"),
        }
        lock(&self.live).push(live);
    }

    fn reclaim<S: Scheme>(
        &self,
        init_mm: &'static InitMm<Host<S>>,
        random: &mut Random,
        tally: &mut Tally,
    ) {
        if let Some(live) = self.take_live(random) {
            self.give_back(init_mm, live, tally);
        }
    }

    fn give_back<S: Scheme>(
        &self,
        init_mm: &'static InitMm<Host<S>>,
        live: Live,
        tally: &mut Tally,
    ) {
        live.pages.iter().for_each(|&page| self.ledger.begin(page));
        let mut released = 0;
        let is_large = matches!(live.kind, Kind::Large { .. });
        let release = |_addr, frame| {
            released += 1;
            if !is_large {
                // SAFETY: allocated in `map` for this page, which no CPU reaches any more.
                unsafe { init_mm.frames().put(frame) };
            }
        };
        // SAFETY: the ledger says so: from here on nobody relies on the range.
        unsafe { init_mm.reclaim(live.range, release) }.expect("heap and frames enough");
        let expected =
            if is_large { self.half.slot_span / PAGE_SIZE } else { live.pages.len() as u64 };
        assert_eq!(released, expected, "each page comes back once");
        match live.kind {
            // An address that no other page of the ledger can have.
            Kind::Page => live.pages.iter().for_each(|&page| self.ledger.gone(page)),
            Kind::Boundary { slot } => self.boundaries[slot].store(false, Ordering::Relaxed),
            Kind::Large { .. } => self.large.store(false, Ordering::Relaxed),
        }
        self.used.fetch_sub(live.pages.len(), Ordering::Relaxed);
        lock(&self.free).extend(live.pages);
        tally.reclaims += 1;
    }

    /// Maps a new frame at `addr` and enters it in the ledger.
    fn map<S: Scheme>(
        &self,
        init_mm: &'static InitMm<Host<S>>,
        range: &SyncedRange,
        page: usize,
        addr: u64,
    ) {
        let frames: &HostFrames = init_mm.frames();
        let frame = frames.alloc().expect("frames enough");
        init_mm
            .map_kernel(range, addr, frame, Prot::READ | Prot::WRITE)
            .expect("nobody else has this page");
        self.ledger.mapped(page, addr, frame.phys());
    }

    fn take_page(&self) -> usize {
        self.used.fetch_add(1, Ordering::Relaxed);
        lock(&self.free).pop().expect("looked at before, with some to spare for other CPUs")
    }

    fn take_live(&self, random: &mut Random) -> Option<Live> {
        let mut live = lock(&self.live);
        if live.is_empty() {
            return None;
        }
        let index = random.below(live.len() as u64) as usize;
        Some(live.swap_remove(index))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
