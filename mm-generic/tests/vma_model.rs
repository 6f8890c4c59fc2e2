//! Random edits of a [`VmaSet`] against a model that knows pages and no VMAs.
//!
//! The model maps each page by itself to its rights, flags and bytes, so it has nothing to split or
//! merge. After every edit, allowed or refused, the set must show the same pages, and its VMAs must
//! be the longest runs of pages that continue each other.

use std::collections::BTreeMap;
use std::ops::Range;

use mm_generic::frames::PAGE_SIZE;
use mm_generic::prot::Prot;
use mm_generic::vma::{Backing, Vma, VmaError, VmaFlags, VmaSet};
use proptest::prelude::*;

/// The pages that may be mapped. Small, so that random ranges meet.
const PAGES: Range<u64> = 4..36;
const LIMITS: Range<u64> = PAGES.start * PAGE_SIZE..PAGES.end * PAGE_SIZE;

/// Where a page's first bytes come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Zeros,
    /// `len` bytes from `offset` of object `id`, then zeros. The pages of a zero tail have a `len`
    /// of 0 and the offset at which the object's bytes ended.
    Object {
        id: u8,
        offset: u64,
        len: u64,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Page {
    prot: Prot,
    flags: VmaFlags,
    source: Source,
}

impl Page {
    /// Tells whether a VMA that ends with this page may go on with `next`.
    fn continues_with(&self, next: &Self) -> bool {
        let sources = match (self.source, next.source) {
            (Source::Zeros, Source::Zeros) => true,
            (
                Source::Object { id, offset, len },
                Source::Object { id: next_id, offset: at, len: more },
            ) => id == next_id && at == offset + len && (len == PAGE_SIZE || more == 0),
            _ => false,
        };
        sources && self.prot == next.prot && self.flags == next.flags
    }
}

/// What an operation is asked to map: the arguments of [`Vma::new`].
#[derive(Debug, Clone)]
struct Request {
    range: Range<u64>,
    prot: Prot,
    flags: VmaFlags,
    source: Source,
}

impl Request {
    fn vma(&self) -> Result<Vma<u8>, VmaError> {
        let backing = match self.source {
            Source::Zeros => Backing::Anonymous,
            Source::Object { id, offset, len } => Backing::Object { object: id, offset, len },
        };
        Vma::new(self.range.clone(), self.prot, self.flags, backing)
    }

    /// The pages by number, each with its share of the bytes.
    fn pages(&self) -> impl Iterator<Item = (u64, Page)> {
        pages_in(&self.range).enumerate().map(|(index, number)| {
            let source = match self.source {
                Source::Zeros => Source::Zeros,
                Source::Object { id, offset, len } => {
                    let gone = (index as u64 * PAGE_SIZE).min(len);
                    let len = (len - gone).min(PAGE_SIZE);
                    Source::Object { id, offset: offset + gone, len }
                }
            };
            (number, Page { prot: self.prot, flags: self.flags, source })
        })
    }
}

#[derive(Debug, Clone)]
enum Op {
    Insert(Request),
    Replace(Request),
    Remove(Range<u64>),
    Protect(Range<u64>, Prot),
    FindGap { len: u64, hint: Option<u64>, below: u64 },
    GrowDown { addr: u64, guard_gap: u64, max_len: u64 },
    ResizeEnd { old_end: u64, new_end: u64 },
    ForkCopy,
}

fn pages_in(range: &Range<u64>) -> Range<u64> {
    range.start / PAGE_SIZE..range.end / PAGE_SIZE
}

fn bytes(pages: Range<u64>) -> Range<u64> {
    pages.start * PAGE_SIZE..pages.end * PAGE_SIZE
}

fn check_aligned(addr: u64) -> Result<(), VmaError> {
    if addr.is_multiple_of(PAGE_SIZE) { Ok(()) } else { Err(VmaError::Unaligned { addr }) }
}

fn check_range(range: &Range<u64>) -> Result<(), VmaError> {
    check_aligned(range.start)?;
    check_aligned(range.end)?;
    if range.end <= range.start {
        return Err(VmaError::Empty { addr: range.start });
    }
    if range.start < LIMITS.start || range.end > LIMITS.end {
        let Range { start, end } = *range;
        return Err(VmaError::OutsideUser { start, end, limits: LIMITS });
    }
    Ok(())
}

#[derive(Debug, Clone)]
struct Model {
    pages: BTreeMap<u64, Page>,
    max_map_count: usize,
}

impl Model {
    /// The pages in runs that are one VMA each.
    fn runs(&self) -> Vec<Range<u64>> {
        let mut runs: Vec<Range<u64>> = Vec::new();
        for (&number, page) in &self.pages {
            let last = number.checked_sub(1).and_then(|last| self.pages.get(&last));
            match runs.last_mut() {
                Some(run) if last.is_some_and(|last| last.continues_with(page)) => {
                    run.end = number + 1;
                }
                _ => runs.push(number..number + 1),
            }
        }
        runs
    }

    /// The run of which page `number` is a part.
    fn run_at(&self, number: u64) -> Option<Range<u64>> {
        self.runs().into_iter().find(|run| run.contains(&number))
    }

    /// Runs `edit` on the pages; undoes it if that leaves more runs than there may be VMAs.
    fn edit(&mut self, edit: impl FnOnce(&mut BTreeMap<u64, Page>)) -> Result<(), VmaError> {
        let before = self.pages.clone();
        edit(&mut self.pages);
        if self.runs().len() > self.max_map_count {
            self.pages = before;
            return Err(VmaError::TooMany { limit: self.max_map_count });
        }
        Ok(())
    }

    /// The pages of `range` and what they show.
    fn pieces(&self, range: &Range<u64>) -> Vec<(u64, Page)> {
        self.pages.range(pages_in(range)).map(|(&number, &page)| (number, page)).collect()
    }

    fn insert(&mut self, request: &Request) -> Result<(), VmaError> {
        let Range { start, end } = request.range;
        check_range(&request.range)?;
        if let Some((&number, _)) = self.pages.range(pages_in(&request.range)).next() {
            let existing = bytes(self.run_at(number).unwrap());
            return Err(VmaError::Overlap { start, end, existing });
        }
        self.edit(|pages| pages.extend(request.pages()))
    }

    fn replace(&mut self, request: &Request) -> Result<Vec<(u64, Page)>, VmaError> {
        check_range(&request.range)?;
        let pieces = self.pieces(&request.range);
        self.edit(|pages| pages.extend(request.pages()))?;
        Ok(pieces)
    }

    fn remove(&mut self, range: &Range<u64>) -> Result<Vec<(u64, Page)>, VmaError> {
        check_range(range)?;
        let pieces = self.pieces(range);
        self.edit(|pages| pages.retain(|number, _| !pages_in(range).contains(number)))?;
        Ok(pieces)
    }

    fn protect(&mut self, range: &Range<u64>, prot: Prot) -> Result<Vec<(u64, Page)>, VmaError> {
        check_range(range)?;
        if let Some(hole) = pages_in(range).find(|number| !self.pages.contains_key(number)) {
            return Err(VmaError::NotMapped { addr: hole * PAGE_SIZE });
        }
        let mut pieces = self.pieces(range);
        pieces.retain(|(_, page)| page.prot != prot);
        self.edit(|pages| pages.range_mut(pages_in(range)).for_each(|(_, page)| page.prot = prot))?;
        Ok(pieces)
    }

    fn find_gap(&self, len: u64, hint: Option<u64>, below: u64) -> Result<u64, VmaError> {
        check_aligned(len)?;
        if len == 0 {
            return Err(VmaError::Empty { addr: hint.unwrap_or(below) });
        }
        let (len_pages, below_page) = (len / PAGE_SIZE, below / PAGE_SIZE);
        let free = |first: &u64| {
            PAGES.contains(first)
                && first + len_pages <= PAGES.end
                && (*first..first + len_pages).all(|number| !self.pages.contains_key(&number))
        };
        hint.map(|hint| hint.div_ceil(PAGE_SIZE))
            .filter(free)
            .or_else(|| PAGES.rev().filter(|first| first + len_pages <= below_page).find(free))
            .map(|first| first * PAGE_SIZE)
            .ok_or(VmaError::NoGap { len, below })
    }

    fn grow_down(&mut self, addr: u64, guard_gap: u64, max_len: u64) -> Result<(), VmaError> {
        let number = addr / PAGE_SIZE;
        if self.pages.contains_key(&number) {
            return Ok(());
        }
        let above = self.pages.range(number..).next().map(|(&at, &page)| (at, page));
        let (bottom, page) = above
            .filter(|(_, page)| page.flags.contains(VmaFlags::GROWS_DOWN))
            .filter(|(_, page)| page.source == Source::Zeros)
            .ok_or(VmaError::NotMapped { addr })?;
        let len = (self.run_at(bottom).unwrap().end - number) * PAGE_SIZE;
        if len > max_len {
            return Err(VmaError::StackLimit { len, max_len });
        }
        if let Some((&last, previous)) = self.pages.range(..number).next_back() {
            let below = (last + 1) * PAGE_SIZE;
            let start = number * PAGE_SIZE;
            if previous.prot != Prot::empty() && start < below + guard_gap {
                return Err(VmaError::GuardGap { start, below, guard_gap });
            }
        }
        check_range(&bytes(number..bottom))?;
        self.edit(|pages| pages.extend((number..bottom).map(|number| (number, page))))
    }

    fn resize_end(&mut self, old_end: u64, new_end: u64) -> Result<Vec<(u64, Page)>, VmaError> {
        check_aligned(old_end)?;
        check_aligned(new_end)?;
        let last = (old_end / PAGE_SIZE).saturating_sub(1);
        let page = self.pages.get(&last).copied().filter(|page| page.source == Source::Zeros);
        let page = page.ok_or(VmaError::NotMapped { addr: last * PAGE_SIZE })?;
        if new_end < self.run_at(last).unwrap().start * PAGE_SIZE {
            return Err(VmaError::NotMapped { addr: new_end });
        }
        if new_end < old_end {
            return self.remove(&(new_end..old_end));
        }
        if new_end > old_end {
            let Page { prot, flags, source } = page;
            self.insert(&Request { range: old_end..new_end, prot, flags, source })?;
        }
        Ok(Vec::new())
    }
}

/// The page of a VMA around `addr`, as the model would describe it.
fn page_of(vma: &Vma<u8>, addr: u64) -> Page {
    let source = match (vma.page_source(addr), vma.backing()) {
        (Some((&id, Range { start, end })), _) => {
            Source::Object { id, offset: start, len: end - start }
        }
        (None, Backing::Object { object, offset, len }) => {
            Source::Object { id: *object, offset: offset + len, len: 0 }
        }
        (None, Backing::Anonymous) => Source::Zeros,
    };
    Page { prot: vma.prot(), flags: vma.flags(), source }
}

fn pages_of<'a>(vmas: impl IntoIterator<Item = &'a Vma<u8>>) -> Vec<(u64, Page)> {
    let pages = |vma: &'a Vma<u8>| {
        pages_in(&vma.range()).map(|number| (number, page_of(vma, number * PAGE_SIZE)))
    };
    vmas.into_iter().flat_map(pages).collect()
}

