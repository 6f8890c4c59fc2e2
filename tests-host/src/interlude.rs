//! Interludes: what other CPUs do while this one is in the middle of a fork, an exec or a growth.
//!
//! A race is a matter of what comes between two steps. [`meanwhile`] puts code there: it runs on
//! the same thread, at a named [`Point`] of the protocol, and what it does is what other CPUs did
//! at that moment. So an interleaving is written down and happens every time, without threads and
//! without sleeping. What two processors may disagree about at one moment (store buffers) cannot be
//! shown in this way; the model checks explore that.
//!
//! The points lie in [`Interposed`], around an architecture, and in [`InterposedWalk`], around
//! walkers. The product between them is untouched.

use std::cell::RefCell;

use kernel_sync::OutOfHeap;
use mm_generic::arch::{ArchPgd, PgdAllocError, PgdWalk, PopulateError};
use mm_generic::frames::Frame;
use mm_generic::kernel::{Kernel, RcuGuard};
use mm_generic::kernel_range::{KernelHalf, KernelRange};
use mm_generic::kernel_slots::KernelSlots;
use mm_generic::mm::Mm;
use mm_generic::walk::Walkers;

use crate::planted::is_planted;

/// A moment of the protocol on this CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// `pgd_alloc` has made a PGD; its mm is not published.
    PgdAllocated,
    /// Walkers can see the mm, by fork, exec or attach; its late init has not begun.
    Published,
    /// Late init has ended; the mm is not loaded yet.
    Completed,
    /// The reference holds a growth's entries; the barrier and the walk are still to come.
    Populated,
    /// The walk over the tasks begins. (The locked scheme walks `pgd_list` and passes none of the
    /// points of a walk.)
    WalkBegun,
    /// The task walk has found its n-th mm, from 0, and has not filled its slots. The locks that
    /// kept the mm there are held.
    TaskVisit(usize),
    /// All tasks have been visited, and no CPU.
    TasksWalked,
    /// The CPU walk has found its n-th mm, from 0, and has not filled its slots.
    CpuVisit(usize),
    /// All CPUs have been visited; the slots are not marked synced.
    CpusWalked,
    /// The slots are marked synced; the growth has not returned.
    Synced,
    /// An updater turns to the reference's slots: once to prepare a reclaim, then for each replacement, and for what is retired.
    SlotsAsked,
    /// An entry has been stored in the reference (its update lock is held), or copied to a PGD that
    /// nobody can reach yet. Only with [`crate::watched::Watched`] entries.
    EntryStored,
    /// An entry has been read, and nothing has been done about it yet. Only with
    /// [`crate::watched::Watched`] entries.
    EntryRead,
}

/// Where a growth can be interrupted without a lock being held, in order; `walks` tells whether its
/// scheme walks the tasks.
#[must_use]
pub fn points_of_a_growth(walks: bool) -> &'static [Point] {
    if walks {
        &[Point::Populated, Point::WalkBegun, Point::TasksWalked, Point::CpusWalked, Point::Synced]
    } else {
        &[Point::Populated, Point::Synced]
    }
}

/// Where a fork or an exec can be interrupted, in order. The last two points are the hook's.
#[must_use]
pub fn points_of_a_birth() -> &'static [Point] {
    if cfg!(feature = "pgd-init-late") {
        &[Point::PgdAllocated, Point::Published, Point::Completed]
    } else {
        &[Point::PgdAllocated]
    }
}

/// Where an attach can be interrupted: nowhere when there is no hook.
#[must_use]
pub fn points_of_an_attach() -> &'static [Point] {
    if cfg!(feature = "pgd-init-late") { &[Point::Published, Point::Completed] } else { &[] }
}

type Interlude = Box<dyn FnOnce()>;

thread_local! {
    static INTERLUDES: RefCell<Vec<(Point, Option<Interlude>)>> = const { RefCell::new(Vec::new()) };
    static TRACE: RefCell<Option<Vec<Point>>> = const { RefCell::new(None) };
}

/// Runs `body`, and `others` when this thread first passes `point` in it.
///
/// Calls nest: the inner one's point is looked for first. What `others` does passes points too.
///
/// # Panics
///
/// When `body` never passes `point`: the test would test nothing.
pub fn meanwhile<R>(point: Point, others: impl FnOnce(), body: impl FnOnce() -> R) -> R {
    /// Ends the interlude with the body, be it by a panic.
    struct Registered(usize);

    impl Drop for Registered {
        fn drop(&mut self) {
            INTERLUDES.with_borrow_mut(|list| list.truncate(self.0));
        }
    }

    let others: Box<dyn FnOnce() + '_> = Box::new(others);
    // SAFETY: the box is dropped before this function returns or unwinds: by `pass`, which takes it
    // out to run it, or by `Registered`, which is made before anything that could leave.
    let others: Interlude = unsafe { std::mem::transmute(others) };
    let registered = Registered(INTERLUDES.with_borrow(Vec::len));
    INTERLUDES.with_borrow_mut(|list| list.push((point, Some(others))));
    let result = body();
    let missed = INTERLUDES.with_borrow(|list| list[registered.0].1.is_some());
    assert!(!missed, "{point:?} was never passed");
    result
}

