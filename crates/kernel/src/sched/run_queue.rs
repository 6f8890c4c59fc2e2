//! Run queues: who runs on a processor, who waits for it, and how a task comes off and on.
//!
//! # States and their lock
//!
//! A task belongs to the run queue of its processor (`Entity::cpu`), sleeping or not, and its state
//! goes back to runnable under that queue's lock only. A sleeping state is stored by the task
//! itself without the lock; [`schedule`] looks at it under the lock:
//!
//! ```text
//! sleeper (CPU A)                              waker (CPU B)
//! s1  state = sleep                            w1  condition = true
//! s2  FULL BARRIER                             w2  FULL BARRIER
//! s3  condition? then state = runnable         w3  lock queue of A; state is a sleep?
//! s4  schedule: lock queue of A                      no: nothing to do
//! s5    state is a sleep: leave the queue            yes: state = runnable
//! s6    unlock, switch                         w4    the task still runs there? it stays (s5 sees it)
//!                                                    otherwise: on a queue with it
//! ```
//!
//! By the barriers, s3 sees w1 or w3 sees s1. If w3 comes before s5, the task is found running (w4), and s5
//! finds it runnable. If s5 comes first, w4 puts it on a queue, possibly while its processor is still
//! switching away from it on its stack (`on_cpu`). Then it goes on that processor's own queue, from
//! which no other one takes it before the switch is over.
//!
//! # Where a task may run
//!
//! A task that is found on a processor it may not run on (`Entity::allowed`) runs there until it would enter user
//! mode, and then moves: [`schedule`] leaves it on no queue, and [`finish_switch`] puts it on another
//! processor's when its stack is free.

use super::entity::State;
use super::list::TaskList;
use super::{one_shot, watchdog};
use crate::cpu::area::{self, cpu_index};
use crate::cpu::local::{CpuLocal, Padded};
use crate::cpu::mask::CpuMask;
use crate::cpu::{MAX_CPUS, ipi, smp};
use crate::os::{Os, Task, TaskRef, loaded_here};
use crate::sync::{IrqGuard, IrqMutex};
use crate::task::context::{self, Context};
use core::cell::Cell;
use kernel_fork::copy_process::RunnableTask;
use kernel_sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use kernel_sync::smp_mb;

/// One processor's tasks.
struct RunQueue {
    ready: TaskList,
    /// The task that runs, `None` for the idle loop.
    running: Option<TaskRef>,
}

static QUEUES: [Padded<IrqMutex<RunQueue>>; MAX_CPUS] =
    [const { Padded(IrqMutex::new(RunQueue { ready: TaskList::new(), running: None })) }; MAX_CPUS];

/// Tasks on each processor, the running one included. A hint for balancing.
static LOAD: [Padded<AtomicUsize>; MAX_CPUS] = [const { Padded(AtomicUsize::new(0)) }; MAX_CPUS];

/// Processors that are in the idle loop or about to halt there.
static IDLE: AtomicU64 = AtomicU64::new(0);

/// Where each processor's idle loop goes on.
static IDLE_CONTEXTS: [Padded<Context>; MAX_CPUS] = [const { Padded(Context::new()) }; MAX_CPUS];

/// A task that its processor has just left.
struct Left {
    task: TaskRef,
    /// It is runnable, and on no queue.
    moves: bool,
}

/// The task each processor has just left, for [`finish_switch`].
static LEFT: CpuLocal<Cell<Option<Left>>> =
    CpuLocal::new([const { Padded(Cell::new(None)) }; MAX_CPUS]);

/// Processors whose running task shall give way when it returns to user mode.
static GIVE_WAY: [Padded<AtomicBool>; MAX_CPUS] =
    [const { Padded(AtomicBool::new(false)) }; MAX_CPUS];

/// Makes this processor's running task give way on its return to user mode.
pub(super) fn give_way_soon() {
    GIVE_WAY[cpu_index()].0.store(true, Ordering::Relaxed);
}

