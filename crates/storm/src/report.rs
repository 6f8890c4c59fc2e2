//! What the storm prints.

use serde::Serialize;

use crate::options::{Options, WalkChoice};
use crate::round::Outcome;
use crate::schemes::Kind;

/// One scheme's figures, by the names of the JSON object.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    scheme: &'static str,
    geometry: &'static str,
    growth: &'static str,
    /// How walks find mms; the locked scheme has a list of its own.
    walk: &'static str,
    cpus: usize,
    /// Seconds that the CPUs worked; booting, checking and shutting down is not in it.
    seconds: f64,
    rounds: u64,
    /// Publications that met a growth on purpose; they are in `forks`, but not in the rates.
    duels: u64,
    forks: u64,
    threads: u64,
    execs: u64,
    exits: u64,
    attaches: u64,
    growths: u64,
    replacements: u64,
    refused: u64,
    reclaims: u64,
    resolved: u64,
    missed: u64,
    stale: u64,
    leaked_frames: i64,
    corrupted: u64,
    forks_per_second: f64,
    execs_per_second: f64,
    exits_per_second: f64,
    growths_per_second: f64,
    replacements_per_second: f64,
    reclaims_per_second: f64,
}

impl Report {
    pub(crate) fn new(options: &Options, kind: Kind, rounds: u64, outcome: &Outcome) -> Self {
        let seconds = outcome.active.as_secs_f64();
        let tally = outcome.tally;
        Self {
            scheme: kind.name(),
            geometry: options.geometry.name(),
            growth: options.growth.name(),
            walk: if kind == Kind::Locked {
                "pgd-list"
            } else {
                WalkChoice::name_of(options.walk(kind))
            },
            cpus: options.cpus(),
            seconds,
            rounds,
            duels: outcome.duels,
            forks: tally.forks,
            threads: tally.threads,
            execs: tally.execs,
            exits: tally.exits,
            attaches: tally.attaches,
            growths: tally.growths,
            replacements: tally.replacements,
            refused: tally.refused,
            reclaims: tally.reclaims,
            resolved: tally.resolved,
            missed: tally.missed,
            stale: tally.stale,
            leaked_frames: outcome.leaked_frames,
            corrupted: outcome.corrupted,
            forks_per_second: (tally.forks - outcome.duels) as f64 / seconds,
            execs_per_second: tally.execs as f64 / seconds,
            exits_per_second: (tally.exits - outcome.duels) as f64 / seconds,
            growths_per_second: (tally.growths - outcome.duel_growths) as f64 / seconds,
            replacements_per_second: tally.replacements as f64 / seconds,
            reclaims_per_second: tally.reclaims as f64 / seconds,
        }
    }

    /// Tells whether nothing was missed, stale, leaked or corrupted.
    pub(crate) fn is_clean(&self) -> bool {
        self.missed == 0 && self.stale == 0 && self.leaked_frames == 0 && self.corrupted == 0
    }
}

/// The JSON object: the figures of the first scheme, and, beside them, those of the one it is compared with.
#[derive(Serialize)]
struct Json<'a> {
    #[serde(flatten)]
    report: &'a Report,
    #[serde(skip_serializing_if = "Option::is_none")]
    baseline: Option<&'a Report>,
}

pub(crate) fn print_json(reports: &[Report]) {
    let Some(report) = reports.first() else { return };
    let json = Json { report, baseline: reports.get(1) };
    println!("{}", serde_json::to_string_pretty(&json).expect("figures are plain numbers"));
}

/// A row of the table: a name, what it shows of a report, and whether a ratio of two makes sense.
type Row = (&'static str, fn(&Report) -> String, Option<fn(&Report) -> f64>);

const ROWS: &[Row] = &[
    ("forks/s", |r| rate(r.forks_per_second), Some(|r| r.forks_per_second)),
    ("execs/s", |r| rate(r.execs_per_second), Some(|r| r.execs_per_second)),
    ("exits/s", |r| rate(r.exits_per_second), Some(|r| r.exits_per_second)),
    ("growths/s", |r| rate(r.growths_per_second), Some(|r| r.growths_per_second)),
    ("replacements/s", |r| rate(r.replacements_per_second), Some(|r| r.replacements_per_second)),
    ("reclaims/s", |r| rate(r.reclaims_per_second), Some(|r| r.reclaims_per_second)),
    ("seconds", |r| format!("{:.2}", r.seconds), None),
    ("rounds", |r| r.rounds.to_string(), None),
    ("duels", |r| r.duels.to_string(), None),
    ("resolved", |r| r.resolved.to_string(), None),
    ("missed", |r| r.missed.to_string(), None),
    ("stale", |r| r.stale.to_string(), None),
    ("leaked frames", |r| r.leaked_frames.to_string(), None),
    ("corrupted", |r| r.corrupted.to_string(), None),
];

fn rate(per_second: f64) -> String {
    format!("{per_second:.0}")
}

pub(crate) fn print_table(options: &Options, reports: &[Report]) {
    println!(
        "geometry {}, growth {}, {} CPUs, seed {}",
        options.geometry.name(),
        options.growth.name(),
        options.cpus(),
        options.seed
    );
    print!("{:<16}", "");
    for report in reports {
        print!("{:>26}", report.scheme);
    }
    println!("{}", if reports.len() == 2 { "     ratio" } else { "" });
    print!("{:<16}", "walk");
    for report in reports {
        print!("{:>26}", report.walk);
    }
    println!();
    for (name, shown, figure) in ROWS {
        print!("{name:<16}");
        for report in reports {
            print!("{:>26}", shown(report));
        }
        match (reports, figure) {
            ([ours, theirs], Some(figure)) if figure(theirs) > 0.0 => {
                println!("{:>10.2}", figure(ours) / figure(theirs));
            }
            _ => println!(),
        }
    }
}
