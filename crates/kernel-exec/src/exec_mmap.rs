//! `exec_mmap`: the running task gets a new mm. The point of no return of an exec.
//!
//! ```text
//! release_mm              a vfork parent is woken, the thread id cleared
//! PUBLICATION             task->mm = new, under the task lock
//! the hook                full barrier, kernel half
//! switch_mm               CR3
//! the old mm goes last    the CPU has translated through it until now
//! ```
//!
//! In Linux 6.1 the hook would stand right behind `tsk->mm = mm`, inside the section with interrupts
//! off. Growths find the old mm until the switch, because the CPU has it loaded.

use kernel_task::kernel::TaskKernel;
use kernel_task::pid::Pid;
use kernel_task::task::{Task, TaskKind, TaskMm};
use mm_generic::loaded::LoadedMm;
use mm_generic::mm::MmUser;
use mm_generic::publish::NewMm;
use thiserror::Error;

/// An exec that cannot be done. The task goes on with its old mm; the new one has been dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ExecMmapError {
    /// Other threads run in the address space that is to go. The kernel ends them first (`de_thread`).
    #[error("process {pid} has {threads} threads; exec needs it to have one")]
    OtherThreads {
        /// The process.
        pid: Pid,
        /// Its threads, the calling one included.
        threads: usize,
    },
    /// Kernel threads do not exec.
    #[error("task {pid} is a kernel thread")]
    KernelThread {
        /// The task.
        pid: Pid,
    },
}

/// Makes `mm` the address space of `task` and loads it; returns the old one, to be dropped with preemption on.
///
/// # Errors
///
/// [`ExecMmapError`], before anything has been changed; `mm` is dropped.
///
/// # Safety
///
/// `task` is the running task of the CPU that `loaded` belongs to, and preemption is off.
pub unsafe fn exec_mmap<K: TaskKernel>(
    task: &Task<K>,
    loaded: &LoadedMm<K>,
    mm: NewMm<K>,
) -> Result<Option<MmUser<K>>, ExecMmapError> {
    if task.kind() == TaskKind::Kernel {
        return Err(ExecMmapError::KernelThread { pid: task.pid() });
    }
    let threads = task.process().live_threads();
    if threads != 1 {
        return Err(ExecMmapError::OtherThreads { pid: task.process().pid(), threads });
    }
    if !task.is_leader() {
        // Linux gives the thread the dead leader's id as well (`de_thread`); here it keeps its own.
        task.process().taken_over();
    }
    task.release_mm();
    let (published, old) = mm.publish(TaskMm(task));
    // SAFETY: the caller's promise; the task holds the mm until it execs again or exits.
    unsafe { loaded.switch_mm(published.init_late()) };
    Ok(old)
}