/// Runs `body` and returns the points that this thread passed in it, in order.
pub fn trace(body: impl FnOnce()) -> Vec<Point> {
    let outer = TRACE.replace(Some(Vec::new()));
    body();
    TRACE.replace(outer).unwrap_or_default()
}

/// Tells this thread that it has come to `point`.
pub fn pass(point: Point) {
    TRACE.with_borrow_mut(|trace| trace.iter_mut().for_each(|trace| trace.push(point)));
    let interlude = INTERLUDES.with_borrow_mut(|list| {
        let waiting = list.iter_mut().rev().find(|(at, waits)| *at == point && waits.is_some());
        waiting.and_then(|(_, interlude)| interlude.take())
    });
    if let Some(interlude) = interlude {
        interlude();
    }
}

/// An architecture with points around its steps.
pub struct Interposed<A>(A);

impl<A> Interposed<A> {
    /// Puts the points around `arch`.
    pub fn new(arch: A) -> Self {
        Self(arch)
    }

    /// The architecture itself.
    pub fn inner(&self) -> &A {
        &self.0
    }
}

impl<A: ArchPgd> ArchPgd for Interposed<A> {
    type Pgd = A::Pgd;
    type Tables = A::Tables;

    fn tables(&self) -> &A::Tables {
        self.0.tables()
    }

    fn root(&self, pgd: &A::Pgd) -> Frame {
        self.0.root(pgd)
    }

    fn reference_root(&self) -> Frame {
        self.0.reference_root()
    }

    fn kernel_half(&self) -> KernelHalf {
        self.0.kernel_half()
    }

    fn pgd_alloc(&self) -> Result<A::Pgd, PgdAllocError> {
        let pgd = match self.0.pgd_alloc() {
            Err(_) if is_planted("swallowed-refusal") => self.0.pgd_alloc()?,
            pgd => pgd?,
        };
        pass(Point::PgdAllocated);
        Ok(pgd)
    }

    unsafe fn pgd_free(&self, pgd: A::Pgd) {
        if is_planted("lost-frame") {
            return std::mem::forget(pgd);
        }
        // SAFETY: the caller's promise is the same.
        unsafe { self.0.pgd_free(pgd) };
    }

    fn pgd_init_late(&self, pgd: &A::Pgd) {
        pass(Point::Published);
        self.0.pgd_init_late(pgd);
        pass(Point::Completed);
    }

    fn pgd_attach(&self, pgd: &A::Pgd) {
        pass(Point::Published);
        self.0.pgd_attach(pgd);
        pass(Point::Completed);
    }

    fn populate_kernel(&self, range: KernelRange) -> Result<(), PopulateError> {
        self.0.populate_kernel(range)?;
        pass(Point::Populated);
        Ok(())
    }

    fn kernel_slots(&self) -> Option<&dyn KernelSlots> {
        pass(Point::SlotsAsked);
        self.0.kernel_slots()
    }

    fn is_synced(&self, range: KernelRange) -> bool {
        is_planted("present-is-synced") || self.0.is_synced(range)
    }

    fn sync_global_pgds(
        &self,
        range: KernelRange,
        walk: &dyn PgdWalk<A::Pgd>,
        flush: &mut dyn FnMut(),
    ) {
        self.0.sync_global_pgds(range, walk, flush);
        pass(Point::Synced);
    }
}

/// Walkers with points before, between and behind their visits.
pub struct InterposedWalk<W>(W);

impl<W> InterposedWalk<W> {
    /// Puts the points around `walkers`.
    pub fn new(walkers: W) -> Self {
        Self(walkers)
    }

    /// The walkers themselves.
    pub fn inner(&self) -> &W {
        &self.0
    }
}

// SAFETY: every call goes through to `W`, which keeps the promises. A test that blocks in an
// interlude blocks where no lock is held, or says so.
unsafe impl<K: Kernel, W: Walkers<K>> Walkers<K> for InterposedWalk<W> {
    type Place = W::Place;

    fn place(&'static self) -> Result<W::Place, OutOfHeap> {
        self.0.place()
    }

    fn for_each_published(&self, rcu: &RcuGuard<K>, visit: &mut dyn FnMut(&Mm<K>)) {
        pass(Point::WalkBegun);
        let mut number = 0;
        self.0.for_each_published(rcu, &mut |mm| {
            pass(Point::TaskVisit(number));
            number += 1;
            visit(mm);
        });
        pass(Point::TasksWalked);
    }

    fn for_each_loaded(&self, rcu: &RcuGuard<K>, visit: &mut dyn FnMut(&Mm<K>)) {
        let mut number = 0;
        self.0.for_each_loaded(rcu, &mut |mm| {
            pass(Point::CpuVisit(number));
            number += 1;
            visit(mm);
        });
        pass(Point::CpusWalked);
    }
}
