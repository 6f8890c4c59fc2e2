//! Litmus tests: what the machine, or its emulator on its host, can show of a barrier that is missing.
//!
//! Store buffering is the skeleton of the race of fork and growth. Each of two processors stores to a word of its own, and
//! then loads the other's:
//!
//! ```text
//! x = n               y = n
//! barrier A           barrier B
//! load y              load x
//! ```
//!
//! Both loads may find an older value unless both barriers are there. Where even the form without any never does, the
//! absence of a barrier cannot show in a storm either. Two more forms ask what holds without a barrier: stores that are exchanges,
//! as late init's marks are; and loads in order, as those of a walker are, who finds an mm first and reads the reference second.
//!
//! # Rounds begin by the clock
//!
//! Round `n` begins at a moment that both processors know beforehand. Where rounds began with a meeting of the two, each waited
//! for the other: a processor that waits long must pause, or an emulator never lets go of it; a pause takes an emulator's processor
//! through a lock that all of them share; the other then waits long as well. A kernel a little slower to the meeting than another
//! came into this and not out of it again, had a tenth of the rounds, and in none of them were the two at the same place at once. By the clock, who comes
//! late leaves out the rounds that it has missed, and is on time for the next.

use super::meeting::Meeting;
use super::random::Random;
use super::report::{announce, fail};
use super::team::{Orders, Team};
use super::{figures, store_buffer};
use crate::cpu::local::Padded;
use crate::cpu::{clock, smp};
use core::hint::black_box;
use core::sync::atomic::compiler_fence;
use kernel_sync::atomic::{AtomicBool, AtomicU64, Ordering};
use kernel_sync::smp_mb;

/// What each side does between its store and its load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Nothing.
    Plain,
    /// The first side lacks its barrier.
    FirstGone,
    /// The second side lacks its barrier.
    SecondGone,
    /// Both have a barrier.
    Fenced,
    /// The stores are exchanges, and nothing is between them and the loads.
    Exchanged,
    /// The first side stores twice, and the second loads what was stored last first.
    Loads,
}

const FORMS: [(Form, &figures::Count); 6] = [
    (Form::Plain, &figures::LITMUS_PLAIN),
    (Form::FirstGone, &figures::LITMUS_FIRST_GONE),
    (Form::SecondGone, &figures::LITMUS_SECOND_GONE),
    (Form::Fenced, &figures::LITMUS_FENCED),
    (Form::Exchanged, &figures::LITMUS_EXCHANGED),
    (Form::Loads, &figures::LITMUS_LOADS),
];

/// Rounds of each form that both sides have done in time, at most.
const ROUNDS: u64 = 50_000;

/// Time from one round to the next, in nanoseconds: about twice what a side needs.
const PERIOD: u64 = 4_000;

/// Rounds between two meetings, at which they are looked through.
const BATCH: usize = 2_048;

/// Time from a meeting to the first round, in nanoseconds.
const LEAD: u64 = 20_000;

/// Steps by which one side acts later than the other, at most.
const CHANCE: u64 = 64;

static MEETING: Meeting = Meeting::new();
static WORDS: [Padded<AtomicU64>; 2] = [const { Padded(AtomicU64::new(0)) }; 2];

/// What each side has found in each round of a batch; [`MISSED`] where it was late.
static FOUND: [Padded<[AtomicU64; BATCH]>; 2] =
    [const { Padded([const { AtomicU64::new(0) }; BATCH]) }; 2];
const MISSED: u64 = u64::MAX;

/// When the batch begins, and whether there is one.
static START: AtomicU64 = AtomicU64::new(0);
static OVER: AtomicBool = AtomicBool::new(false);
static LIMIT: AtomicU64 = AtomicU64::new(0);

/// Runs every form, each for at most `limit` nanoseconds.
pub(super) fn run(limit: u64) {
    LIMIT.store(limit, Ordering::Relaxed);
    if smp::online().count() < 2 {
        return announce(format_args!("no litmus test with one processor"));
    }
    Team::start("litmus", side, 2).join();
    for (form, figure) in &FORMS[3..] {
        let reordered = figure.get();
        if reordered > 0 {
            fail(format_args!("{reordered} litmus rounds were out of order: {form:?}"));
        }
    }
    announce(format_args!(
        "litmus, of {} rounds each: plain {}, without the first barrier {}, without the second {}, with both 0",
        figures::LITMUS_ROUNDS.get() / FORMS.len() as u64,
        figures::LITMUS_PLAIN.get(),
        figures::LITMUS_FIRST_GONE.get(),
        figures::LITMUS_SECOND_GONE.get()
    ));
}