/// Tells whether the running task should call [`schedule`].
#[inline]
#[must_use]
pub fn should_give_way() -> bool {
    GIVE_WAY[cpu_index()].0.load(Ordering::Relaxed)
}

/// Tells whether tasks wait for this processor.
pub(super) fn has_waiting() -> bool {
    LOAD[cpu_index()].0.load(Ordering::Relaxed) > 1
}

fn publish_load(cpu: usize, queue: &RunQueue) {
    let load = queue.ready.len() + usize::from(queue.running.is_some());
    LOAD[cpu].0.store(load, Ordering::Relaxed);
}

/// Returns an idle processor of `allowed`, this one last.
fn idle_cpu(allowed: CpuMask) -> Option<usize> {
    let idle = IDLE.load(Ordering::Relaxed) & smp::online().and(allowed).bits();
    let others = idle & !(1 << cpu_index());
    let from = if others != 0 { others } else { idle };
    (from != 0).then(|| from.trailing_zeros() as usize)
}

/// Puts a runnable task that is on no queue on that of `cpu`, and sees to it that it is noticed.
fn enqueue(cpu: usize, task: TaskRef) {
    let mut queue = QUEUES[cpu].0.lock();
    task.parts().sched.cpu.store(cpu as u32, Ordering::Relaxed);
    queue.ready.push(task);
    publish_load(cpu, &queue);
    let was_idle = IDLE.load(Ordering::Relaxed) & (1 << cpu) != 0;
    drop(queue);
    if was_idle && cpu != cpu_index() {
        ipi::reschedule(cpu);
    }
}

/// Returns the processor of `allowed` with the least to do, this one if there is none with less.
fn least_loaded(allowed: CpuMask) -> usize {
    let here = cpu_index();
    let load = |cpu: &usize| LOAD[*cpu].0.load(Ordering::Relaxed);
    let allowed = smp::online().and(allowed).into_iter();
    allowed.min_by_key(|cpu| (load(cpu), *cpu != here)).unwrap_or(here)
}

/// Lets a new task run, on the processor with the least to do.
pub fn wake_new(task: RunnableTask<Os>) {
    let cpu = least_loaded(task.parts().sched.allowed());
    enqueue(cpu, task.into_task());
}

/// Says where `task` may run (`sched_setaffinity`). If it runs elsewhere, it moves before it is in user mode again.
pub fn set_affinity(task: &Task, allowed: CpuMask) {
    let sched = &task.parts().sched;
    sched.set_allowed(allowed);
    loop {
        let cpu = sched.cpu();
        // Whoever takes the task off the queue after this lock sees the new set.
        let queue = QUEUES[cpu].0.lock();
        if sched.cpu() != cpu {
            continue;
        }
        let runs = queue.running.as_deref().is_some_and(|running| core::ptr::eq(running, task));
        if runs && !allowed.contains(cpu) {
            GIVE_WAY[cpu].0.store(true, Ordering::Relaxed);
            drop(queue);
            if cpu != cpu_index() {
                ipi::reschedule(cpu);
            }
        }
        return;
    }
}

/// Orders what the waker has changed before its look at the sleeper's state.
///
/// Partner: `state_set_before_condition_read` in `entity.rs`.
fn condition_set_before_state_read() {
    smp_mb();
}

/// Wakes `task` if it sleeps in a state that `wakes` accepts; returns whether it did.
///
/// May be called from interrupt handlers.
pub fn wake_if(task: &TaskRef, wakes: impl Fn(State) -> bool) -> bool {
    condition_set_before_state_read();
    let sched = &task.parts().sched;
    if sched.state() == State::Runnable {
        return false;
    }
    loop {
        let cpu = sched.cpu();
        let mut queue = QUEUES[cpu].0.lock();
        if sched.cpu() != cpu {
            // It was moved between the look and the lock.
            continue;
        }
        let state = sched.state();
        if state == State::Runnable || state == State::Dead || !wakes(state) {
            return false;
        }
        sched.state.store(State::Runnable as u8, Ordering::Relaxed);
        if queue.running.as_ref().is_some_and(|running| running.ptr_eq(task)) {
            return true;
        }
        let allowed = sched.allowed();
        let elsewhere = if sched.on_cpu.load(Ordering::Acquire) {
            None
        } else if !allowed.contains(cpu) {
            Some(least_loaded(allowed))
        } else if queue.running.is_some() {
            idle_cpu(allowed)
        } else {
            None
        };
        if let Some(other) = elsewhere.filter(|&other| other != cpu) {
            // Runnable and on no queue: nobody else touches it.
            drop(queue);
            enqueue(other, task.clone());
            return true;
        }
        queue.ready.push(task.clone());
        publish_load(cpu, &queue);
        let is_idle = IDLE.load(Ordering::Relaxed) & (1 << cpu) != 0;
        drop(queue);
        if is_idle && cpu != cpu_index() {
            ipi::reschedule(cpu);
        }
        return true;
    }
}

