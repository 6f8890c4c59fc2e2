//! Tasks: what this kernel adds to those of `kernel-task`.

pub mod context;
pub mod stack;

use crate::os::Os;
use crate::sched::{Entity, WaitQueue};
use alloc::string::String;
use context::{Start, Thread};
use kernel_fork::args::CloneArgs;
use kernel_fork::copy_process::first_process;
use kernel_fork::error::ForkError;
use kernel_fork::parts::ForkKernel;
use kernel_task::kernel::TaskKernel;
use kernel_task::pid::Pid;
use kernel_task::process::Process;
use kernel_task::tasks::Tasks;
use mm_generic::frames::PAGE_SIZE;
use mm_generic::init_mm::InitMm;
use mm_generic::mm::Mm;
use mm_generic::object::{Object, ReadError};

/// A task of this kernel.
pub type Task = kernel_task::task::Task<Os>;

/// A counted reference to a task.
pub type TaskRef = kernel_task::task::TaskRef<Os>;

/// A file that programs can map.
#[derive(Clone, Copy, Debug)]
pub struct FileObject(pub &'static [u8]);

impl PartialEq for FileObject {
    fn eq(&self, other: &Self) -> bool {
        core::ptr::eq(self.0, other.0)
    }
}

impl Object for FileObject {
    fn read(
        &self,
        offset: u64,
        len: usize,
        page: &mut [u8; PAGE_SIZE as usize],
    ) -> Result<(), ReadError> {
        let start = usize::try_from(offset).map_err(|_| ReadError { offset })?;
        let bytes = self.0.get(start..start + len).ok_or(ReadError { offset })?;
        page[..len].copy_from_slice(bytes);
        Ok(())
    }
}

/// What this kernel keeps for each task.
pub struct Parts {
    /// The scheduler's part.
    pub sched: Entity,
    /// The machine's part.
    pub thread: Thread,
    /// Who waits for the task to let its mm go.
    pub vfork_done: WaitQueue,
    /// What it is called.
    pub name: String,
}

impl Parts {
    /// Tells whether a signal waits that the task does not block.
    #[must_use]
    pub fn has_signal(&self) -> bool {
        false
    }

    /// Tells whether the task is to die.
    #[must_use]
    pub fn is_killed(&self) -> bool {
        false
    }
}

impl TaskKernel for Os {
    type Parts = Parts;

    fn tasks(init_mm: &InitMm<Self>) -> &Tasks<Self> {
        init_mm.walkers()
    }

    fn wake_vfork(child: &Task) {
        child.parts().vfork_done.wake_all();
    }

    fn wake_futex(_mm: &Mm<Self>, _addr: u64) {}
}

/// Why a part of a task could not be copied.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub enum CopyError {
    /// No kernel stack.
    #[error(transparent)]
    Stack(#[from] crate::mm::vmalloc::VmallocError),
}

impl ForkKernel for Os {
    type Creds = ();
    type Files = ();
    type Fs = ();
    type Sighand = ();
    type Signal = ();
    type Thread = Thread;
    type Error = CopyError;

    fn copy_creds(_parent: &Task, _args: &CloneArgs) -> Result<(), CopyError> {
        Ok(())
    }

    fn copy_files(_parent: &Task, _args: &CloneArgs) -> Result<(), CopyError> {
        Ok(())
    }

    fn copy_fs(_parent: &Task, _args: &CloneArgs) -> Result<(), CopyError> {
        Ok(())
    }

    fn copy_sighand(_parent: &Task, _args: &CloneArgs) -> Result<(), CopyError> {
        Ok(())
    }

    fn copy_signal(_parent: &Task, _args: &CloneArgs) -> Result<(), CopyError> {
        Ok(())
    }

    fn copy_thread(_parent: &Task, _args: &CloneArgs, _pid: Pid) -> Result<Thread, CopyError> {
        todo!()
    }

    fn assemble((): (), (): (), (): (), (): (), (): (), thread: Thread) -> Parts {
        Parts { sched: Entity::new(), thread, vfork_done: WaitQueue::new(), name: String::new() }
    }

    fn notify_parent(_parent: &Process<Self>, _child: &Process<Self>) -> bool {
        false
    }
}

/// Starts a thread of the kernel.
///
/// # Errors
///
/// [`ForkError`] when there is no memory for it.
pub fn spawn_kernel_thread(
    name: &str,
    function: extern "C" fn(usize) -> !,
    argument: usize,
) -> Result<TaskRef, ForkError<CopyError>> {
    let start = Start::Kernel(function, argument);
    let thread = Thread::new(start).map_err(|error| ForkError::Parts(error.into()))?;
    let parts = Parts {
        sched: Entity::new(),
        thread,
        vfork_done: WaitQueue::new(),
        name: name.into(),
    };
    let cpu = crate::cpu::area::cpu_index();
    let task = first_process(crate::os::init_mm(), None, parts, cpu)?;
    let reference = TaskRef::clone(&task);
    crate::sched::wake_new(task);
    Ok(reference)
}
