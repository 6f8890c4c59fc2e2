//! Operations per second, by scheme, work and number of threads.

use std::time::Duration;

use serde::Serialize;

use crate::chosen::Scheme;
use crate::compare::Plan;
use crate::crew::Crew;
use crate::kernel::{BenchKernel, UserHalf, Work};
use crate::pairs::Spread;

/// One scheme's figures at one place.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Point {
    /// What was done.
    pub work: Work,
    /// Threads that did it, each a CPU of the kernel.
    pub threads: usize,
    /// There were fewer processors than threads: the figure says how a scheme bears that, not how it scales.
    pub oversubscribed: bool,
    /// The scheme.
    pub scheme: Scheme,
    /// Operations per second, of all threads together.
    pub per_second: Spread,
    /// This project's operations per second over this scheme's, in the same round.
    pub late_over_this: Spread,
}

/// Frames of each kernel: what 16 CPUs keep on their lists, and some.
const FRAMES: usize = 1 << 16;

/// Measures all schemes on all work.
///
/// # Panics
///
/// When a kernel does not end as it should.
pub fn measure(plan: &Plan, cpus: usize, mut progress: impl FnMut(&str)) -> Vec<Point> {
    let most = plan.threads.iter().copied().max().unwrap_or(1);
    let boot = |scheme| BenchKernel::boot(scheme, scheme.walk(), FRAMES, most, UserHalf::OnePage);
    let kernels = Scheme::ALL.map(boot);
    let mut points = Vec::new();
    std::thread::scope(|scope| {
        let crew = Crew::hire(scope, most);
        for work in Work::ALL {
            for &threads in plan.threads {
                progress(&format!("{}, {threads} threads", work.name()));
                let rates = rounds(plan, &crew, &kernels, work, threads, cpus);
                points.extend(summary(&rates, work, threads, threads > cpus));
            }
        }
    });
    kernels.into_iter().for_each(BenchKernel::shut_down);
    points
}

type Rates = [f64; Scheme::ALL.len()];

/// Operations per second of each scheme, round by round.
fn rounds<'env>(
    plan: &Plan,
    crew: &Crew<'env>,
    kernels: &'env [BenchKernel],
    work: Work,
    threads: usize,
    cpus: usize,
) -> Vec<Rates> {
    let turn = |kernel: &'env BenchKernel, ops: u64| {
        let time = crew.work(threads, move |cpu, line| kernel.work(work, cpu, ops, line));
        (threads as u64 * ops) as f64 / time.as_secs_f64()
    };
    // How many operations a turn takes is found out once, so that all schemes do as many. Threads beyond the processors share
    // the turn.
    let (late, few) = (&kernels[0], 100);
    let rate = turn(late, few).max(1.0) / threads.min(cpus) as f64;
    let share = threads.div_ceil(cpus) as f64;
    let length = Duration::from_millis(plan.turn_ms).as_secs_f64();
    let ops = ((rate * length / share) as u64).max(few);
    let mut all = Vec::new();
    for round in 0..plan.rounds {
        let mut rates = Rates::default();
        for place in 0..kernels.len() {
            let scheme = (place + round) % kernels.len();
            rates[scheme] = turn(&kernels[scheme], ops);
        }
        all.push(rates);
    }
    all
}

fn summary(
    rates: &[Rates],
    work: Work,
    threads: usize,
    oversubscribed: bool,
) -> impl Iterator<Item = Point> {
    Scheme::ALL.into_iter().enumerate().filter_map(move |(number, scheme)| {
        Some(Point {
            work,
            threads,
            oversubscribed,
            scheme,
            per_second: Spread::of(rates.iter().map(|round| round[number]).collect())?,
            late_over_this: Spread::of(
                rates.iter().map(|round| round[0] / round[number]).collect(),
            )?,
        })
    })
}
