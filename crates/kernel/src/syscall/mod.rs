//! System calls, with the numbers, arguments and results of Linux on x86-64.

mod affinity;
mod clone;
mod descriptor;
mod epoll;
mod ids;
mod info;
mod io;
mod locks;
mod memory;
mod message;
mod path;
mod pidfd;
mod pieces;
mod poll;
mod posix_timers;
mod process;
mod scarcity;
mod signalfd;
mod signals;
mod socket;
mod sync;
mod table;
mod timerfd;
mod timers;
mod times;
mod transfer;
mod user;

use crate::cpu::clock;
use crate::cpu::syscall;
use crate::cpu::trap::TrapFrame;
use crate::mm::user::BadAddress;
use crate::rcu;
use crate::sched::{Current, Woken, current};
use crate::signal::deliver::{before_user_mode, restart};
use files::Errno;
use kernel_sync::atomic::{AtomicU64, Ordering};
use x86_64::instructions::interrupts;

/// What a system call returns in rax, or why it failed.
pub type Answer = Result<u64, Failure>;

/// How a system call ends when it does not succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// With an error.
    Errno(Errno),
    /// By a signal, and it is made again whatever is done about that (`ERESTARTNOINTR`).
    SignalFirst,
    /// By a signal, and it is made again unless the handler says otherwise (`ERESTARTSYS`).
    Interrupted,
    /// By a signal, and it is made again unless a handler was called (`ERESTARTNOHAND`).
    InterruptedByHandler,
    /// As [`Failure::InterruptedByHandler`], and made again it ends when it would have ended
    /// (`ERESTART_RESTARTBLOCK`).
    InterruptedSleep,
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

impl From<BadAddress> for Failure {
    fn from(_: BadAddress) -> Self {
        Self::Errno(Errno::FAULT)
    }
}

impl From<Woken> for Failure {
    fn from(woken: Woken) -> Self {
        match woken {
            Woken::Signal => Self::Interrupted,
            Woken::Deadline => Self::Errno(Errno::TIMEDOUT),
        }
    }
}

impl Failure {
    fn to_return(self) -> u64 {
        let value = match self {
            Self::Errno(errno) => errno.to_return(),
            Self::SignalFirst => restart::ALWAYS,
            Self::Interrupted => restart::UNLESS_HANDLER_SAYS,
            Self::InterruptedByHandler => restart::UNLESS_HANDLER,
            Self::InterruptedSleep => restart::UNTIL_DEADLINE,
        };
        value as u64
    }
}

/// A system call: who makes it, and its registers.
pub struct Call<'a> {
    /// The calling task.
    pub me: Current,
    /// Its registers.
    pub frame: &'a mut TrapFrame,
}

impl Call<'_> {
    /// Returns argument `n`, counted from 0.
    #[inline]
    fn arg(&self, n: usize) -> u64 {
        let f = &self.frame;
        [f.rdi, f.rsi, f.rdx, f.r10, f.r8, f.r9][n]
    }

    /// Returns when `duration` nanoseconds have passed since the program made this call: since it made it for the
    /// first time, if it is made again after an interruption.
    fn deadline_after(&self, duration: u64) -> u64 {
        let kept = self.me.parts().signals.take_deadline();
        kept.unwrap_or_else(|| clock::now().saturating_add(duration))
    }

    /// Says that a signal has interrupted this call, which was to end at `deadline`.
    fn interrupted_before(&self, deadline: u64) -> Failure {
        self.me.parts().signals.keep_deadline(deadline);
        Failure::InterruptedSleep
    }

    /// Returns argument `n` as a file descriptor.
    #[inline]
    fn fd(&self, n: usize) -> i32 {
        self.arg(n) as i32
    }
}

/// Takes system calls and exceptions over.
pub fn install() {
    syscall::set_handler(answer);
}

fn answer(frame: &mut TrapFrame) {
    interrupts::enable();
    let number = frame.error;
    let call = Call { me: current(), frame };
    // What a call returns is for rax, also when it has replaced all registers.
    #[cfg(feature = "storm")]
    crate::storm::before_call();
    let answer = table::call(number, call);
    #[cfg(feature = "storm")]
    crate::storm::after_call(number, answer);
    frame.rax = match answer {
        Ok(value) => value,
        Err(failure) => failure.to_return(),
    };
    rcu::quiesce_now_and_then();
    before_user_mode(frame);
}

/// Calls that nobody answers, one bit each, so that each is mentioned once.
static MENTIONED: [AtomicU64; 8] = [const { AtomicU64::new(0) }; 8];

/// Answers a call that this kernel does not have.
fn unknown(number: u64) -> Answer {
    let (word, bit) = ((number / 64) as usize, 1 << (number % 64));
    let first = match MENTIONED.get(word) {
        Some(word) => word.fetch_or(bit, Ordering::Relaxed) & bit == 0,
        // Beyond what Linux has: not worth remembering.
        None => false,
    };
    if first {
        log::info!("system call {number} is not implemented");
    }
    Err(Errno::NOSYS.into())
}
