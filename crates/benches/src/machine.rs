//! The machine that figures were taken on.

use std::mem::MaybeUninit;

use hosted::affinity::allowed_cpus;
use serde::Serialize;

/// What a reader must know about a machine to make sense of its figures.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// Model name, as the processor gives it.
    pub cpu: String,
    /// CPUs that this process may use.
    pub cpus: usize,
    /// Release of the host's kernel.
    pub kernel: String,
    /// Load averages over 1, 5 and 15 minutes, before the bench: above zero, others were at work.
    pub load: String,
}

impl Machine {
    /// Looks at the machine this process runs on. What cannot be found out is "unknown".
    #[must_use]
    pub fn here() -> Self {
        let first_line = |path: &str| read(path).lines().next().map(str::to_owned);
        let cpu = read("/proc/cpuinfo").lines().find_map(|line| {
            line.strip_prefix("model name")?.split_once(": ").map(|it| it.1.to_owned())
        });
        let load = first_line("/proc/loadavg")
            .map(|line| line.split(' ').take(3).collect::<Vec<_>>().join(" "));
        let unknown = || "unknown".to_owned();
        Self {
            cpu: cpu.unwrap_or_else(unknown),
            cpus: allowed_cpus().map_or(1, |cpus| cpus.len()),
            kernel: first_line("/proc/sys/kernel/osrelease").unwrap_or_else(unknown),
            load: load.unwrap_or_else(unknown),
        }
    }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// How often the host has taken the processor from the calling thread against its will; 0 where it does not say.
#[must_use]
pub fn involuntary_switches() -> u64 {
    // SAFETY: all zeros is a value of this plain structure.
    let mut usage = unsafe { MaybeUninit::<libc::rusage>::zeroed().assume_init() };
    // SAFETY: the structure is the call's own.
    match unsafe { libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage) } {
        0 => usage.ru_nivcsw.unsigned_abs(),
        _ => 0,
    }
}
