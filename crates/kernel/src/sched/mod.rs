//! The scheduler: tasks take turns on each processor, and processors share the work.
//!
//! Kernel code runs until it sleeps or returns to user mode; interrupts only note that it is time to
//! give way. Round robin on each processor, in slices of 4 ms. New tasks go where the least is to be done, woken
//! ones to where they ran last unless another processor is idle, and a processor that runs out of work
//! takes some from the others: all of them only to processors that the task may run on (`sched_setaffinity`).

mod entity;
mod list;
mod one_shot;
mod run_queue;
mod tick;
mod wait;
mod watchdog;

pub use entity::{Entity, State};
pub(crate) use run_queue::finish_switch;
pub use run_queue::{
    leave_for_good, schedule, set_affinity, should_give_way, wake, wake_if, wake_new,
};
pub use wait::{Patience, WaitQueue, Woken, sleep_stopped, sleep_until};
pub use watchdog::pass;

use crate::cpu::{area, ipi, smp};
use crate::os::{Task, TaskRef};
use crate::{println, rcu, report};
use core::mem::ManuallyDrop;
use core::ops::Deref;
use kernel_sync::RcuArc;

/// Takes the timer and the scheduler's interrupts over, and lets reports name the task.
pub fn install() {
    tick::install();
    report::set_task_description(|| match try_current() {
        Some(task) => {
            let (pid, process, kind) = (task.pid(), task.process().pid(), task.kind());
            println!("task: {pid} of process {process}, {kind:?}");
        }
        None => println!("task: none, the idle loop"),
    });
}

/// Reports, from now on, processors that take no interrupt for `seconds`, or do not get on for twice as long. With interrupts on.
pub fn watch(seconds: u64) {
    watchdog::start(seconds);
    // An idle processor has no timer set, and would not look after its neighbour.
    ipi::call_on(smp::online(), &|_cpu| one_shot::arm_for_slice());
}

/// The task that executes this code. Valid on its own stack, which the type cannot leave: it is
/// neither `Send` nor `Sync`.
pub struct Current {
    /// Borrowed from the run queue.
    task: ManuallyDrop<TaskRef>,
    not_send: core::marker::PhantomData<*const ()>,
}

impl Deref for Current {
    type Target = TaskRef;

    fn deref(&self) -> &TaskRef {
        &self.task
    }
}

/// Returns the running task.
///
/// # Panics
///
/// In the idle loop, which is no task.
#[inline]
#[must_use]
pub fn current() -> Current {
    try_current().expect("a task runs here, and not the idle loop")
}

/// Returns the running task; `None` in the idle loop and before the scheduler.
#[inline]
#[must_use]
pub fn try_current() -> Option<Current> {
    let task = area::current() as *mut Task;
    if task.is_null() {
        return None;
    }
    // SAFETY: the scheduler stores what is in a TaskRef that its run queue holds while the task runs,
    // that is, while this code does. The count stays the queue's: the value is never dropped.
    let task = ManuallyDrop::new(unsafe { RcuArc::from_raw(task) });
    Some(Current { task, not_send: core::marker::PhantomData })
}

/// What a processor does when it has nothing to do. Its stack is the one it came up on.
pub fn idle() -> ! {
    loop {
        x86_64::instructions::interrupts::enable();
        schedule();
        rcu::flush();
        run_queue::halt_if_idle();
    }
}
