//! The tests: what each side does, and which outcome is the one that counts.
//!
//! `#[inline(never)]`: the accesses are then in the order of the source, and nothing of the harness is between them.

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicU64, Ordering};

use kernel_sync::Gate;

use crate::barrier::{Barriers, Own};
use crate::race::{Found, Shape};

/// Store buffering: fork against growth.
///
/// ```text
/// side 0: fork          side 1: growth
/// x = 1   (mm)          y = 1   (entry)
/// barrier A             barrier B
/// load y                load x
/// ```
///
/// Both load 0: each has missed the other.
#[derive(Default)]
pub(crate) struct StoreBuffering<B> {
    words: [Own<AtomicU64>; 2],
    barriers: B,
}

impl<B: Barriers> Shape for StoreBuffering<B> {
    fn reset(&self, side: usize) {
        self.words[side].0.store(0, Ordering::Relaxed);
    }

    fn warm(&self, side: usize) {
        self.words[1 - side].0.load(Ordering::Relaxed);
    }

    #[inline(never)]
    fn run(&self, side: usize) -> Found {
        self.words[side].0.store(1, Ordering::Relaxed);
        self.barriers.stand_on(side);
        self.words[1 - side].0.load(Ordering::Relaxed)
    }

    fn is_seen(found: [Found; 2]) -> bool {
        found == [0, 0]
    }

    fn first(found: [Found; 2]) -> Option<usize> {
        who_missed_it(found)
    }
}

/// Store buffering where the store is a `SeqCst` one, an exchange on x86, and nothing else stands between the two.
#[derive(Default)]
pub(crate) struct ExchangeBuffering {
    words: [Own<AtomicU64>; 2],
}

impl Shape for ExchangeBuffering {
    fn reset(&self, side: usize) {
        self.words[side].0.store(0, Ordering::Relaxed);
    }

    fn warm(&self, side: usize) {
        self.words[1 - side].0.load(Ordering::Relaxed);
    }

    #[inline(never)]
    fn run(&self, side: usize) -> Found {
        self.words[side].0.store(1, Ordering::SeqCst);
        self.words[1 - side].0.load(Ordering::SeqCst)
    }

    fn is_seen(found: [Found; 2]) -> bool {
        found == [0, 0]
    }

    fn first(found: [Found; 2]) -> Option<usize> {
        who_missed_it(found)
    }
}

/// Who loads 0 came before the other's store.
fn who_missed_it(found: [Found; 2]) -> Option<usize> {
    match found {
        [0, 1] => Some(0),
        [1, 0] => Some(1),
        _ => None,
    }
}

/// Message passing: an entry and the generation that tells of it; a task and its place on the list.
///
/// ```text
/// side 0                side 1
/// data = 1              load flag
/// flag = 1              load data
/// ```
///
/// The flag without the data. `ORDERED`: release and acquire, as in the crates, else relaxed.
#[derive(Default)]
pub(crate) struct MessagePassing<const ORDERED: bool> {
    data: Own<AtomicU64>,
    flag: Own<AtomicU64>,
}

impl<const ORDERED: bool> Shape for MessagePassing<ORDERED> {
    fn reset(&self, side: usize) {
        if side == 0 {
            self.data.0.store(0, Ordering::Relaxed);
            self.flag.0.store(0, Ordering::Relaxed);
        }
    }

    fn warm(&self, side: usize) {
        // The data alone: it is the load of the flag that has to come late.
        if side == 1 {
            self.data.0.load(Ordering::Relaxed);
        }
    }

    #[inline(never)]
    fn run(&self, side: usize) -> Found {
        let (store, load) = if ORDERED {
            (Ordering::Release, Ordering::Acquire)
        } else {
            (Ordering::Relaxed, Ordering::Relaxed)
        };
        if side == 0 {
            self.data.0.store(1, Ordering::Relaxed);
            self.flag.0.store(1, store);
            0
        } else {
            let flag = self.flag.0.load(load);
            flag << 1 | self.data.0.load(Ordering::Relaxed)
        }
    }

    fn is_seen([_, found]: [Found; 2]) -> bool {
        found == 2
    }

    fn first([_, found]: [Found; 2]) -> Option<usize> {
        Some(if found == 0 { 1 } else { 0 })
    }
}

/// Load buffering: two walkers that settle one PGD rely on nobody reading what is stored later.
///
/// ```text
/// side 0                side 1
/// load y                load x
/// x = 1                 y = 1
/// ```
///
/// Both load 1: each store has come before the load that stands before it.
#[derive(Default)]
pub(crate) struct LoadBuffering {
    words: [Own<AtomicU64>; 2],
}

impl Shape for LoadBuffering {
    fn reset(&self, side: usize) {
        self.words[side].0.store(0, Ordering::Relaxed);
    }

    fn warm(&self, _side: usize) {
        // Nothing: the load shall be slow, and the store's line is here.
    }

    #[inline(never)]
    fn run(&self, side: usize) -> Found {
        let found = self.words[1 - side].0.load(Ordering::Relaxed);
        self.words[side].0.store(1, Ordering::Relaxed);
        found
    }

    fn is_seen(found: [Found; 2]) -> bool {
        found == [1, 1]
    }

    fn first(found: [Found; 2]) -> Option<usize> {
        who_missed_it(found)
    }
}

/// The crates' own gate: who is inside and who has closed it each add one to a number that nothing else protects.
#[derive(Default)]
pub(crate) struct GateRace {
    gate: Own<Gate<1>>,
    number: Own<Number>,
}

/// A number that only the gate protects.
#[derive(Default)]
struct Number(UnsafeCell<u64>);

// SAFETY: one side uses it inside of the gate and the other while it is closed; where the gate is wrong an addition is lost, which is
// what the test looks for, on a machine where a torn word does not exist.
unsafe impl Sync for Number {}

impl Number {
    fn add_one(&self) -> u64 {
        // SAFETY: aligned and live; volatile, so that both accesses are made here.
        unsafe {
            let before = self.0.get().read_volatile();
            self.0.get().write_volatile(before + 1);
            before
        }
    }
}

impl Shape for GateRace {
    fn reset(&self, side: usize) {
        if side == 0 {
            // SAFETY: as in `add_one`; nobody races.
            unsafe { self.number.0.0.get().write_volatile(0) };
        }
    }

    fn warm(&self, _side: usize) {
        // SAFETY: as in `add_one`; nobody writes.
        unsafe { self.number.0.0.get().read_volatile() };
    }

    #[inline(never)]
    fn run(&self, side: usize) -> Found {
        if side == 0 {
            let _inside = self.gate.0.pass(0);
            self.number.0.add_one()
        } else {
            self.gate.0.closed(|| self.number.0.add_one())
        }
    }

    fn is_seen(found: [Found; 2]) -> bool {
        // Neither has seen the other's.
        found == [0, 0]
    }

    fn first(found: [Found; 2]) -> Option<usize> {
        who_missed_it(found)
    }
}
