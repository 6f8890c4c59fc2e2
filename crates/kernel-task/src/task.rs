//! A task: a thread of user programs or of the kernel, and the mm it runs on.

use kernel_sync::atomic::{AtomicBool, AtomicU64, Ordering};
use kernel_sync::{ArcCache, Mutex, MutexGuard, OutOfHeap, RcuArc};
use mm_generic::kernel::Kernel;
use mm_generic::mm::{Mm, MmUser};
use mm_generic::publish::{NotReady, PublicationPoint, ReadyMm};

use crate::kernel::TaskKernel;
use crate::pid::Pid;
use crate::process::ProcessRef;

/// A counted reference to a task (`get_task_struct`).
pub type TaskRef<K> = RcuArc<Task<K>, <K as Kernel>::Rcu>;

/// A task (`task_struct`).
pub struct Task<K: TaskKernel> {
    pid: Pid,
    process: ProcessRef<K>,
    kind: TaskKind,
    /// `task_lock` around `task->mm`: walkers take it to look, the task itself to change it.
    mm: Mutex<Option<MmUser<K>>>,
    /// User address to clear and wake when the mm is let go; 0 for none (`set_tid_address`).
    clear_child_tid: AtomicU64,
    /// Set by [`Task::release_mm`]; what a `vfork` parent waits for.
    released_mm: AtomicBool,
    parts: K::Parts,
}

/// Whether a task is meant to have an mm of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskKind {
    /// A thread of a user program.
    User,
    /// A thread of the kernel (`PF_KTHREAD`): it has an mm only between `kthread_use_mm` and `kthread_unuse_mm`.
    Kernel,
}

impl<K: TaskKernel> Task<K> {
    /// Makes a task without mm, in the thread group `process`, that nobody can find yet, in memory of `home`, or of the heap if
    /// there is none.
    pub(crate) fn try_new(
        home: Option<&'static ArcCache<Self>>,
        pid: Pid,
        process: ProcessRef<K>,
        kind: TaskKind,
        parts: K::Parts,
    ) -> Result<TaskRef<K>, OutOfHeap> {
        let task = Self {
            pid,
            process,
            kind,
            mm: Mutex::new(None),
            clear_child_tid: AtomicU64::new(0),
            released_mm: AtomicBool::new(false),
            parts,
        };
        RcuArc::try_new_in(task, home)
    }

    /// The thread's id (`gettid`).
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// The thread group.
    #[must_use]
    pub fn process(&self) -> &ProcessRef<K> {
        &self.process
    }

    /// Tells whether this task's id is also the process's.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.pid == self.process.pid()
    }

    /// Tells whether this is a user or a kernel thread.
    #[must_use]
    pub fn kind(&self) -> TaskKind {
        self.kind
    }

    /// What the kernel added.
    #[must_use]
    pub fn parts(&self) -> &K::Parts {
        &self.parts
    }

    /// A share in the address space the task uses now, if it uses one (`get_task_mm`).
    #[must_use]
    pub fn mm(&self) -> Option<MmUser<K>> {
        self.mm.lock().clone()
    }

    /// The address space for a context switch to this task; `None` for one without mm, which borrows what is loaded.
    ///
    /// # Errors
    ///
    /// [`NotReady`] when the mm is published and not yet late-initialised. A task is made runnable
    /// only afterwards, and exec keeps preemption off in between, so a scheduler that sees this
    /// has a bug.
    pub fn mm_to_load(&self) -> Result<Option<ReadyMm<K>>, NotReady> {
        self.mm.lock().as_ref().map(ReadyMm::of).transpose()
    }

    /// Calls `visit` with the task's mm, if it has one, under the task lock.
    pub(crate) fn with_mm<T>(&self, visit: impl FnOnce(&Mm<K>) -> T) -> Option<T> {
        self.mm.lock().as_ref().map(|mm| visit(mm))
    }

    /// Lets the mm go (`exit_mm`). The CPU goes on with the PGD it has loaded, lazily.
    ///
    /// The unlock releases what this CPU stored before, its `LoadedMm` included: a walker that
    /// finds no mm here finds it there.
    #[must_use = "dropping the last share tears the user half down"]
    pub fn take_mm(&self) -> Option<MmUser<K>> {
        self.mm.lock().take()
    }

    /// Sets the user address that is cleared, and whose futex is woken, when the task lets its mm go
    /// (`set_tid_address`, `CLONE_CHILD_CLEARTID`); 0 for none.
    pub fn set_clear_child_tid(&self, addr: u64) {
        self.clear_child_tid.store(addr, Ordering::Relaxed);
    }

    /// Tells whether the task has let go the mm it was made with, by exec or exit.
    #[must_use]
    pub fn has_released_mm(&self) -> bool {
        self.released_mm.load(Ordering::Acquire)
    }

    /// Does what other tasks wait for before the mm is let go (`mm_release`): clears the thread id in user
    /// memory and wakes its futex, and wakes a `vfork` parent.
    pub fn release_mm(&self) {
        let tid_addr = self.clear_child_tid.swap(0, Ordering::Relaxed);
        // With no other user there is nobody who could look.
        if tid_addr != 0
            && let Some(mm) = self.mm().filter(|mm| mm.users() > 2)
        {
            // A bad address is the program's own affair, as in Linux.
            let _ = mm.user().write_bytes(&mm, tid_addr, &0u32.to_le_bytes());
            K::wake_futex(&mm, tid_addr);
        }
        self.released_mm.store(true, Ordering::Release);
        K::wake_vfork(self);
    }

    pub(crate) fn lock_mm(&self) -> MutexGuard<'_, Option<MmUser<K>>> {
        self.mm.lock()
    }
}

/// Publication in `task->mm`, of a task that walkers find already: exec and `kthread_use_mm`.
pub struct TaskMm<'a, K: TaskKernel>(pub &'a Task<K>);

// SAFETY: the store is under the task lock, which walkers take for every task they find; the mm stays until
// the task itself lets it go.
unsafe impl<K: TaskKernel> PublicationPoint<K> for TaskMm<'_, K> {
    /// The mm that the task had before.
    type Published = Option<MmUser<K>>;

    #[inline]
    fn publish(self, mm: MmUser<K>) -> Option<MmUser<K>> {
        self.0.lock_mm().replace(mm)
    }
}
