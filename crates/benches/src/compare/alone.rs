//! What the machine itself makes of more threads: work that shares nothing with anybody.
//!
//! Processors that a hypervisor gives may be halves of one core, or lent to others half of the time, and differently so from one minute to
//! the next. So the schemes' rates are measured in turns with this, and what two threads make in times of one is to be seen
//! beside what they make here.

use std::hint::black_box;

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
