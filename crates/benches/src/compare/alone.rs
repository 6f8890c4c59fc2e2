//! What the machine itself makes of more threads: work that shares nothing with anybody.
//!
//! Processors that a hypervisor gives may be halves of one core, or lent to others half of the time, or share a cache in one minute and lie
//! far apart in the next: a line went from one to the other in 27 ns now and in 170 ns then, on one machine within a minute, and the few
//! lines that two CPUs of a kernel pass to each other cost so much more. So the schemes' rates are measured in turns
//! with this, and what two threads make in times of one is to be seen beside what they make here, and how long a line took.

use std::hint::{black_box, spin_loop};
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use crate::crew::{Span, StartingLine};
use crate::kernel::Work;
use crate::pairs::Spread;

/// The rate of threads that share nothing, in the rounds of one kind of work.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Point {
    /// Whose rounds.
    pub beside: Work,
    /// Threads.
    pub threads: usize,
    /// There were fewer processors than threads.
    pub oversubscribed: bool,
    /// Pages that were filled and added up, per second, by all threads together.
    pub per_second: Spread,
    /// Nanoseconds for which two threads that add to one word keep each other waiting, per addition; with two threads only.
    pub line_transfer_ns: Option<Spread>,
}

/// A word that two threads add to in turns.
#[derive(Default)]
#[repr(align(128))]
pub(super) struct Shared(AtomicU64);

/// Additions of each thread in a turn.
pub(super) const ADDITIONS: u64 = 1_000;

/// Adds to `shared` after the starting line, in turns with the other thread: otherwise each would add many times while it has the line.
pub(super) fn exchange(shared: &Shared, cpu: usize, line: &StartingLine) -> Span {
    let word = &shared.0;
    line.wait();
    Span::of(|| {
        for _ in 0..ADDITIONS {
            for spins in 0_u32.. {
                if word.load(Ordering::Acquire) % 2 == cpu as u64 {
                    break;
                }
                // Where the other has no processor, it is better to give it this one.
                if spins < 100_000 { spin_loop() } else { std::thread::yield_now() }
            }
            word.fetch_add(1, Ordering::Release);
        }
    })
}

#[repr(align(4096))]
struct Page([u64; 512]);

/// Fills and adds up a page of the calling thread's own for `ops` times, after the starting line.
pub(super) fn work(ops: u64, line: &StartingLine) -> Span {
    let mut page = Box::new(Page([0; 512]));
    line.wait();
    Span::of(|| {
        for op in 0..ops {
            page.0.fill(black_box(op));
            black_box(page.0.iter().fold(0, |sum: u64, word| sum.wrapping_add(*word)));
        }
    })
}
