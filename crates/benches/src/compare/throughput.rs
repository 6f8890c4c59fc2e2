//! Operations per second, by scheme, work and number of threads.
//!
//! A turn in which the host took a processor from one of the threads, or let one begin late, says what else the machine had to do. It is
//! taken again, some times at most; how many turns were disturbed all the same is reported. Where threads share processors, that is
//! what is measured.

use std::time::Duration;

use serde::Serialize;

use crate::chosen::Scheme;
use crate::compare::{Plan, alone};
use crate::crew::{Crew, Turn};
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
    /// Turns that were taken.
    pub turns: usize,
    /// Those of them in which the host took a processor from a thread.
    pub disturbed: usize,
}

/// All rates.
#[derive(Debug, Clone, Default)]
pub struct Measured {
    /// Of the schemes.
    pub schemes: Vec<Point>,
    /// Of threads that share nothing.
    pub alone: Vec<alone::Point>,
}

/// Frames of each kernel: what 16 CPUs keep on their lists, and some.
const FRAMES: usize = 1 << 16;

/// Times that a disturbed turn is taken again.
const RETRIES: usize = 8;

/// Measures all schemes on all work.
///
/// # Panics
///
/// When a kernel does not end as it should.
pub fn measure(plan: &Plan, cpus: usize, mut progress: impl FnMut(&str)) -> Measured {
    let most = plan.threads.iter().copied().max().unwrap_or(1);
    let boot = |scheme| BenchKernel::boot(scheme, scheme.walk(), FRAMES, most, UserHalf::OnePage);
    let kernels = Scheme::ALL.map(boot);
    let shared = alone::Shared::default();
    let mut measured = Measured::default();
    std::thread::scope(|scope| {
        let crew = Crew::hire(scope, most);
        for work in Work::ALL {
            for &threads in plan.threads {
                progress(&format!("{}, {threads} threads", work.name()));
                let place = Place { work, threads, oversubscribed: threads > cpus, cpus };
                let rounds = rounds(plan, &crew, &kernels, &shared, place);
                measured.schemes.extend(place.schemes(&rounds));
                measured.alone.extend(place.alone(&rounds));
            }
        }
    });
    kernels.into_iter().for_each(BenchKernel::shut_down);
    measured
}

/// Where something is measured.
#[derive(Clone, Copy)]
struct Place {
    work: Work,
    threads: usize,
    oversubscribed: bool,
    cpus: usize,
}

/// What a turn came to.
#[derive(Clone, Copy, Default)]
struct Rate {
    per_second: f64,
    disturbed: bool,
}

/// A round: all schemes, and threads that share nothing.
#[derive(Default)]
struct Round {
    schemes: [Rate; Scheme::ALL.len()],
    alone: Rate,
    /// Additions to a word that two threads share.
    exchange: Option<Rate>,
}

/// Takes all rounds of a place.
fn rounds<'env>(
    plan: &Plan,
    crew: &Crew<'env>,
    kernels: &'env [BenchKernel],
    shared: &'env alone::Shared,
    place: Place,
) -> Vec<Round> {
    let Place { work, threads, oversubscribed, cpus } = place;
    let rate = |ops: u64, take: &dyn Fn() -> Turn| {
        let again = |turn: &Turn| turn.disturbed && !oversubscribed;
        let mut turn = take();
        for _ in 0..RETRIES {
            if !again(&turn) {
                break;
            }
            turn = take();
        }
        let per_second = (threads as u64 * ops) as f64 / turn.wall.as_secs_f64();
        Rate { per_second, disturbed: turn.disturbed }
    };
    let of_scheme = |kernel: &'env BenchKernel, ops: u64| {
        rate(ops, &|| crew.work(threads, move |cpu, line| kernel.work(work, cpu, ops, line)))
    };
    let alone = |ops: u64| rate(ops, &|| crew.work(threads, move |_, line| alone::work(ops, line)));
    let exchange = || {
        rate(alone::ADDITIONS, &|| {
            crew.work(threads, move |cpu, line| alone::exchange(shared, cpu, line))
        })
    };
    // How many operations a turn takes is found out once, so that all schemes do as many. Threads beyond the processors share
    // the turn.
    let (length, rounds) = if oversubscribed {
        (plan.shared_turn_ms, plan.rounds.div_ceil(4))
    } else {
        (plan.turn_ms, plan.rounds)
    };
    let share = threads.div_ceil(cpus) as f64 * threads.min(cpus) as f64;
    let ops_at = |rate: Rate| {
        let length = Duration::from_millis(length).as_secs_f64();
        ((rate.per_second * length / share) as u64).max(FEW)
    };
    let ops = ops_at(of_scheme(&kernels[0], FEW));
    let ops_alone = ops_at(alone(FEW));
    let round = |number: usize| {
        let exchange = (threads == 2 && !oversubscribed).then(exchange);
        let mut round = Round { alone: alone(ops_alone), exchange, ..Round::default() };
        for place in 0..kernels.len() {
            let scheme = (place + number) % kernels.len();
            round.schemes[scheme] = of_scheme(&kernels[scheme], ops);
        }
        round
    };
    (0..rounds).map(round).collect()
}

/// Operations of each thread in the turn that tells how many a turn takes, and in a turn at least.
const FEW: u64 = 400;

impl Place {
    fn schemes(self, rounds: &[Round]) -> impl Iterator<Item = Point> {
        let Self { work, threads, oversubscribed, .. } = self;
        Scheme::ALL.into_iter().enumerate().filter_map(move |(number, scheme)| {
            let of = |round: &Round| round.schemes[number];
            let over = |round: &Round| round.schemes[0].per_second / of(round).per_second;
            Some(Point {
                work,
                threads,
                oversubscribed,
                scheme,
                per_second: Spread::of(rounds.iter().map(|round| of(round).per_second).collect())?,
                late_over_this: Spread::of(rounds.iter().map(over).collect())?,
                turns: rounds.len(),
                disturbed: rounds.iter().filter(|&round| of(round).disturbed).count(),
            })
        })
    }

    fn alone(self, rounds: &[Round]) -> Option<alone::Point> {
        let Self { work: beside, threads, oversubscribed, .. } = self;
        let rates = rounds.iter().map(|round| round.alone.per_second).collect();
        let exchanges = rounds.iter().filter_map(|round| round.exchange);
        let calm = exchanges.filter(|rate| !rate.disturbed);
        let line_transfer_ns = Spread::of(calm.map(|rate| 1e9 / rate.per_second).collect());
        let per_second = Spread::of(rates)?;
        Some(alone::Point { beside, threads, oversubscribed, per_second, line_transfer_ns })
    }
}

/// One scheme's throughput at one place.
#[must_use]
pub fn at(points: &[Point], work: Work, threads: usize, scheme: Scheme) -> Option<&Point> {
    points
        .iter()
        .find(|point| point.work == work && point.threads == threads && point.scheme == scheme)
}