/// Wakes `task` from any sleep but a stop.
pub fn wake(task: &TaskRef) -> bool {
    wake_if(task, |state| state != State::Stopped)
}

/// Takes a task off another processor's queue.
fn steal(here: usize) -> Option<TaskRef> {
    // A task whose last processor is still on its stack cannot be had yet.
    let is_free = |task: &Task| {
        let sched = &task.parts().sched;
        sched.allowed().contains(here) && !sched.on_cpu.load(Ordering::Acquire)
    };
    for cpu in smp::online().without(here) {
        // The running task counts too.
        if LOAD[cpu].0.load(Ordering::Relaxed) < 2 {
            continue;
        }
        let mut queue = QUEUES[cpu].0.lock();
        let found = queue.ready.take(is_free);
        publish_load(cpu, &queue);
        if let Some(task) = found {
            task.parts().sched.cpu.store(here as u32, Ordering::Relaxed);
            return Some(task);
        }
    }
    None
}

/// Lets another task run, if there is one. Returns when this one runs again: at once if it is
/// runnable and alone, and otherwise when it has been woken and its turn has come.
///
/// Everything that belongs to the processor ends before: no lock and no RCU guard is held.
///
/// # Panics
///
/// When the next task's mm is not ready, which making it runnable excludes.
pub fn schedule() {
    let irqs_off = IrqGuard::disable();
    watchdog::pass();
    let cpu = cpu_index();
    GIVE_WAY[cpu].0.store(false, Ordering::Relaxed);
    let mut queue = QUEUES[cpu].0.lock();
    let keeps = |task: &TaskRef| task.parts().sched.state() == State::Runnable;
    let may_run_here = |task: &TaskRef| task.parts().sched.allowed().contains(cpu);
    let stays = queue.running.as_ref().is_some_and(|task| keeps(task) && may_run_here(task));
    let next = match queue.ready.take(|_| true) {
        Some(task) => Some(task),
        None if stays => return,
        None => {
            // Not both locks at once: two idle processors would wait for each other.
            drop(queue);
            let stolen = steal(cpu);
            queue = QUEUES[cpu].0.lock();
            match (stolen, queue.ready.take(|_| true)) {
                (Some(stolen), Some(own)) => {
                    queue.ready.push(stolen);
                    Some(own)
                }
                (stolen, own) => own.or(stolen),
            }
        }
    };
    // Once more: it may have been woken while the lock was not held.
    let previous = queue.running.take();
    let mut moves = false;
    if let Some(task) = previous.as_ref().filter(|task| keeps(task)) {
        moves = !may_run_here(task);
        if !moves {
            if next.is_none() {
                queue.running = previous;
                return;
            }
            queue.ready.push(task.clone());
        }
    }
    if previous.is_none() && next.is_none() {
        return;
    }
    // A raw pointer, because the reference stays with the queue while the task runs.
    let running: *const Task = next.as_deref().map_or(core::ptr::null(), core::ptr::from_ref);
    if let Some(task) = &next {
        task.parts().sched.on_cpu.store(true, Ordering::Relaxed);
        if !may_run_here(task) {
            GIVE_WAY[cpu].0.store(true, Ordering::Relaxed);
        }
    }
    queue.running = next;
    publish_load(cpu, &queue);
    drop(queue);

    // SAFETY: null, or the task that is `running` on this processor from here on: the queue holds a
    // reference to it until its own call of `schedule` takes it out.
    let next = unsafe { running.as_ref() };
    account(previous.as_deref(), next);
    if let Some(task) = next {
        // Without an mm of its own, the task borrows what is loaded.
        let mm = task.mm_to_load().expect("only tasks whose mm is ready are made runnable");
        if let Some(mm) = mm {
            // SAFETY: this processor's, interrupts are off, and the task holds its mm.
            unsafe { loaded_here().switch_mm(mm) };
        }
        one_shot::arm_for_slice();
    }
    area::set_current(running as u64);
    let from = match &previous {
        Some(task) => context::of(task),
        None => &IDLE_CONTEXTS[cpu].0,
    };
    let from = core::ptr::from_ref(from);
    let to = match next {
        Some(task) => context::of(task),
        None => &IDLE_CONTEXTS[cpu].0,
    };
    context::switch_registers(previous.as_deref(), next);
    LEFT.with(|left| left.set(previous.map(|task| Left { task, moves })));
    // SAFETY: `from` outlives the switch: `LEFT` holds its task until `finish_switch`, which the next
    // context calls after `from` is complete. `to` was saved by an earlier switch, or made for a new
    // task, and is used by this processor alone: the task came off a queue with `on_cpu` false, or on
    // this very processor.
    unsafe { context::switch(&*from, to) };
    finish_switch();
    drop(irqs_off);
}

