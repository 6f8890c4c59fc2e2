//! Keeping threads on CPUs of the host's: a thread that plays a CPU is one only while it does not share it with another that does.

use std::io;
use std::mem::{MaybeUninit, size_of};

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
