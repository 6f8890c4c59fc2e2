//! What the scheduler keeps for each task.

use crate::cpu::clock;
use crate::cpu::mask::CpuMask;
use crate::os::Task;
use core::ptr::null_mut;
use kernel_sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, Ordering};
use kernel_sync::smp_mb;

/// Whether a task can run, and if not, what wakes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// It runs, waits on a run queue, or is on its way there.
    Runnable = 0,
    /// It sleeps until what it waits for, a signal, or its deadline.
    Interruptible = 1,
    /// It sleeps until what it waits for, or a signal that kills it.
    Killable = 2,
    /// It sleeps until what it waits for.
    Uninterruptible = 3,
    /// A signal has stopped it; only SIGCONT and SIGKILL wake it.
    Stopped = 4,
    /// It has exited and never runs again.
    Dead = 5,
}

impl State {
    pub(super) const fn from_u8(state: u8) -> Self {
        match state {
            0 => Self::Runnable,
            1 => Self::Interruptible,
            2 => Self::Killable,
            3 => Self::Uninterruptible,
            4 => Self::Stopped,
            _ => Self::Dead,
        }
    }
}

/// The scheduler's part of a task.
#[derive(Debug)]
pub struct Entity {
    /// A [`State`]. Set to a sleep by the task itself, and to runnable by who wakes it, under the
    /// lock of the run queue of `cpu`.
    pub(super) state: AtomicU8,
    /// Processor the task runs on, waits for, or ran on last.
    pub(super) cpu: AtomicU32,
    /// Processors the task may run on, one bit each.
    allowed: AtomicU64,
    /// Some processor uses the task's stack.
    pub(super) on_cpu: AtomicBool,
    /// Link of the run queue.
    pub(super) next: AtomicPtr<Task>,
    /// Time on a processor so far, in nanoseconds.
    pub(super) runtime: AtomicU64,
    /// When the task came on its processor, in nanoseconds since boot.
    pub(super) since: AtomicU64,
}

impl Entity {
    /// A task that is runnable and was never on any processor.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            state: AtomicU8::new(State::Runnable as u8),
            cpu: AtomicU32::new(0),
            allowed: AtomicU64::new(u64::MAX),
            on_cpu: AtomicBool::new(false),
            next: AtomicPtr::new(null_mut()),
            runtime: AtomicU64::new(0),
            since: AtomicU64::new(0),
        }
    }

    /// Returns the state, which may be another one by now.
    #[must_use]
    pub fn state(&self) -> State {
        State::from_u8(self.state.load(Ordering::Relaxed))
    }

    /// Tells whether the task is dead and its processor has left its stack, which is free by now.
    #[cfg(feature = "storm")]
    pub(crate) fn has_left(&self) -> bool {
        self.state() == State::Dead && !self.on_cpu.load(Ordering::Acquire)
    }

    /// Tells whether the task has exited: its time is counted with the process's past.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.state() == State::Dead
    }

    /// Returns the processor the task is on, or was.
    #[must_use]
    pub fn cpu(&self) -> usize {
        self.cpu.load(Ordering::Relaxed) as usize
    }

    /// Returns the processors the task may run on, some of which may not exist.
    #[must_use]
    pub fn allowed(&self) -> CpuMask {
        CpuMask::from_bits(self.allowed.load(Ordering::Relaxed))
    }

    /// Says where the task may run. For a task that is runnable already, [`super::set_affinity`] does that.
    pub fn set_allowed(&self, allowed: CpuMask) {
        self.allowed.store(allowed.bits(), Ordering::Relaxed);
    }

    /// Returns the task's time on processors up to its last switch, in nanoseconds.
    #[must_use]
    pub fn runtime(&self) -> u64 {
        self.runtime.load(Ordering::Relaxed)
    }

    /// Returns the time on processors of the running task up to now, in nanoseconds.
    #[must_use]
    pub fn runtime_now(&self) -> u64 {
        self.runtime() + clock::now().saturating_sub(self.since.load(Ordering::Relaxed))
    }

    /// Announces that the running task is about to sleep. To be followed by a check of what it waits
    /// for, and by [`super::schedule`] or [`Entity::stay_awake`].
    pub(super) fn about_to_sleep(&self, state: State) {
        self.state.store(state as u8, Ordering::Relaxed);
        state_set_before_condition_read();
    }

    /// Takes [`Entity::about_to_sleep`] back.
    pub(super) fn stay_awake(&self) {
        self.state.store(State::Runnable as u8, Ordering::Relaxed);
    }
}

impl Default for Entity {
    fn default() -> Self {
        Self::new()
    }
}

/// Orders the store of a sleeping state before the check of the condition (`set_current_state`).
///
/// Partner: `condition_set_before_state_read` in `run_queue.rs`. Either the sleeper sees the condition, or the waker sees
/// it asleep.
fn state_set_before_condition_read() {
    smp_mb();
}