fn side(side: usize, orders: &Orders) {
    orders.claim_processor();
    let mut random = Random::new();
    let mut first = 1;
    for (form, figure) in FORMS {
        let end = clock::now() + LIMIT.load(Ordering::Relaxed);
        let mut rounds = 0;
        loop {
            if side == 0 {
                let now = clock::now();
                OVER.store(rounds >= ROUNDS || now > end, Ordering::Relaxed);
                START.store(now + LEAD, Ordering::Relaxed);
            }
            MEETING.meet(side);
            if OVER.load(Ordering::Relaxed) {
                break;
            }
            batch(form, side, first, &mut random);
            MEETING.meet(side);
            if side == 0 {
                rounds += look_through(form, first, figure);
            }
            first += BATCH as u64;
        }
        MEETING.meet(side);
    }
}

/// Does a batch of rounds, of which the first one is number `first`.
fn batch(form: Form, side: usize, first: u64, random: &mut Random) {
    let start = START.load(Ordering::Relaxed);
    for (index, found) in FOUND[side].0.iter().enumerate() {
        let begins = start + index as u64 * PERIOD;
        store_buffer::take_lines_of(1 - side);
        let (lines, delay) = (random.below(store_buffer::LINES), random.below(CHANCE));
        if clock::now() > begins {
            found.store(MISSED, Ordering::Relaxed);
            continue;
        }
        // No pause: the wait is over in microseconds.
        while clock::now() < begins {}
        (0..delay).for_each(|step| _ = black_box(step));
        store_buffer::fill(side, lines);
        let number = first + index as u64;
        let has_barrier = match form {
            Form::Plain => false,
            Form::FirstGone => side == 1,
            Form::SecondGone => side == 0,
            Form::Fenced => true,
            Form::Exchanged => {
                found.store(exchanged(side, number), Ordering::Relaxed);
                continue;
            }
            Form::Loads => {
                let newest = if side == 0 { two_stores(number) } else { two_loads(number) };
                found.store(newest, Ordering::Relaxed);
                continue;
            }
        };
        let newest = if has_barrier { fenced(side, number) } else { plain(side, number) };
        found.store(newest, Ordering::Relaxed);
    }
}

/// Counts the rounds of a batch that both sides have done, and in `figure` those in which neither has seen the other.
fn look_through(form: Form, first: u64, figure: &figures::Count) -> u64 {
    let mut done = 0;
    for (number, (one, other)) in (first..).zip(FOUND[0].0.iter().zip(&FOUND[1].0)) {
        let found = [one.load(Ordering::Relaxed), other.load(Ordering::Relaxed)];
        if found.contains(&MISSED) {
            continue;
        }
        done += 1;
        let out_of_order = match form {
            Form::Loads => found[1] < number,
            _ => found.iter().all(|&found| found < number),
        };
        if out_of_order {
            figure.one();
        }
    }
    figures::LITMUS_ROUNDS.add(done);
    done
}

#[inline(never)]
fn plain(side: usize, number: u64) -> u64 {
    WORDS[side].0.store(number, Ordering::Relaxed);
    compiler_fence(Ordering::SeqCst);
    WORDS[1 - side].0.load(Ordering::Relaxed)
}

#[inline(never)]
fn fenced(side: usize, number: u64) -> u64 {
    WORDS[side].0.store(number, Ordering::Relaxed);
    smp_mb();
    WORDS[1 - side].0.load(Ordering::Relaxed)
}

#[inline(never)]
fn exchanged(side: usize, number: u64) -> u64 {
    WORDS[side].0.swap(number, Ordering::AcqRel);
    WORDS[1 - side].0.load(Ordering::Relaxed)
}

#[inline(never)]
fn two_stores(number: u64) -> u64 {
    WORDS[0].0.store(number, Ordering::Relaxed);
    WORDS[1].0.store(number, Ordering::Release);
    number
}

/// Returns an older number than `number` only where the later store was seen and the earlier one was not.
#[inline(never)]
fn two_loads(number: u64) -> u64 {
    let later = WORDS[1].0.load(Ordering::Acquire);
    let earlier = WORDS[0].0.load(Ordering::Relaxed);
    if later >= number { earlier } else { number }
}
