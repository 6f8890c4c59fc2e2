//! What is to be expected beyond the machine: a closed queueing network, fitted here and extended to 1,024 CPUs.
//!
//! Each CPU goes round: it works on its own for a while, and in between visits what all CPUs share, one at a time: `pgd_lock`, in the
//! scheme that has it, and the few lines that every scheme's forks write now and then (the pid cursor and its summary). The
//! time round is the work alone plus what is spent queueing, by mean value analysis (Reiser and Lavenberg, 1980), which is exact
//! for such a network.
//!
//! *Fitted* are four numbers: how much slower two busy processors are than one busy one, for forks and for forks with execs, from this
//! project's on two; the time a cache line takes from one to the other, from two threads that add to one word in the same rounds; and the time
//! that `pgd_lock` is held, from that scheme's fork and exit on two. *Checked* is everything else on two processors: no figure of
//! the other schemes' forks with execs went into the fit, and of their forks only that of `pgd-list`.
//!
//! Forks and execs have a number each, because one that was fitted on forks missed execs by half once: an exec makes and ends an mm more,
//! and what two processors take from each other meanwhile (callbacks, frames, the caches behind both) is not in proportion to its length.

use serde::Serialize;

use crate::chosen::Scheme;
use crate::compare::throughput::{Measured, Point, at};
use crate::kernel::Work;

/// What the curves rest on.
pub const ASSUMPTIONS: &[&str] = &[
    "work alone takes as long with many busy processors as with two: caches, memory bandwidth and clock scale, and so does what two take from each other",
    "a line moves as fast between any two CPUs as between the two measured: one socket, and so too fast beyond it",
    "pgd_lock is a queued lock: it is handed on in one line transfer however many wait (a test-and-set lock is worse)",
    "each CPU forks processes of its own; tasks end where they were forked",
    "three writes of one shared line in 64 forks, for pids; an epoch scan occupies one CPU at a time at most",
    "the constructed PGDs never run out: no bursts, so its lock is not taken",
    "nothing grows: no walks, and none of the interrupts that the generation check needs then",
];

/// Writes to the lines of the pid table that all CPUs share, per fork: see `kernel_task::pid`.
const PID_WRITES: f64 = 3.0 / 64.0;

/// A fitted model and what it says.
#[derive(Debug, Clone, Serialize)]
pub struct Prediction {
    /// Nanoseconds that a line took from one CPU to another, in the rounds of forks.
    pub line_transfer_ns_forks: f64,
    /// The same in the rounds of execs.
    pub line_transfer_ns_execs: f64,
    /// Work alone on two busy processors, in times of one: fork and exit.
    pub two_busy_forks: f64,
    /// The same with an exec in between.
    pub two_busy_execs: f64,
    /// Nanoseconds that `pgd_lock` is held each time, hand-over not included.
    pub lock_held_ns: f64,
    /// Points that the model was not fitted on.
    pub held_out: Vec<HeldOut>,
    /// What is predicted.
    pub curves: Vec<Curve>,
    /// This project's predicted rate of fork and exit on 16 CPUs over 16 times its measured rate on one.
    pub late_efficiency_at_16: f64,
    /// The same with an exec in between.
    pub late_exec_efficiency_at_16: f64,
    /// What the curves rest on.
    pub assumptions: &'static [&'static str],
}

/// A measured point that the model was not fitted on.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct HeldOut {
    /// The scheme.
    pub scheme: Scheme,
    /// What two threads did.
    pub work: Work,
    /// Operations per second.
    pub measured: f64,
    /// The model's.
    pub predicted: f64,
    /// Predicted over measured, less one.
    pub error: f64,
}

/// A scheme's curve.
#[derive(Debug, Clone, Serialize)]
pub struct Curve {
    /// What is done.
    pub work: Work,
    /// The scheme.
    pub scheme: Scheme,
    /// Its points.
    pub points: Vec<Predicted>,
}

/// A point of a curve.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Predicted {
    /// CPUs.
    pub cpus: usize,
    /// Operations per second.
    pub per_second: f64,
}

/// Operations per nanosecond of `cpus` CPUs that each work alone for `alone` and then visit stations of these service times,
/// all in nanoseconds per operation: exact mean value analysis.
#[must_use]
pub fn throughput(cpus: usize, alone: f64, stations: &[f64]) -> f64 {
    let mut queues = vec![0.0; stations.len()];
    let mut rate = 0.0;
    for customers in 1..=cpus {
        let times: Vec<f64> =
            stations.iter().zip(&queues).map(|(service, queue)| service * (1.0 + queue)).collect();
        rate = customers as f64 / (alone + times.iter().sum::<f64>());
        queues = times.iter().map(|time| rate * time).collect();
    }
    rate
}

/// The fitted numbers.
#[derive(Debug, Clone, Copy)]
struct Fit {
    line_forks: f64,
    line_execs: f64,
    two_busy_forks: f64,
    two_busy_execs: f64,
    lock_held: f64,
}

