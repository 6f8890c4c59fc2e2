//! Kernel threads that work in a user's address space: `kthread_use_mm` and `kthread_unuse_mm`.
//!
//! The mm need not have had a task, nor a CPU, during a walk that has just passed by: a driver may hold
//! it since its owner exited. So attaching it is a publication point like fork and exec: the thread's `mm` is set,
//! then comes the hook with its full barrier, and only then is the PGD loaded.
//!
//! The same holds for a process that fork makes with `CLONE_VM` and without `CLONE_THREAD`:
//!
//! ```text
//! CPU A                                  CPU B: a growth's walk
//!                                        passes the place where P2 will be
//! P1 forks P2 on its own mm M
//! P1 exits; its CPU loads another mm
//!                                        reaches P1: no mm; visits the CPUs: M is nowhere
//! P2 is scheduled, loads M: the new slot is missing
//! ```
//!
//! Linux is safe from this because it adds tasks at the tail of the list and walks towards it. A
//! table of pids has no such order, so `copy_process` publishes the mm anew for such a child.

use mm_generic::loaded::LoadedMm;
use mm_generic::mm::MmUser;
use mm_generic::publish::{NotReady, SharedMm, publish_again};
use thiserror::Error;

use crate::kernel::TaskKernel;
use crate::pid::Pid;
use crate::task::{Task, TaskKind, TaskMm};

/// A kernel thread could not attach or detach an mm. Nothing has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum AttachError {
    /// The task is a user thread; its mm is changed by exec and exit only.
    #[error("task {pid} is no kernel thread")]
    NotKernelThread {
        /// The task.
        pid: Pid,
    },
    /// The thread has an mm attached already.
    #[error("kernel thread {pid} already uses an mm")]
    AlreadyAttached {
        /// The task.
        pid: Pid,
    },
    /// The mm has not been late-initialised yet.
    #[error("kernel thread {pid} cannot use an mm: {source}")]
    NotReady {
        /// The task.
        pid: Pid,
        /// How far the mm had come.
        source: NotReady,
    },
    /// The thread has no mm attached.
    #[error("kernel thread {pid} uses no mm")]
    NotAttached {
        /// The task.
        pid: Pid,
    },
}

/// Makes kernel thread `task` work in `mm`'s address space, and loads it on this CPU.
///
/// # Errors
///
/// [`AttachError::NotKernelThread`], [`AttachError::AlreadyAttached`], [`AttachError::NotReady`].
///
/// # Safety
///
/// `task` is the running task of the CPU that `loaded` belongs to, and preemption is off.
pub unsafe fn kthread_use_mm<K: TaskKernel>(
    task: &Task<K>,
    loaded: &LoadedMm<K>,
    mm: MmUser<K>,
) -> Result<(), AttachError> {
    let pid = task.pid();
    if task.kind() != TaskKind::Kernel {
        return Err(AttachError::NotKernelThread { pid });
    }
    if task.lock_mm().is_some() {
        return Err(AttachError::AlreadyAttached { pid });
    }
    let mm = SharedMm::of(mm).map_err(|source| AttachError::NotReady { pid, source })?;
    let (attached, _none) = publish_again(mm, TaskMm(task));
    // SAFETY: the caller's promise; the task holds the mm until it is detached by itself.
    unsafe { loaded.switch_mm(attached.init_late()) };
    Ok(())
}

/// Ends what [`kthread_use_mm`] began. The CPU keeps the PGD loaded, lazily, until its next switch.
///
/// # Errors
///
/// [`AttachError::NotKernelThread`], [`AttachError::NotAttached`].
pub fn kthread_unuse_mm<K: TaskKernel>(task: &Task<K>) -> Result<MmUser<K>, AttachError> {
    let pid = task.pid();
    if task.kind() != TaskKind::Kernel {
        return Err(AttachError::NotKernelThread { pid });
    }
    task.take_mm().ok_or(AttachError::NotAttached { pid })
}
