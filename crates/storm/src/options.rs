//! The command line.

use std::num::{NonZeroU64, NonZeroUsize};
use std::str::FromStr;
use std::time::Duration;

use clap::Parser;
use hosted::affinity::allowed_cpus;
use hosted::walk::Walk;
use mutants::Mutant;

/// CPUs as threads fork, exec and exit while the kernel grows, and every CPU checks what it sees.
///
/// Exits with 1 when an address was missed or stale or a frame leaked, with 2 for a bad command line.
#[derive(Debug, Clone, Parser)]
#[command(version)]
pub(crate) struct Options {
    /// Print one JSON object on standard output instead of a table.
    #[arg(long)]
    pub(crate) json: bool,

    /// Seconds of storm in all, shared by the schemes that are run; a day at most.
    #[arg(long, default_value = "10", value_parser = seconds)]
    pub(crate) seconds: Duration,

    /// CPUs, each a thread; by default as many as the machine has, and at least 2.
    #[arg(long)]
    pub(crate) cpus: Option<NonZeroUsize>,

    /// Page-table geometry.
    #[arg(long, default_value = "4", value_name = "2|3-shared|3-private|4|5")]
    pub(crate) geometry: Shape,

    /// Scheme: late (this project), locked (pgd_lock and pgd_list), or both, round by round in turn.
    #[arg(long, value_name = "late|locked|both")]
    pub(crate) scheme: Option<Which>,

    /// What happens to the kernel half beside forks: extend only adds top-level entries, and ends a round when all slots are
    /// used; replace moves, splits and collapses them; reclaim takes them out again; mixed does all of it.
    #[arg(long, default_value = "mixed", value_name = "extend|replace|reclaim|mixed")]
    pub(crate) growth: Growth,

    /// How growths of the late scheme find mms: over a list of them, or through tasks and CPUs [default: mms; tasks with
    /// --mutant, some of which are about tasks, but for the walk's barrier].
    #[arg(long, value_name = "mms|tasks")]
    pub(crate) walk: Option<WalkChoice>,

    /// Seed of the random choices. Two runs with one seed choose the same, but do not interleave the same.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,

    /// Run a deliberately wrong variant of the late scheme; `list` names them.
    #[arg(long, value_name = "NAME")]
    pub(crate) mutant: Option<MutantChoice>,

    /// Duels only: in every round one CPU publishes mms at the very moments at which another grows the kernel.
    #[arg(long)]
    pub(crate) duels: bool,

    /// Keep each CPU's thread on a processor of its own; there must be enough of them.
    #[arg(long)]
    pub(crate) pin: bool,

    /// One operation in this many is a growth of the kernel [default: 16; 3 with --mutant].
    #[arg(long, value_name = "N")]
    pub(crate) grow_every: Option<NonZeroU64>,
}

/// A page-table geometry, by the names of the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Two,
    ThreeShared,
    ThreePrivate,
    Four,
    Five,
}

impl Shape {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Two => "2",
            Self::ThreeShared => "3-shared",
            Self::ThreePrivate => "3-private",
            Self::Four => "4",
            Self::Five => "5",
        }
    }
}

impl FromStr for Shape {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        [Self::Two, Self::ThreeShared, Self::ThreePrivate, Self::Four, Self::Five]
            .into_iter()
            .find(|shape| shape.name() == name)
            .ok_or_else(|| {
                format!("no geometry {name:?}; known are 2, 3-shared, 3-private, 4 and 5")
            })
    }
}

/// What happens to the kernel half.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Growth {
    Extend,
    Replace,
    Reclaim,
    Mixed,
}

impl Growth {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Extend => "extend",
            Self::Replace => "replace",
            Self::Reclaim => "reclaim",
            Self::Mixed => "mixed",
        }
    }
}

impl FromStr for Growth {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        [Self::Extend, Self::Replace, Self::Reclaim, Self::Mixed]
            .into_iter()
            .find(|growth| growth.name() == name)
            .ok_or_else(|| {
                format!("no growth {name:?}; known are extend, replace, reclaim and mixed")
            })
    }
}

/// A way to find mms, by the names of the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WalkChoice(Walk);

impl WalkChoice {
    pub(crate) const fn walk(self) -> Walk {
        self.0
    }

    pub(crate) const fn name_of(walk: Walk) -> &'static str {
        match walk {
            Walk::OverMms => "mms",
            Walk::ThroughTasks => "tasks",
        }
    }
}

impl FromStr for WalkChoice {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        [Walk::OverMms, Walk::ThroughTasks]
            .into_iter()
            .find(|&walk| Self::name_of(walk) == name)
            .map(Self)
            .ok_or_else(|| format!("no walk {name:?}; known are mms and tasks"))
    }
}

/// Which schemes are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    Late,
    Locked,
    Both,
}

impl FromStr for Which {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "late" => Ok(Self::Late),
            "locked" => Ok(Self::Locked),
            "both" => Ok(Self::Both),
            _ => Err(format!("no scheme {name:?}; known are late, locked and both")),
        }
    }
}

/// What `--mutant` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MutantChoice {
    List,
    One(Mutant),
}

impl FromStr for MutantChoice {
    type Err = mutants::UnknownMutant;

    fn from_str(name: &str) -> Result<Self, mutants::UnknownMutant> {
        if name == "list" { Ok(Self::List) } else { name.parse().map(Self::One) }
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("{text:?} is no number of seconds"))?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if !duration.is_zero() && seconds <= 86_400.0 => Ok(duration),
        _ => Err(format!("{text} seconds; more than 0 and at most 86400 are possible")),
    }
}

impl Options {
    /// Tells what cannot be had together, or not on this machine.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.mutant.is_some() && self.scheme.is_some() {
            return Err("--mutant is a scheme of its own; it cannot be used with --scheme".into());
        }
        if self.duels && !matches!(self.growth, Growth::Extend | Growth::Mixed) {
            return Err(format!(
                "--duels only add entries; --growth {} does not",
                self.growth.name()
            ));
        }
        if self.duels && self.cpus() < 2 {
            return Err("--duels take two CPUs; --cpus is 1".into());
        }
        if let Some(MutantChoice::One(mutant)) = self.mutant
            && self.duels
            && mutant.needs_updates()
        {
            return Err(format!("{mutant} is right where entries are only added, as --duels do"));
        }
        let processors = self.pinned_to().len();
        if self.pin && processors < self.cpus() {
            return Err(format!(
                "--pin takes a processor for each CPU; there are {processors} for {}",
                self.cpus()
            ));
        }
        Ok(())
    }

    /// The processors that CPUs' threads are kept on; none without `--pin`.
    pub(crate) fn pinned_to(&self) -> Vec<usize> {
        if self.pin { allowed_cpus().unwrap_or_default() } else { Vec::new() }
    }

    /// Number of CPUs.
    pub(crate) fn cpus(&self) -> usize {
        let machine = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        self.cpus.map_or(machine.max(2), NonZeroUsize::get)
    }

    /// Growth pressure: one operation in this many.
    pub(crate) fn grow_every(&self) -> u64 {
        let default = if self.mutant.is_some() { 3 } else { 16 };
        self.grow_every.map_or(default, NonZeroU64::get)
    }
}
