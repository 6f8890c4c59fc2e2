//! How two threads race through a test: they meet, one of them waits for a moment, both run, and what they found is judged.
//!
//! A store is seen late only while it waits for its cache line, and a load is early only if it waits for none. So each side first
//! writes its own word and then, when both have done so, reads the other's: the store has to wait until the other's copy of the line is gone, and the
//! load hits. Which side comes first hangs on what the machine does; the delay follows the outcomes until either is first equally often.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hosted::affinity::pin_to;
use hosted::meeting::Meeting;

use crate::barrier::Own;

/// What one side found.
pub(crate) type Found = u64;

/// A litmus test of two sides.
pub(crate) trait Shape: Sync + Default {
    /// Puts back what `side` writes, while nobody races.
    fn reset(&self, side: usize);

    /// Brings into this processor's cache what `side` is going to load.
    fn warm(&self, side: usize);

    /// Runs `side`.
    fn run(&self, side: usize) -> Found;

    /// Tells whether the sides have found what the test is about.
    fn is_seen(found: [Found; 2]) -> bool;

    /// Which side came first, where that can be told.
    fn first(found: [Found; 2]) -> Option<usize>;
}

/// Where and how long to race.
pub(crate) struct Race {
    pub(crate) processors: [usize; 2],
    /// At least this long, and then until the outcome has been seen.
    pub(crate) least: Duration,
    pub(crate) most: Duration,
}

/// What was counted.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counted {
    pub(crate) rounds: u64,
    pub(crate) seen: u64,
    pub(crate) took: Duration,
}

/// By how much the delay follows an outcome, in steps of about a cycle, and how far it goes.
const STEP: i64 = 2;
const LONGEST: i64 = 4096;

/// Steps by which a side acts later, up to this, from round to round.
const SWEEP: u64 = 64;

/// Rounds between two looks at the clock.
const CLOCK_EVERY: u64 = 64;

/// Races two threads through the test.
pub(crate) fn race<S: Shape>(race: &Race) -> Counted {
    let ring = Ring::<S>::default();
    thread::scope(|scope| {
        scope.spawn(|| {
            ring.keep_on(race.processors[1]);
            ring.follow();
        });
        let leader = scope.spawn(|| {
            ring.keep_on(race.processors[0]);
            ring.lead(race)
        });
        leader.join().expect("a processor that this process may use")
    })
}

#[derive(Default)]
struct Ring<S> {
    shape: S,
    meeting: Meeting,
    found: [Own<AtomicU64>; 2],
    /// Steps by which side 1 acts later, or side 0 if negative; side 0 sets it.
    delay: Own<AtomicU64>,
    is_over: Own<AtomicBool>,
}

impl<S: Shape> Ring<S> {
    /// Keeps this thread on `processor`. Where that fails, the other side is told not to wait.
    fn keep_on(&self, processor: usize) {
        if let Err(error) = pin_to(processor) {
            self.is_over.0.store(true, Ordering::Relaxed);
            panic!("processor {processor}: {error}");
        }
    }

    /// Side 0: judges the rounds, and says when it is over.
    fn lead(&self, race: &Race) -> Counted {
        let began = Instant::now();
        let (mut counted, mut delay) = (Counted::default(), 0_i64);
        loop {
            let took = began.elapsed();
            if took >= race.most || took >= race.least && counted.seen > 0 {
                counted.took = took;
                self.is_over.0.store(true, Ordering::Relaxed);
                return counted;
            }
            for _ in 0..CLOCK_EVERY {
                self.delay.0.store(delay.max(0).unsigned_abs(), Ordering::Relaxed);
                if !self.round(0, counted.rounds, (-delay).max(0).unsigned_abs()) {
                    return counted;
                }
                let found = [0, 1].map(|side: usize| self.found[side].0.load(Ordering::Relaxed));
                counted.rounds += 1;
                counted.seen += u64::from(S::is_seen(found));
                delay = match S::first(found) {
                    Some(0) => (delay - STEP).max(-LONGEST),
                    Some(_) => (delay + STEP).min(LONGEST),
                    None => delay,
                };
            }
        }
    }

    /// Side 1.
    fn follow(&self) {
        let mut rounds = 0;
        while self.round(1, rounds, 0) {
            rounds += 1;
        }
    }

    /// Returns false when it is over.
    fn round(&self, side: usize, number: u64, own_delay: u64) -> bool {
        self.shape.reset(side);
        if !self.meet(side, 3 * number + 1) {
            return false;
        }
        let delay = if side == 1 { self.delay.0.load(Ordering::Relaxed) } else { own_delay };
        // The sides go through their delays at different paces, so that all differences come.
        let delay = delay + number * (5 + 8 * side as u64) % SWEEP;
        self.shape.warm(side);
        if !self.meet(side, 3 * number + 2) {
            return false;
        }
        (0..delay).for_each(|step| _ = black_box(step));
        let found = self.shape.run(side);
        self.found[side].0.store(found, Ordering::Relaxed);
        self.meet(side, 3 * number + 3)
    }

    fn meet(&self, side: usize, times: u64) -> bool {
        self.meeting.wait(side, times, || self.is_over.0.load(Ordering::Relaxed))
    }
}