/// Checks that the set shows the model's pages, in VMAs that are its runs.
fn check(set: &VmaSet<u8>, model: &Model) -> Result<(), TestCaseError> {
    for number in 0..PAGES.end + 4 {
        for addr in [number * PAGE_SIZE, number * PAGE_SIZE + PAGE_SIZE - 1] {
            let found = set.find(addr);
            prop_assert!(found.is_none_or(|vma| vma.range().contains(&addr)));
            let page = found.map(|vma| page_of(vma, addr));
            prop_assert_eq!(page.as_ref(), model.pages.get(&number), "at {:#x}", addr);
        }
    }
    let ranges: Vec<_> = set.iter().map(Vma::range).collect();
    let runs: Vec<_> = model.runs().into_iter().map(bytes).collect();
    prop_assert_eq!(ranges, runs, "sorted, apart and merged");
    prop_assert_eq!(set.len(), set.iter().count());
    prop_assert_eq!(set.is_empty(), model.pages.is_empty());
    prop_assert_eq!(set.mapped_bytes(), model.pages.len() as u64 * PAGE_SIZE);
    Ok(())
}

fn apply(set: &mut VmaSet<u8>, model: &mut Model, op: &Op) -> Result<(), TestCaseError> {
    let picture = |set: &VmaSet<u8>| (set.iter().cloned().collect::<Vec<_>>(), set.mapped_bytes());
    let before = picture(set);
    // What both answer: the pages taken away, or the address found.
    let (got, wanted) = match op {
        Op::Insert(request) => (
            request.vma().and_then(|vma| set.insert(vma)).map(|()| (vec![], 0)),
            model.insert(request).map(|()| (vec![], 0)),
        ),
        Op::Replace(request) => (
            request.vma().and_then(|vma| set.replace(vma)).map(|old| (pages_of(old.iter()), 0)),
            model.replace(request).map(|old| (old, 0)),
        ),
        Op::Remove(range) => (
            set.remove(range.clone()).map(|old| (pages_of(old.iter()), 0)),
            model.remove(range).map(|old| (old, 0)),
        ),
        Op::Protect(range, prot) => (
            set.protect(range.clone(), *prot).map(|old| (pages_of(old.iter()), 0)),
            model.protect(range, *prot).map(|old| (old, 0)),
        ),
        Op::FindGap { len, hint, below } => (
            set.find_gap(*len, *hint, *below).map(|start| (vec![], start)),
            model.find_gap(*len, *hint, *below).map(|start| (vec![], start)),
        ),
        Op::GrowDown { addr, guard_gap, max_len } => (
            set.grow_down(*addr, *guard_gap, *max_len).map(|stack| (vec![], stack.end())),
            model
                .grow_down(*addr, *guard_gap, *max_len)
                .map(|()| (vec![], model.run_at(addr / PAGE_SIZE).unwrap().end * PAGE_SIZE)),
        ),
        Op::ResizeEnd { old_end, new_end } => (
            set.resize_end(*old_end, *new_end).map(|old| (pages_of(old.iter()), 0)),
            model.resize_end(*old_end, *new_end).map(|old| (old, 0)),
        ),
        Op::ForkCopy => {
            *set = set.fork_copy().expect("heap enough");
            model.pages.retain(|_, page| !page.flags.contains(VmaFlags::DONT_COPY));
            return check(set, model);
        }
    };
    if got.is_err() {
        prop_assert_eq!(picture(set), before, "a refused edit left traces");
    }
    prop_assert_eq!(got, wanted);
    check(set, model)
}