/// Ends a switch, on the stack that was switched to.
///
/// Every context comes here first: those that `schedule` has left, and new tasks (`task::first_run`).
pub(crate) fn finish_switch() {
    #[cfg(feature = "storm")]
    crate::storm::after_switch();
    let Some(Left { task: previous, moves }) = LEFT.with(Cell::take) else { return };
    let parts = previous.parts();
    let is_dead = parts.sched.state() == State::Dead;
    if is_dead {
        // The stack serves the next task at once, long before the task itself may be freed.
        drop(parts.thread.take_stack());
    }
    // Release: the context is saved before anybody takes the task.
    parts.sched.on_cpu.store(false, Ordering::Release);
    if moves {
        let cpu = least_loaded(parts.sched.allowed());
        enqueue(cpu, previous);
    }
}

/// Adds up the time that `previous` has had.
fn account(previous: Option<&Task>, next: Option<&Task>) {
    let now = crate::cpu::clock::now();
    if let Some(task) = previous {
        let sched = &task.parts().sched;
        let ran = now.saturating_sub(sched.since.load(Ordering::Relaxed));
        sched.runtime.store(sched.runtime() + ran, Ordering::Relaxed);
    }
    if let Some(task) = next {
        task.parts().sched.since.store(now, Ordering::Relaxed);
    }
}

/// Ends the running task's life on processors. Its last reference may go with this.
pub fn leave_for_good() -> ! {
    super::current().parts().sched.state.store(State::Dead as u8, Ordering::Relaxed);
    schedule();
    unreachable!("a dead task was scheduled")
}

/// Halts until an interrupt, unless there is something to run. For the idle loop, with interrupts on.
pub(super) fn halt_if_idle() {
    use x86_64::instructions::interrupts;
    let cpu = cpu_index();
    interrupts::disable();
    IDLE.fetch_or(1 << cpu, Ordering::SeqCst);
    // Who enqueues from here on sees the bit and interrupts; what came before is seen here.
    let has_work = QUEUES[cpu].0.lock().ready.len() > 0;
    if has_work {
        interrupts::enable();
    } else {
        interrupts::enable_and_hlt();
    }
    IDLE.fetch_and(!(1 << cpu), Ordering::Relaxed);
}

/// Asks an idle processor to come and take work, if tasks wait here and one is idle.
pub(super) fn offer_work() {
    if has_waiting()
        && let Some(idle) = idle_cpu(smp::online()).filter(|&cpu| cpu != cpu_index())
    {
        ipi::reschedule(idle);
    }
}
