//! Calls that are refused while memory is scarce.
//!
//! Much of what a call makes is allocated where a failure could not be reported: a reference-counted object, a node of a tree. What
//! the kernel holds back for that (`mm::frames::reserve`) is enough for the calls that run at one moment, one on each processor,
//! and not for what programs would like to have. So when that begins to go, a process is killed, and if that does not help, calls that make
//! something fail with `ENOMEM`. Those that end, give back, wait or tell go on.

use super::Call;
use crate::mm::frames;
use crate::oom::{Wanted, make_room};
use files::Errno;

/// Tells whether a call leaves something in the kernel that was not there before.
fn makes_something(number: u64) -> bool {
    matches!(
        number,
        // open, poll, mmap, mprotect, brk, pipe, select, mremap
        2 | 7 | 9 | 10 | 12 | 22 | 23 | 25
        // dup, dup2, alarm, setitimer, the calls on sockets that make one or send
        | 32 | 33 | 37 | 38 | 41..=44 | 46 | 49 | 50 | 53
        // clone, fork, vfork, execve
        | 56..=59
        // rename, mkdir, creat, link, symlink, rt_sigqueueinfo, mknod
        | 82 | 83 | 85 | 86 | 88 | 129 | 133
        // epoll_create, epoll_wait, epoll_ctl, inotify_init, openat, mkdirat, mknodat, renameat, linkat, symlinkat
        | 213 | 232 | 233 | 253 | 254 | 257..=259 | 264..=266
        // pselect6, ppoll, epoll_pwait, signalfd, timerfd_create, eventfd, timerfd_settime, accept4, signalfd4, eventfd2, epoll_create1,
        // dup3, pipe2
        | 270 | 271 | 281 | 282 | 283 | 284 | 286 | 288..=293
        // rt_tgsigqueueinfo, sendmmsg, renameat2, memfd_create, execveat, clone3, openat2, epoll_pwait2
        | 297 | 307 | 316 | 319 | 322 | 435 | 437 | 441
    )
}

/// Makes room for call `number` if it needs some and there is little.
///
/// # Errors
///
/// `ENOMEM` when there is no room to be made.
#[inline]
pub(super) fn check(call: &Call<'_>, number: u64) -> Result<(), Errno> {
    if frames::is_scarce() && makes_something(number) { relieve(call, number) } else { Ok(()) }
}

#[cold]
fn relieve(call: &Call<'_>, number: u64) -> Result<(), Errno> {
    make_room(&call.me, Wanted::Call(number), || !frames::is_scarce());
    if frames::is_scarce() { Err(Errno::NOMEM) } else { Ok(()) }
}
