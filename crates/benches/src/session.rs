//! One bench from its first measurement to its table, its JSON and its plot.

use std::path::PathBuf;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion};
use serde::Serialize;

use crate::chart::{self, Panel};
use crate::machine::Machine;
use crate::pairs::{Pairs, Spread};
use crate::ratio::Ratio;

/// How thorough a run is. Cargo and the caller say so on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// `cargo bench`.
    Full,
    /// `cargo bench -- --quick`: a few seconds per bench.
    Quick,
    /// `cargo test --benches`: everything runs once, to see that it runs. The figures mean nothing and are not kept.
    Test,
}

impl Mode {
    fn of_this_run() -> Self {
        let given = |flag: &str| std::env::args().any(|argument| argument == flag);
        match (given("--bench"), given("--quick")) {
            (false, _) => Self::Test,
            (true, true) => Self::Quick,
            (true, false) => Self::Full,
        }
    }
}

/// Which two things are compared, and on what occasion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Match {
    /// What both have in common: `warm`, `2 threads`.
    pub group: &'static str,
    /// What is measured.
    pub variant: &'static str,
    /// What it is measured by.
    pub base: &'static str,
    /// Size of the problem, in the unit of [`Axes::x`].
    pub x: u64,
}

/// The outcome of a match.
#[derive(Debug, Clone, Serialize)]
struct Point {
    #[serde(flatten)]
    of: Match,
    /// Variant over base, turn by turn.
    ratio: Spread,
    /// Nanoseconds of the variant.
    variant_ns: Spread,
    /// Nanoseconds of the base.
    base_ns: Spread,
    turns: usize,
}

/// A goal: matches whose median ratio is to stay below a limit.
#[derive(Debug, Clone, Serialize)]
struct Aim {
    what: &'static str,
    limit: f64,
    /// Largest median ratio of the matches it is about.
    worst: f64,
    met: bool,
}

/// Names of a plot's axes, and how nanoseconds become what is plotted.
#[derive(Debug, Clone, Copy)]
pub struct Axes {
    /// To the right.
    pub x: &'static str,
    /// Upwards.
    pub y: &'static str,
    /// Nanoseconds, at this `x`, to the unit of `y`.
    pub from_ns: fn(ns: f64, x: u64) -> f64,
}

/// A bench that is under way.
pub struct Session {
    name: &'static str,
    axes: Axes,
    mode: Mode,
    machine: Machine,
    criterion: Criterion<Ratio>,
    points: Vec<Point>,
    aims: Vec<Aim>,
    /// Matches that the command line's filter left out.
    left_out: usize,
}

impl Session {
    /// Begins the bench `name`, as the command line asks for; `settings` adjusts criterion.
    #[must_use]
    pub fn begin(
        name: &'static str,
        axes: Axes,
        settings: impl FnOnce(Criterion<Ratio>) -> Criterion<Ratio>,
    ) -> Self {
        let criterion = Criterion::default()
            .with_measurement(Ratio)
            .without_plots()
            .warm_up_time(Duration::from_millis(200))
            .measurement_time(Duration::from_millis(800))
            .sample_size(20);
        Self {
            name,
            axes,
            mode: Mode::of_this_run(),
            machine: Machine::here(),
            criterion: settings(criterion).configure_from_args(),
            points: Vec::new(),
            aims: Vec::new(),
            left_out: 0,
        }
    }

    /// How thorough this run is.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Measures `variant` against `base`. Each takes a number of iterations, `chunk` every time, and returns
    /// how long they took.
    ///
    /// # Panics
    ///
    /// When the base takes no time.
    pub fn compare(
        &mut self,
        of: Match,
        chunk: u64,
        mut variant: impl FnMut(u64) -> Duration,
        mut base: impl FnMut(u64) -> Duration,
    ) {
        let mut pairs = Pairs::default();
        let id = BenchmarkId::new(format!("{}/{} to {}", of.group, of.variant, of.base), of.x);
        let mut group = self.criterion.benchmark_group(self.name);
        group.sampling_mode(criterion::SamplingMode::Flat);
        group.bench_function(id, |bencher| {
            bencher.iter_custom(|iterations| {
                let turns = iterations.div_ceil(chunk);
                pairs.take(turns, chunk, &mut variant, &mut base) * iterations as f64
            });
        });
        group.finish();
        let figures = (pairs.ratio(), pairs.variant(), pairs.base());
        let (Some(ratio), Some(variant_ns), Some(base_ns)) = figures else {
            self.left_out += 1;
            return;
        };
        self.points.push(Point { of, ratio, variant_ns, base_ns, turns: pairs.len() });
    }