impl Fit {
    /// Operations per second, where one CPU alone takes `one` nanoseconds for an operation.
    fn predict(self, scheme: Scheme, work: Work, one: f64, cpus: usize) -> f64 {
        if cpus == 1 {
            return 1e9 / one;
        }
        let visits = if scheme == Scheme::PgdList { lock_visits(work) } else { 0.0 };
        let (two_busy, line) = match work {
            Work::ForkExecExit => (self.two_busy_execs, self.line_execs),
            Work::ForkExit | Work::Threads => (self.two_busy_forks, self.line_forks),
        };
        let alone = two_busy * one - visits * self.lock_held;
        let lock = visits * (self.lock_held + line);
        throughput(cpus, alone.max(0.0), &[lock, PID_WRITES * line]) * 1e9
    }
}

/// What the model is about: threads have no PGD of their own.
pub const PREDICTED: [Work; 2] = [Work::ForkExit, Work::ForkExecExit];

/// Times that an operation takes `pgd_lock`: once for each PGD that is made, once for each that is freed.
fn lock_visits(work: Work) -> f64 {
    match work {
        Work::ForkExit => 2.0,
        Work::ForkExecExit => 4.0,
        Work::Threads => 0.0,
    }
}

/// Fits the model to what was measured; `None` with fewer than two processors.
#[must_use]
pub fn fit(measured: &Measured) -> Option<Prediction> {
    let line = |work| {
        let mut points = measured.alone.iter();
        let two = points.find(|point| point.beside == work && point.threads == 2)?;
        two.line_transfer_ns.map(|ns| ns.median)
    };
    fit_with(&measured.schemes, line(Work::ForkExit)?, line(Work::ForkExecExit)?)
}

fn fit_with(points: &[Point], line_forks: f64, line_execs: f64) -> Option<Prediction> {
    let rate = |work, threads, scheme| {
        at(points, work, threads, scheme).map(|point| point.per_second.median)
    };
    let one = |work, scheme| rate(work, 1, scheme).map(|rate| 1e9 / rate);
    // The pids' share is small, and in both; leaving it in the factor is within the error.
    let two_busy = |work| {
        let factor = 2.0 * rate(work, 1, Scheme::Late)? / rate(work, 2, Scheme::Late)?;
        let line = if work == Work::ForkExecExit { line_execs } else { line_forks };
        Some(factor - PID_WRITES * line / one(work, Scheme::Late)?)
    };
    let two_busy_forks = two_busy(Work::ForkExit)?;
    let two_busy_execs = two_busy(Work::ForkExecExit)?;
    let lock_held = {
        let one = one(Work::ForkExit, Scheme::PgdList)?;
        let goal = rate(Work::ForkExit, 2, Scheme::PgdList)?;
        let predicted = |lock_held| {
            let fit = Fit { line_forks, line_execs, two_busy_forks, two_busy_execs, lock_held };
            fit.predict(Scheme::PgdList, Work::ForkExit, one, 2)
        };
        bisect(0.0, one / 2.0, |held| predicted(held) > goal)
    };
    let fit = Fit { line_forks, line_execs, two_busy_forks, two_busy_execs, lock_held };
    let mut held_out = Vec::new();
    for work in PREDICTED {
        for scheme in Scheme::ALL {
            let fitted =
                scheme == Scheme::Late || (work == Work::ForkExit && scheme == Scheme::PgdList);
            if let (false, Some(one), Some(measured)) =
                (fitted, one(work, scheme), rate(work, 2, scheme))
            {
                let predicted = fit.predict(scheme, work, one, 2);
                let error = predicted / measured - 1.0;
                held_out.push(HeldOut { scheme, work, measured, predicted, error });
            }
        }
    }
    let mut curves = Vec::new();
    for work in PREDICTED {
        for scheme in Scheme::ALL {
            let one = one(work, scheme)?;
            let points = (0..=10).map(|power| {
                let cpus = 1 << power;
                Predicted { cpus, per_second: fit.predict(scheme, work, one, cpus) }
            });
            curves.push(Curve { work, scheme, points: points.collect() });
        }
    }
    let efficiency_at_16 = |work| {
        let late = one(work, Scheme::Late)?;
        Some(fit.predict(Scheme::Late, work, late, 16) / (16.0 * 1e9 / late))
    };
    Some(Prediction {
        line_transfer_ns_forks: line_forks,
        line_transfer_ns_execs: line_execs,
        two_busy_forks,
        two_busy_execs,
        lock_held_ns: lock_held,
        held_out,
        curves,
        late_efficiency_at_16: efficiency_at_16(Work::ForkExit)?,
        late_exec_efficiency_at_16: efficiency_at_16(Work::ForkExecExit)?,
        assumptions: ASSUMPTIONS,
    })
}

/// The place between `low` and `high` up to which `is_below` holds.
fn bisect(mut low: f64, mut high: f64, is_below: impl Fn(f64) -> bool) -> f64 {
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if is_below(middle) { low = middle } else { high = middle }
    }
    f64::midpoint(low, high)
}

