//! What a comparison found, as a table and as JSON.

use serde::Serialize;

use crate::chosen::Scheme;
use crate::compare::{alone, growth, memory, throughput, waits, walks};
use crate::kernel::Work;
use crate::lines;
use crate::machine::Machine;
use crate::model;

/// All figures of one run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Where they were taken.
    pub machine: Machine,
    /// Rounds, for each scheme and place.
    pub rounds: usize,
    /// Operations per second.
    pub throughput: Vec<throughput::Point>,
    /// What threads that share nothing make on the same machine, in the same rounds.
    pub alone: Vec<alone::Point>,
    /// Growths.
    pub growth: Vec<growth::Point>,
    /// Forks while the kernel grows.
    pub waits: Vec<waits::Point>,
    /// Frames.
    pub memory: Vec<memory::Point>,
    /// This project with its two ways to find mms.
    pub walks: Vec<walks::Point>,
    /// Writes to lines that CPUs share; empty where threads cannot be traced.
    pub shared_lines: Vec<lines::Point>,
    /// What is to be expected beyond the machine; none with fewer than two processors.
    pub model: Option<model::Prediction>,
    /// What was aimed for, and what came of it.
    pub aims: Vec<Aim>,
}

/// A goal.
#[derive(Debug, Clone, Serialize)]
pub struct Aim {
    /// What is aimed for.
    pub what: String,
    /// The figure that decides.
    pub figure: f64,
    /// It is to be at least this, or at most.
    pub limit: f64,
    /// It is.
    pub met: bool,
}

impl Report {
    /// One scheme's throughput at one place.
    #[must_use]
    pub fn at(&self, work: Work, threads: usize, scheme: Scheme) -> Option<&throughput::Point> {
        throughput::at(&self.throughput, work, threads, scheme)
    }

    /// Prints everything to standard output.
    pub fn print(&self) {
        let Machine { cpu, cpus, kernel, load } = &self.machine;
        println!("{cpu}, {cpus} CPUs, Linux {kernel}, load {load}; {} rounds\n", self.rounds);
        self.print_throughput();
        self.print_alone();
        self.print_growth();
        self.print_rest();
        for Aim { what, figure, limit, met } in &self.aims {
            let verdict = if *met { "met   " } else { "MISSED" };
            println!("aim {verdict} {what}: {figure:.3} (limit {limit:.2})");
        }
    }

    fn print_throughput(&self) {
        println!("operations per second, and how many times as many this project does [quartiles]");
        println!(
            "  (* more threads than processors; ! in that many turns the host took a processor away)"
        );
        for point in &self.throughput {
            let disturbed = if point.disturbed > 0 && !point.oversubscribed {
                format!("  ! {} of {}", point.disturbed, point.turns)
            } else {
                String::new()
            };
            println!(
                "{:>15} {:>3}{} {:>13} {:>11.0}  {:>6.3} [{:.3} {:.3}]{disturbed}",
                point.work.name(),
                point.threads,
                if point.oversubscribed { '*' } else { ' ' },
                point.scheme.name(),
                point.per_second.median,
                point.late_over_this.median,
                point.late_over_this.p25,
                point.late_over_this.p75,
            );
        }
    }

    fn print_alone(&self) {
        println!(
            "\nthreads that share nothing, in the same rounds: pages filled and added up per second, and in times of one thread's"
        );
        for point in self.alone.iter().filter(|point| !point.oversubscribed) {
            println!(
                "{:>15} {:>3}  {:>11.0}  {:>6.3}{}",
                point.beside.name(),
                point.threads,
                point.per_second.median,
                self.alone_scales(point.beside, point.threads).unwrap_or(f64::NAN),
                point.line_transfer_ns.map_or_else(String::new, |ns| format!(
                    "   a line moves in {:.0} ns [{:.0} {:.0}]",
                    ns.median, ns.p25, ns.p75
                )),
            );
        }
    }

    /// What threads that share nothing made in the rounds of `work`, in times of one.
    #[must_use]
    pub fn alone_scales(&self, work: Work, threads: usize) -> Option<f64> {
        let rate = |threads| {
            let mut points = self.alone.iter();
            let point = points.find(|point| point.beside == work && point.threads == threads);
            point.map(|point| point.per_second.median)
        };
        Some(rate(threads)? / rate(1)?)
    }

