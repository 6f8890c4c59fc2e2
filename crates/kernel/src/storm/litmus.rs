//! The store-buffering litmus test: each of two processors stores to a word of its own, and then loads the other's.
//!
//! ```text
//! x = 1               y = 1
//! barrier A           barrier B
//! load y              load x
//! ```
//!
//! Both loads may find 0 unless both barriers are there. It is the skeleton of the race of fork and growth, and it says
//! what the machine, or its emulator, can show: where even the plain form never finds two zeros, the absence
//! of a barrier cannot show in a storm either.

use super::meeting::Meeting;
use super::random::Random;
use super::team::{Orders, Team};
use super::{announce, figures, report, store_buffer};
use crate::cpu::local::Padded;
use crate::cpu::{clock, smp};
use core::hint::black_box;
use core::sync::atomic::compiler_fence;
use kernel_sync::atomic::{AtomicBool, AtomicU64, Ordering};
use kernel_sync::smp_mb;

/// Which barriers are there.
type Form = (bool, bool);

const FORMS: [(Form, &figures::Count); 4] = [
    ((false, false), &figures::LITMUS_PLAIN),
    ((false, true), &figures::LITMUS_FIRST_GONE),
    ((true, false), &figures::LITMUS_SECOND_GONE),
    ((true, true), &figures::LITMUS_FENCED),
];

/// Rounds of each form at most.
const ROUNDS: u64 = 100_000;

/// Steps by which one side acts later than the other, at most.
const CHANCE: u64 = 128;

static MEETING: Meeting = Meeting::new();
static WORDS: [Padded<AtomicU64>; 2] = [const { Padded(AtomicU64::new(0)) }; 2];
static FOUND: [Padded<AtomicU64>; 2] = [const { Padded(AtomicU64::new(0)) }; 2];
static LIMIT: AtomicU64 = AtomicU64::new(0);
static OVER: AtomicBool = AtomicBool::new(false);

/// Runs every form, each for at most `limit` nanoseconds.
pub(super) fn run(limit: u64) {
    LIMIT.store(limit, Ordering::Relaxed);
    if smp::online().count() < 2 {
        return announce(format_args!("no litmus test with one processor"));
    }
    Team::start("litmus", side, 2).join();
    let fenced = figures::LITMUS_FENCED.get();
    if fenced > 0 {
        report::fail(format_args!("{fenced} litmus rounds found two zeros behind full barriers"));
    }
    announce(format_args!(
        "litmus, of {} rounds each: plain {}, without the first barrier {}, without the second {}, with both 0",
        figures::LITMUS_ROUNDS.get() / 4,
        figures::LITMUS_PLAIN.get(),
        figures::LITMUS_FIRST_GONE.get(),
        figures::LITMUS_SECOND_GONE.get()
    ));
}

fn side(side: usize, orders: &Orders) {
    orders.claim_processor();
    let mut random = Random::new();
    for (form, figure) in FORMS {
        let has_barrier = if side == 0 { form.0 } else { form.1 };
        if side == 0 {
            OVER.store(false, Ordering::Relaxed);
        }
        let end = clock::now() + LIMIT.load(Ordering::Relaxed);
        for _ in 0..ROUNDS {
            if side == 0 && clock::now() > end {
                OVER.store(true, Ordering::Relaxed);
            }
            WORDS[side].0.store(0, Ordering::Relaxed);
            store_buffer::take_lines_of(1 - side);
            let (lines, delay) = (random.below(store_buffer::LINES), random.below(CHANCE));
            MEETING.meet(side);
            if OVER.load(Ordering::Relaxed) {
                break;
            }
            (0..delay).for_each(|step| _ = black_box(step));
            store_buffer::fill(side, lines);
            let found = if has_barrier { fenced(side) } else { plain(side) };
            FOUND[side].0.store(found, Ordering::Relaxed);
            MEETING.meet(side);
            if side == 0 {
                figures::LITMUS_ROUNDS.one();
                if found == 0 && FOUND[1].0.load(Ordering::Relaxed) == 0 {
                    figure.one();
                }
            }
        }
        MEETING.meet(side);
    }
}

#[inline(never)]
fn plain(side: usize) -> u64 {
    WORDS[side].0.store(1, Ordering::Relaxed);
    compiler_fence(Ordering::SeqCst);
    WORDS[1 - side].0.load(Ordering::Relaxed)
}

#[inline(never)]
fn fenced(side: usize) -> u64 {
    WORDS[side].0.store(1, Ordering::Relaxed);
    smp_mb();
    WORDS[1 - side].0.load(Ordering::Relaxed)
}
