//! Processes that are on the task list and never run: the material of duels.

use super::attached::set_attached;
use super::figures;
use crate::os::{Os, init_mm, loaded_here, tasks};
use crate::sched::current;
use crate::signal::SignalSet;
use crate::signal::action::Handlers;
use crate::sync::IrqGuard;
use crate::task::context::{Start, Thread};
use crate::task::limits::Limits;
use crate::task::memory::MemoryData;
use crate::task::process::ProcessData;
use crate::task::{NewParts, Parts, Process, TaskRef, name_of};
use alloc::sync::Arc;
use alloc::vec::Vec;
use kernel_fork::exit::exit;
use kernel_task::attach::kthread_use_mm;
use kernel_task::insert::Insertion;
use kernel_task::process::ExitStatus;
use kernel_task::task::TaskKind;
use mm_generic::mm::{Mm, MmUser};
use mm_generic::publish::{NewMm, PublishedMm};

/// A process that lacks nothing but its mm and its publication.
pub(super) fn unpublished(cpu: usize) -> Insertion<'static, Os> {
    let thread = Thread::new(Start::Kernel(never, 0)).expect("memory for a stack");
    let parts = Parts::new(NewParts {
        thread,
        blocked: SignalSet::default(),
        process: Arc::new(ProcessData::new(0, 0, 0, Limits::new())),
        handlers: Arc::new(Handlers::new()),
        files: None,
        memory: Arc::new(MemoryData::default()),
        name: name_of(b"duel"),
    });
    let reservation = tasks().pids().alloc(cpu).expect("a free pid");
    let process =
        Process::try_new(tasks().process_cache(), reservation.pid()).expect("heap enough");
    Insertion::try_new(tasks(), reservation, process, TaskKind::User, parts).expect("heap enough")
}

extern "C" fn never(_: usize) -> ! {
    unreachable!("the task was never made runnable")
}

/// Makes an mm.
pub(super) fn new_mm() -> NewMm<Os> {
    NewMm::new(init_mm()).expect("frames enough")
}

/// Makes a process with an mm that is ready.
pub(super) fn ready(cpu: usize) -> TaskRef {
    let (published, task): (PublishedMm<Os>, TaskRef) = new_mm().publish(unpublished(cpu));
    drop(published.init_late());
    task
}

/// Ends a process.
pub(super) fn end(task: &TaskRef) {
    exit(init_mm(), task, ExitStatus::Exited(0), current().process());
}

/// Loads the mm of `task`, which does not run here: a kernel thread may borrow whatever it likes.
pub(super) fn load(task: &TaskRef) {
    let mm = task.mm_to_load().expect("late-initialised").expect("a user task");
    let _irqs_off = IrqGuard::disable();
    // SAFETY: this processor's, nothing preempts, and the task holds the mm.
    unsafe { loaded_here().switch_mm(mm) };
}

/// Attaches this thread, which is number `cpu` of those that are, to `mm`.
pub(super) fn attach(cpu: usize, mm: MmUser<Os>) {
    // SAFETY: this task runs here, and kernel code is not preempted.
    unsafe { kthread_use_mm(&current(), loaded_here(), mm) }.expect("a kernel thread without mm");
    set_attached(cpu, true);
    figures::ATTACHES.one();
}

/// Tells whether `mm` holds a live entry for the slot of `address`.
pub(super) fn has_slot_of(mm: &Mm<Os>, address: u64) -> bool {
    use mm_generic::word::Word;
    let slots = init_mm().arch().slots();
    // SAFETY: the caller has the mm.
    unsafe { slots.entry_of(mm.root(), super::report::slot_of(address)) }.is_live()
}

/// Processes that make every walk long.
pub(super) struct Crowd(Vec<TaskRef>);

impl Crowd {
    /// Puts `count` processes on the task list.
    pub(super) fn new(cpu: usize, count: usize) -> Self {
        Self((0..count).map(|_| ready(cpu)).collect())
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.0.iter().for_each(end);
    }
}
