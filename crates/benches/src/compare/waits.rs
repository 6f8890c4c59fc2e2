//! How long a fork may take while another CPU grows the kernel over very many mms.
//!
//! A walk that holds a lock which forks want stops them for as long as it takes. What a fork takes with nobody growing is
//! measured as well: the host interrupts its threads now and then, and that is no scheme's fault. Forks in whose life the host gave the
//! processor to another thread are known by the thread's count of involuntary switches, and the longest of the others is
//! reported beside the longest of all. Interrupts, and what a hypervisor takes, are in both.
//!
//! That this project's forks wait for no walk does not hang on these figures: a walk over the list of mms takes no lock but the one
//! of the PGD it visits, which forks, execs and exits never take.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hosted::affinity::{allowed_cpus, pin_to};
use serde::Serialize;

use crate::chosen::Scheme;
use crate::compare::Plan;
use crate::kernel::{BenchKernel, GROWTHS, UserHalf};
use crate::machine::involuntary_switches;
use crate::pairs::Spread;

/// Forks on one CPU while another grows the kernel.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Point {
    /// The scheme.
    pub scheme: Scheme,
    /// Live mms.
    pub mms: u64,
    /// Growths meanwhile.
    pub growths: usize,
    /// Nanoseconds of a growth per mm, while the forks went on; none without growths.
    pub growth_ns_per_mm: Option<Spread>,
    /// Nanoseconds of forks while nobody grew.
    pub quiet: Forks,
    /// Nanoseconds of forks while growths followed one another.
    pub growing: Forks,
}

/// Times of forks, in nanoseconds.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Forks {
    /// How many.
    pub forks: usize,
    /// Half of them took less.
    pub median: f64,
    /// 90 of 100 took less.
    pub p90: f64,
    /// 99 of 100 took less.
    pub p99: f64,
    /// 999 of 1000 took less.
    pub p999: f64,
    /// 9,999 of 10,000 took less.
    pub p9999: f64,
    /// The longest one.
    pub longest: f64,
    /// The longest one of those whose thread kept its processor.
    pub longest_unpreempted: f64,
    /// Those whose thread did not.
    pub preempted: usize,
}

impl Forks {
    fn of(times: Vec<(Duration, bool)>) -> Self {
        let preempted = times.iter().filter(|&&(_, preempted)| preempted).count();
        let kept = times.iter().filter(|&&(_, preempted)| !preempted);
        let unpreempted = kept.map(|&(time, _)| time).max().unwrap_or_default();
        let mut times: Vec<Duration> = times.into_iter().map(|(time, _)| time).collect();
        times.sort_unstable();
        let at = |part: f64| {
            let index = ((times.len() as f64 * part) as usize).min(times.len().saturating_sub(1));
            times.get(index).map_or(0.0, |time| time.as_nanos() as f64)
        };
        Self {
            forks: times.len(),
            median: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            p9999: at(0.9999),
            longest: at(1.0),
            longest_unpreempted: unpreempted.as_nanos() as f64,
            preempted,
        }
    }
}

/// How long each scheme is watched, in each of the two states, at most.
const WATCH: Duration = Duration::from_millis(1200);

/// Watches all schemes over the largest number of mms.
///
/// # Panics
///
/// When a kernel does not end as it should.
pub fn measure(plan: &Plan, mut progress: impl FnMut(&str)) -> Vec<Point> {
    let mms = plan.mms.iter().copied().max().unwrap_or(1);
    let watched = Scheme::ALL.into_iter().map(|scheme| {
        progress(&format!("forks while the kernel grows: {}", scheme.name()));
        watch(scheme, mms)
    });
    watched.collect()
}

fn watch(scheme: Scheme, mms: u64) -> Point {
    let mut kernel =
        BenchKernel::boot(scheme, scheme.walk(), (1 << 14) + mms as usize, 2, UserHalf::Empty);
    kernel.fill_up_to(mms);
    let places = allowed_cpus().unwrap_or_default();
    let pin = |number: usize| {
        if let Some(&place) = places.get(number % places.len().max(1)) {
            // A host that does not allow it has noisier figures.
            let _ = pin_to(place);
        }
    };
    let forks = |goes_on: &(dyn Fn() -> bool + Sync)| {
        let mut times = Vec::new();
        let kernel = &kernel;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                pin(0);
                let mut switches = involuntary_switches();
                kernel.fork_and_time(1, goes_on, |time| {
                    let before = std::mem::replace(&mut switches, involuntary_switches());
                    times.push((time, switches != before));
                });
            });
        });
        Forks::of(times)
    };
    let began = Instant::now();
    let quiet = forks(&|| began.elapsed() < WATCH / 2);
    let (over, growths) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    let growing = std::thread::scope(|scope| {
        scope.spawn(|| {
            pin(1);
            let began = Instant::now();
            for growth in 0..GROWTHS {
                if began.elapsed() > WATCH {
                    break;
                }
                let Some(time) = kernel.grow(growth) else { break };
                lock(&growths).push(time.as_nanos() as f64 / mms as f64);
            }
            // Where growths cost nothing, they are over before the first fork is.
            std::thread::sleep((WATCH / 2).saturating_sub(began.elapsed()));
            over.store(true, Ordering::Relaxed);
        });
        forks(&|| !over.load(Ordering::Relaxed))
    });
    kernel.shut_down();
    let times = std::mem::take(&mut *lock(&growths));
    let growths = times.len();
    Point { scheme, mms, growths, growth_ns_per_mm: Spread::of(times), quiet, growing }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