    fn print_growth(&self) {
        println!("\ngrowth by one slot: microseconds, and nanoseconds per mm");
        for point in &self.growth {
            println!(
                "{:>8} mms {:>13} {:>11.2} {:>8.1}",
                point.mms,
                point.scheme.name(),
                point.ns.median / 1e3,
                point.ns_per_mm,
            );
        }
        println!("\nthis project's walk through tasks, and over mms: ns, ratio [quartiles]");
        for point in &self.walks {
            println!(
                "{:>15} {:>7} {:>9.1} {:>9.1}  {:.3} [{:.3} {:.3}]",
                point.what,
                point.x,
                point.through_tasks,
                point.over_mms,
                point.ratio.median,
                point.ratio.p25,
                point.ratio.p75,
            );
        }
        println!(
            "\nforks on one CPU, microseconds: median, 90 %, 99 %, 99.9 %, 99.99 %, longest, longest that kept its processor"
        );
        for point in &self.waits {
            let line = |forks: &waits::Forks| {
                let shares = [forks.median, forks.p90, forks.p99, forks.p999, forks.p9999];
                let shares = shares.map(|ns| format!("{:>7.2}", ns / 1e3)).join(" ");
                let [longest, kept] = [forks.longest, forks.longest_unpreempted].map(|ns| ns / 1e3);
                format!("{shares} {longest:>8.1} {kept:>8.1}")
            };
            let walk = point.growth_ns_per_mm.map_or(f64::NAN, |ns| ns.median);
            println!(
                "{:>8} mms {:>13} nobody grows {}\n{:>34} {} ({} growths, {walk:.1} ns per mm)",
                point.mms,
                point.scheme.name(),
                line(&point.quiet),
                "growths follow one another",
                line(&point.growing),
                point.growths,
            );
        }
    }

    fn print_rest(&self) {
        println!("\nframes of 4 KiB: at boot, for each mm, kept by two CPUs for later");
        for point in &self.memory {
            println!(
                "{:>13} {:>6} {:>6.2} {:>6}",
                point.scheme.name(),
                point.boot_frames,
                point.frames_per_mm,
                point.kept_frames,
            );
        }
        if !self.shared_lines.is_empty() {
            println!("\nper life: instructions, and writes to lines that another CPU has");
            println!("used since (a model of caches, fed with every access of two traced CPUs)");
            for point in &self.shared_lines {
                println!(
                    "{:>15} {:>13} {:>8.0} {:>8.3}",
                    point.work.name(),
                    point.scheme.name(),
                    point.instructions,
                    point.shared_writes
                );
            }
        }
        if let Some(model) = &self.model {
            println!();
            model.print();
        }
        println!();
    }
}

/// Compares what was measured with what was aimed for.
///
/// Missing an aim fails nothing: figures depend on the machine, and tests are elsewhere.
#[must_use]
pub fn aims(points: &[throughput::Point], cpus: usize) -> Vec<Aim> {
    let mut aims = Vec::new();
    for scheme in Scheme::ALL.into_iter().skip(1) {
        let ratios = points
            .iter()
            .filter(|point| point.scheme == scheme && point.work != Work::Threads)
            .filter(|point| !point.oversubscribed)
            .map(|point| point.late_over_this.median);
        if let Some(worst) = ratios.reduce(f64::min) {
            let what = format!("ahead of {} in forks and execs", scheme.name());
            aims.push(Aim { what, figure: worst, limit: 1.0, met: worst >= 1.0 });
        }
    }
    let fork_exit = |threads, scheme| {
        throughput::at(points, Work::ForkExit, threads, scheme).map(|point| point.per_second.median)
    };
    let cheapest = Scheme::ALL.into_iter().filter_map(|scheme| fork_exit(1, scheme));
    if let (Some(late), Some(best)) = (fork_exit(1, Scheme::Late), cheapest.reduce(f64::max)) {
        let what = "one thread's fork+exit, in times of the cheapest".to_owned();
        aims.push(Aim { what, figure: best / late, limit: 1.1, met: best / late <= 1.1 });
    }
    for work in Work::ALL {
        let rate = |threads| {
            throughput::at(points, work, threads, Scheme::Late).map(|point| point.per_second.median)
        };
        if let (Some(one), Some(two), true) = (rate(1), rate(2), cpus >= 2) {
            let what = format!("two threads' {}, in times of one's", work.name());
            aims.push(Aim { what, figure: two / one, limit: 1.9, met: two / one >= 1.9 });
        }
    }
    aims
}
