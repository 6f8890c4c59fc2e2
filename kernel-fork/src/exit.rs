//! Exit and reaping.
//!
//! An exiting task lets its mm go and runs on, on the PGD its CPU has loaded, until the scheduler
//! takes the CPU away from it, and the CPU keeps that PGD for as long as only kernel threads run on it. From
//! `exit_mm` on, walkers find the PGD through the CPU (`mm_generic::loaded`).

use kernel_task::kernel::TaskKernel;
use kernel_task::pid::Pid;
use kernel_task::process::{ExitStatus, Process, ProcessRef};
use kernel_task::task::Task;
use mm_generic::init_mm::InitMm;

use crate::parts::ForkKernel;

/// What is left of a process after it was reaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reaped {
    /// Its id, which is free again.
    pub pid: Pid,
    /// How it ended.
    pub status: ExitStatus,
}

/// Ends `task`, the running task (`do_exit`). Its children go to `reaper`.
///
/// The task has left its mm and, unless it is its process's leader, the task list. The last thread makes
/// the process a zombie, which the parent reaps with [`reap`]. The caller schedules away and never
/// comes back; it keeps its own reference to the task until then.
///
/// Kernel threads end in the same way, after `kthread_unuse_mm`.
pub fn exit<K: ForkKernel>(
    init_mm: &'static InitMm<K>,
    task: &Task<K>,
    status: ExitStatus,
    reaper: &ProcessRef<K>,
) {
    task.release_mm();
    // The last user's share tears the user half down.
    drop(task.take_mm());
    let process = task.process();
    if task.is_leader() {
        process.leader_exited(status);
    }
    let left = process.leave(task);
    if !task.is_leader() {
        unlist(init_mm, task.pid());
    }
    if left > 0 {
        return;
    }
    if process.give_children_to(reaper) {
        K::notify_parent(reaper, process);
        if !K::wants_zombies(reaper) {
            while reap(init_mm, reaper, |_| true).is_some() {}
        }
    }
    if process.parent().is_some_and(|parent| !K::wants_zombies(&parent)) {
        // Gone before the parent hears of it, and no zombie in between: a wait on another CPU finds the child running, or none.
        let parent = process.vanish(status);
        unlist(init_mm, process.pid());
        K::notify_parent(&parent, process);
        return;
    }
    match process.become_zombie(status) {
        Some(parent) => {
            K::notify_parent(&parent, process);
            // It may have come to ignore its children since, or be the reaper that this process went to.
            if !K::wants_zombies(&parent) {
                reap(init_mm, &parent, |child| child.pid() == process.pid());
            }
        }
        // A kernel thread of the boot: nobody waits for it.
        None => unlist(init_mm, process.pid()),
    }
}

/// Ends `task`'s whole process (`do_group_exit`), as far as `task` is concerned: from here on the status is
/// settled and no thread can join. The kernel kills the other threads, and each of them calls [`exit`].
pub fn settle_group_exit<K: TaskKernel>(task: &Task<K>, status: ExitStatus) {
    task.process().settle_exit(status);
    task.process().close();
}

/// Takes one zombie child of `parent` that fits `which` off the task list (`wait4`), if there is one.
///
/// `None` when no child that fits is a zombie; whether one exists at all says [`Process::has_child`].
pub fn reap<K: ForkKernel>(
    init_mm: &'static InitMm<K>,
    parent: &Process<K>,
    which: impl FnMut(&Process<K>) -> bool,
) -> Option<Reaped> {
    let (child, status) = parent.reap(which)?;
    let pid = child.pid();
    unlist(init_mm, pid);
    Some(Reaped { pid, status })
}

fn unlist<K: TaskKernel>(init_mm: &'static InitMm<K>, pid: Pid) {
    let removed = K::tasks(init_mm).pids().remove(pid);
    debug_assert!(removed.is_ok(), "task {pid} was on the list until it exited");
}