impl Prediction {
    /// Prints the fit, its errors, the curves and the assumptions.
    pub fn print(&self) {
        println!(
            "model: a line moves in {:.0} ns beside forks, in {:.0} ns beside execs, pgd_lock is held for {:.0} ns, two busy CPUs take {:.3} times as long as one for a fork, {:.3} with an exec",
            self.line_transfer_ns_forks,
            self.line_transfer_ns_execs,
            self.lock_held_ns,
            self.two_busy_forks,
            self.two_busy_execs
        );
        for point in &self.held_out {
            println!(
                "  not fitted on: two threads, {:>15} {:>13}: predicted {:>9.0}/s, measured {:>9.0}/s, error {:+.1} %",
                point.work.name(),
                point.scheme.name(),
                point.predicted,
                point.measured,
                100.0 * point.error
            );
        }
        print!("{:>48}", "millions per second, on CPUs:");
        for point in self.curves.iter().take(1).flat_map(|curve| &curve.points) {
            print!("{:>8}", point.cpus);
        }
        println!();
        for curve in &self.curves {
            print!("{:>30} {:>17}", curve.work.name(), curve.scheme.name());
            for point in &curve.points {
                print!("{:>8.2}", point.per_second / 1e6);
            }
            println!();
        }
        println!(
            "  this project's efficiency on 16 CPUs, predicted and not measured: {:.3}, with execs {:.3}",
            self.late_efficiency_at_16, self.late_exec_efficiency_at_16
        );
        for assumption in self.assumptions {
            println!("  assumes: {assumption}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pairs::Spread;

    #[test]
    fn one_customer_never_waits() {
        assert!((throughput(1, 70.0, &[20.0, 10.0]) - 0.01).abs() < 1e-12);
    }

    #[test]
    fn many_customers_saturate_the_slowest_station() {
        let rate = throughput(1024, 1000.0, &[20.0, 5.0]);
        assert!((rate * 20.0 - 1.0).abs() < 1e-3, "{rate}");
    }

    /// Two customers and one station: the second one queues behind the first for its mean queue.
    #[test]
    fn two_customers_by_hand() {
        // With one: queue 10 / 110. With two: 10 * (1 + 10 / 110) at the station.
        let expected = 2.0 / (100.0 + 10.0 * (1.0 + 10.0 / 110.0));
        assert!((throughput(2, 100.0, &[10.0]) - expected).abs() < 1e-12);
    }

    fn made_up(fit: Fit, one: impl Fn(Work, Scheme) -> f64) -> Vec<Point> {
        let mut points = Vec::new();
        for work in PREDICTED {
            for scheme in Scheme::ALL {
                for threads in [1, 2] {
                    let rate = fit.predict(scheme, work, one(work, scheme), threads);
                    let spread = Spread { p25: rate, median: rate, p75: rate };
                    points.push(Point {
                        work,
                        threads,
                        oversubscribed: false,
                        scheme,
                        per_second: spread,
                        late_over_this: spread,
                        turns: 1,
                        disturbed: 0,
                    });
                }
            }
        }
        points
    }

    #[test]
    fn a_fit_finds_the_numbers_that_made_the_points_and_misses_no_point() {
        let truth = Fit {
            line_forks: 80.0,
            line_execs: 40.0,
            two_busy_forks: 1.04,
            two_busy_execs: 1.2,
            lock_held: 35.0,
        };
        let one = |work, _| if work == Work::ForkExit { 1000.0 } else { 2200.0 };
        let found = fit_with(&made_up(truth, one), truth.line_forks, truth.line_execs)
            .expect("all points are there");
        assert!((found.lock_held_ns - 35.0).abs() < 1.0, "{found:?}");
        assert!((found.two_busy_forks - 1.04).abs() < 0.01, "{found:?}");
        assert!((found.two_busy_execs - 1.2).abs() < 0.01, "{found:?}");
        assert_eq!(found.held_out.len(), 7);
        for point in &found.held_out {
            assert!(point.error.abs() < 0.01, "{point:?}");
        }
        // The lock is what pgd-list ends at: two visits of 115 ns.
        let list = found.curves.iter().find(|curve| curve.scheme == Scheme::PgdList);
        let last = list.expect("a curve").points.last().expect("points");
        assert!((last.per_second * 230.0 / 1e9 - 1.0).abs() < 0.02, "{last:?}");
        assert!(found.late_efficiency_at_16 > 0.9);
    }

    #[test]
    fn without_two_threads_there_is_no_fit() {
        let truth = Fit {
            line_forks: 80.0,
            line_execs: 40.0,
            two_busy_forks: 1.0,
            two_busy_execs: 1.0,
            lock_held: 20.0,
        };
        let mut points = made_up(truth, |_, _| 1000.0);
        points.retain(|point| point.threads == 1);
        assert!(fit_with(&points, 80.0, 80.0).is_none());
    }
}