    /// Checks the median ratios of the matches that `about` chooses against `limit`.
    ///
    /// Missing an aim fails nothing: figures depend on the machine, and tests are elsewhere.
    pub fn aim(&mut self, what: &'static str, limit: f64, about: impl Fn(&Match) -> bool) {
        let ratios = self.points.iter().filter(|point| about(&point.of));
        let worst = ratios.map(|point| point.ratio.median).reduce(f64::max);
        if let Some(worst) = worst {
            self.aims.push(Aim { what, limit, worst, met: worst <= limit });
        }
    }

    /// Prints the table and writes JSON and plot, if everything was measured.
    ///
    /// # Panics
    ///
    /// When a file cannot be written.
    pub fn finish(self) {
        self.criterion.final_summary();
        if self.mode == Mode::Test || self.points.is_empty() {
            return;
        }
        self.print();
        if self.left_out > 0 {
            println!("{} of the matches were left out; no files are written.", self.left_out);
            return;
        }
        let directory = directory();
        std::fs::create_dir_all(&directory).expect("the target directory can be written");
        let json = directory.join(self.name).with_extension("json");
        std::fs::write(&json, self.json()).expect("the target directory can be written");
        let plot = json.with_extension("svg");
        chart::draw(&plot, &self.panels()).expect("the target directory can be written");
        println!("written: {} and {}", json.display(), plot.display());
    }

    fn json(&self) -> String {
        let report = serde_json::json!({
            "bench": self.name,
            "mode": self.mode,
            "machine": self.machine,
            "x": self.axes.x,
            "aims": self.aims,
            "points": self.points,
        });
        serde_json::to_string_pretty(&report).expect("numbers and strings")
    }

    fn print(&self) {
        let Machine { cpu, cpus, kernel, load } = &self.machine;
        println!("{}: {cpu}, {cpus} CPUs, Linux {kernel}, load {load}", self.name);
        println!(
            "{:>9} {:>8}  {:<18} {:>10}  {:<18} {:>10}  {:>7}  [quartiles]   turns",
            "", self.axes.x, "variant", "ns", "base", "ns", "ratio"
        );
        for Point { of, ratio, variant_ns, base_ns, turns } in &self.points {
            println!(
                "{:>9} {:>8}  {:<18} {:>10.1}  {:<18} {:>10.1}  {:>7.3}  [{:.3} {:.3}] {turns:>7}",
                of.group,
                of.x,
                of.variant,
                variant_ns.median,
                of.base,
                base_ns.median,
                ratio.median,
                ratio.p25,
                ratio.p75,
            );
        }
        for Aim { what, limit, worst, met } in &self.aims {
            let verdict = if *met { "met" } else { "MISSED" };
            println!("aim {verdict}: {what}: at most {limit:.2}, worst median {worst:.3}");
        }
    }

    /// A panel for each group, with a line for each variant and each base.
    fn panels(&self) -> Vec<Panel> {
        let mut panels: Vec<Panel> = Vec::new();
        for point in &self.points {
            let of = point.of;
            let title = format!("{}, {}", self.name, of.group);
            let place = panels.iter().position(|panel| panel.title == title);
            let place = place.unwrap_or_else(|| {
                panels.push(Panel { title, x: self.axes.x, y: self.axes.y, lines: Vec::new() });
                panels.len() - 1
            });
            let lines = &mut panels[place].lines;
            for (name, ns) in [(of.base, point.base_ns), (of.variant, point.variant_ns)] {
                let figure = (of.x as f64, (self.axes.from_ns)(ns.median, of.x));
                match lines.iter_mut().find(|line| line.0 == name) {
                    // A base meets several variants; its first figure at each place stands for all.
                    Some((_, line)) if line.iter().any(|at| at.0 == figure.0) => {}
                    Some((_, line)) => line.push(figure),
                    None => lines.push((name.to_owned(), vec![figure])),
                }
            }
        }
        panels
    }
}

/// `bench` in cargo's target directory.
fn directory() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target")),
        PathBuf::from,
    );
    target.join("bench")
}
