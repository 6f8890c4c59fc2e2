//! What this kernel keeps for each process: shared by its threads.
//!
//! `kernel_task::process::Process` has no place for it, so each thread's parts hold a reference, and who
//! has a process and no thread goes through its leader, which is on the task list until it is reaped.

use super::limits::Limits;
use super::{Process, Task, TaskRef};
use crate::cpu::clock;
use crate::os::tasks;
use crate::posix_timer::PosixTimers;
use crate::rcu;
use crate::sched::{State, WaitQueue, wake_if};
use crate::signal::Signal;
use crate::signal::pending::Pending;
use crate::timer::Timers;
use alloc::sync::Arc;
use kernel_sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use kernel_sync::{Mutex, smp_mb};
use kernel_task::pid::Pid;

/// Data of a process.
pub struct ProcessData {
    /// Signals for whichever thread takes them.
    pub pending: Pending,
    /// Signal that the parent gets when the process ends; 0 for none.
    pub exit_signal: u8,
    /// Process group.
    pub group: AtomicU32,
    /// Session.
    pub session: AtomicU32,
    /// Where its threads wait for children.
    pub child_event: WaitQueue,
    /// What `wait4` has not reported yet of stops and continuations. Its lock is held while
    /// [`ProcessData::set_stopped`] is called for a reason to report.
    pub stop_report: Mutex<Option<StopReport>>,
    stopped: AtomicBool,
    /// What it may use.
    pub limits: Mutex<Limits>,
    /// When it began, in nanoseconds since boot.
    pub started: u64,
    /// Time that threads which are gone had on processors, in nanoseconds.
    pub past_runtime: AtomicU64,
    /// The same for children that were waited for.
    pub children_runtime: AtomicU64,
    /// Which threads are to die; an [`Ending`].
    ending: AtomicU8,
    /// The thread that has executed a program in place of the leader, and goes by its id.
    successor: Mutex<Option<TaskRef>>,
    /// It has executed a program, and its parent may not move it to another group any more.
    pub has_executed: AtomicBool,
    /// Its timers.
    pub timers: Timers,
    /// Those of timer_create.
    pub posix_timers: PosixTimers,
    /// Where signals that are sent to it or its threads are announced, for who reads them from a file.
    pub signal_event: WaitQueue,
    /// How many have been.
    pub signals_sent: AtomicU64,
}

/// Which threads of a process are to die.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Ending {
    /// None.
    Nobody,
    /// All but the one that called `execve`.
    Others,
    /// All.
    Everybody,
}

/// A change that `wait4` can report besides an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReport {
    /// The process was stopped by this signal.
    Stopped(Signal),
    /// It goes on.
    Continued,
}

impl ProcessData {
    /// Data of a new process in process group `group` of `session`.
    #[must_use]
    pub fn new(exit_signal: u8, group: u32, session: u32, limits: Limits) -> Self {
        Self {
            pending: Pending::new(),
            exit_signal,
            group: AtomicU32::new(group),
            session: AtomicU32::new(session),
            child_event: WaitQueue::new(),
            stop_report: Mutex::new(None),
            stopped: AtomicBool::new(false),
            limits: Mutex::new(limits),
            started: clock::now(),
            past_runtime: AtomicU64::new(0),
            children_runtime: AtomicU64::new(0),
            ending: AtomicU8::new(Ending::Nobody as u8),
            successor: Mutex::new(None),
            has_executed: AtomicBool::new(false),
            timers: Timers::new(),
            posix_timers: PosixTimers::default(),
            signal_event: WaitQueue::new(),
            signals_sent: AtomicU64::new(0),
        }
    }

    /// Tells who reads signals from a file that one has been sent.
    pub fn announce_signal(&self) {
        self.signals_sent.fetch_add(1, Ordering::Release);
        // The signal is in its list before the queue is looked at; who waits is on the queue before it looks at the list.
        smp_mb();
        self.signal_event.wake_all();
    }

    /// Lets `thread`, the only one left, go by the id of the leader, which has exited (`de_thread`); or nobody.
    pub fn set_successor(&self, thread: Option<TaskRef>) {
        let old = core::mem::replace(&mut *self.successor.lock(), thread);
        drop(old);
    }

    /// Tells whether `task` goes by the leader's id.
    #[must_use]
    pub fn is_successor(&self, task: &Task) -> bool {
        let successor = self.successor.lock();
        successor.as_ref().is_some_and(|successor| core::ptr::eq::<Task>(&**successor, task))
    }

    /// Returns which threads are to die.
    #[inline]
    #[must_use]
    pub fn ending(&self) -> Ending {
        match self.ending.load(Ordering::Acquire) {
            0 => Ending::Nobody,
            1 => Ending::Others,
            _ => Ending::Everybody,
        }
    }

    /// Decides which threads die, of a process in which none is to die yet. Returns whether it was one.
    pub fn set_ending(&self, ending: Ending) -> bool {
        let (nobody, ending) = (Ending::Nobody as u8, ending as u8);
        let set = self.ending.compare_exchange(nobody, ending, Ordering::AcqRel, Ordering::Relaxed);
        set.is_ok()
    }

    /// Lets those live who are left, after [`Ending::Others`].
    pub fn spare_the_rest(&self) {
        self.ending.store(Ending::Nobody as u8, Ordering::Release);
    }

    /// Tells whether a signal has stopped the process.
    #[inline]
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Says whether the process is stopped, and returns what was said before.
    pub fn set_stopped(&self, stopped: bool) -> bool {
        self.stopped.swap(stopped, Ordering::AcqRel)
    }
}

/// Returns the data of `process`; `None` once it has been reaped.
#[must_use]
pub fn data_of(process: &Process) -> Option<Arc<ProcessData>> {
    let rcu = rcu::read_lock();
    let leader = tasks().pids().get(process.pid(), &rcu)?;
    Some(leader.parts().process.clone())
}

/// Returns the task that goes by the id `pid`; it may have exited.
#[must_use]
pub fn task_of(pid: Pid) -> Option<TaskRef> {
    let task = tasks().pids().get_ref(pid, &rcu::read_lock())?;
    let process = &task.parts().process;
    if task.is_leader() {
        let successor = process.successor.lock().clone();
        return successor.or(Some(task));
    }
    // Its own id is gone, as far as programs can see.
    if process.is_successor(&task) { None } else { Some(task) }
}

/// Returns the leader of the process `pid`, or who has taken its place; it may have exited.
#[must_use]
pub fn leader_of(pid: Pid) -> Option<TaskRef> {
    task_of(pid).filter(|task| task.process().pid() == pid)
}

/// Returns the id by which programs know `task` (`gettid`).
#[must_use]
pub fn visible_pid(task: &Task) -> Pid {
    let is_successor = !task.is_leader() && task.parts().process.is_successor(task);
    if is_successor { task.process().pid() } else { task.pid() }
}

/// Calls `visit` with every thread of `task`'s process that has not exited, and the leader in any case.
pub fn for_each_thread(task: &Task, mut visit: impl FnMut(&TaskRef)) {
    let leader = tasks().pids().get_ref(task.process().pid(), &rcu::read_lock());
    if let Some(leader) = leader {
        visit(&leader);
    }
    task.process().for_each_other(visit);
}

/// Wakes the threads of `me`'s process, to see that they are to die.
pub(super) fn wake_ending(me: &Task) {
    for_each_thread(me, |thread| {
        wake_if(thread, |state| {
            matches!(state, State::Interruptible | State::Killable | State::Stopped)
        });
    });
}
