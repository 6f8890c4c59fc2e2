//! The machine that figures were taken on, and how a thread stays on one CPU of it.

use std::io;
use std::mem::{MaybeUninit, size_of};

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

/// CPUs that this thread may run on, in ascending order.
///
/// # Errors
///
/// What `sched_getaffinity` says.
pub fn allowed_cpus() -> io::Result<Vec<usize>> {
    let mut set = MaybeUninit::<libc::cpu_set_t>::zeroed();
    // SAFETY: the set is as long as is said, and the thread is the calling one.
    let result =
        unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), set.as_mut_ptr()) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: all zeros is a set, and the call filled it in.
    let set = unsafe { set.assume_init() };
    let capacity = libc::CPU_SETSIZE as usize;
    // SAFETY: below the capacity of a set.
    Ok((0..capacity).filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, &set) }).collect())
}

/// Keeps the calling thread, and threads that it makes from now on, on CPU `cpu`.
///
/// # Errors
///
/// What `sched_setaffinity` says, for a CPU that does not exist or is not allowed.
pub fn pin_to(cpu: usize) -> io::Result<()> {
    if cpu >= libc::CPU_SETSIZE as usize {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: all zeros is an empty set.
    let mut set = unsafe { MaybeUninit::<libc::cpu_set_t>::zeroed().assume_init() };
    // SAFETY: below the capacity of a set.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: the set is as long as is said, and the thread is the calling one.
    match unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pinned_thread_may_run_on_one_cpu() {
        std::thread::spawn(|| {
            let last =
                *allowed_cpus().expect("this thread has a CPU").last().expect("at least one");
            pin_to(last).expect("an allowed CPU");
            assert_eq!(allowed_cpus().expect("still"), [last]);
            assert!(pin_to(usize::MAX).is_err());
        })
        .join()
        .expect("no assertion failed");
    }
}