/// Addresses in and a little around the limits, seldom off a page boundary.
fn addr() -> impl Strategy<Value = u64> {
    let page = PAGES.start - 2..PAGES.end + 3;
    (page, prop_oneof![15 => Just(0), 1 => 1..PAGE_SIZE])
        .prop_map(|(number, off)| number * PAGE_SIZE + off)
}

/// Ranges that are mostly short and sometimes empty, reversed or not of whole pages.
fn range() -> impl Strategy<Value = Range<u64>> {
    let short = (addr(), 1_u64..8).prop_map(|(start, pages)| start..start + pages * PAGE_SIZE);
    prop_oneof![8 => short, 1 => (addr(), addr()).prop_map(|(start, end)| start..end)]
}

fn prot() -> impl Strategy<Value = Prot> {
    prop_oneof![
        2 => Just(Prot::READ),
        3 => Just(Prot::READ | Prot::WRITE),
        1 => Just(Prot::empty()),
    ]
}

fn flags() -> impl Strategy<Value = VmaFlags> {
    prop_oneof![
        6 => Just(VmaFlags::empty()),
        1 => Just(VmaFlags::SHARED),
        3 => Just(VmaFlags::GROWS_DOWN),
        1 => Just(VmaFlags::DONT_COPY),
    ]
}

fn request() -> impl Strategy<Value = Request> {
    // The offset is most often that of the address, as where a file is mapped piece by piece, so
    // that VMAs mapped one by one continue each other.
    let source = (0_u8..5, 0_u64..4, 0_u64..10, prop_oneof![2 => Just(0), 1 => 1..PAGE_SIZE]);
    (range(), prot(), flags(), source).prop_map(
        |(range, prot, flags, (kind, shift, pages, odd))| {
            let source = match kind {
                0..2 => Source::Zeros,
                id => Source::Object {
                    id: id.min(3),
                    offset: range.start / PAGE_SIZE * PAGE_SIZE + (shift / 3) * PAGE_SIZE,
                    len: pages * PAGE_SIZE + odd,
                },
            };
            Request { range, prot, flags, source }
        },
    )
}

fn op() -> impl Strategy<Value = Op> {
    let small = || (0_u64..6).prop_map(|pages| pages * PAGE_SIZE);
    let gap = (small(), prop::option::of(addr()), addr());
    let max_len = (1_u64..20).prop_map(|pages| pages * PAGE_SIZE);
    prop_oneof![
        6 => request().prop_map(Op::Insert),
        3 => request().prop_map(Op::Replace),
        3 => range().prop_map(Op::Remove),
        4 => (range(), prot()).prop_map(|(range, prot)| Op::Protect(range, prot)),
        2 => gap.prop_map(|(len, hint, below)| Op::FindGap { len, hint, below }),
        3 => (addr(), small(), max_len)
            .prop_map(|(addr, guard_gap, max_len)| Op::GrowDown { addr, guard_gap, max_len }),
        3 => (addr(), addr()).prop_map(|(old_end, new_end)| Op::ResizeEnd { old_end, new_end }),
        1 => Just(Op::ForkCopy),
    ]
}

proptest! {
    // A failure found here belongs into the unit tests, under a name; a file of seeds beside this
    // one would say nothing to a reader.
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn edits_agree_with_the_page_model(
        max_map_count in 1_usize..12,
        ops in prop::collection::vec(op(), 1..60),
    ) {
        let mut set = VmaSet::with_max_map_count(LIMITS, max_map_count);
        let mut model = Model { pages: BTreeMap::new(), max_map_count };
        for op in &ops {
            apply(&mut set, &mut model, op)?;
        }
    }
}
