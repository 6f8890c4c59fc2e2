//! `copy_process`: makes a task from a task, and calls the PGD hook at its exact point.
//!
//! ```text
//! check the flags
//! creds, files, fs, sighand, signal        the kernel's, through `ForkKernel`
//! mm                                       new, with the user half copied; or shared (CLONE_VM)
//! thread                                   the kernel's
//! pid, process, task
//! ------------------------------------------------ nothing fails from here on
//! PUBLICATION on the task list             walkers find the mm
//! the hook: full barrier, kernel half      only for a new mm
//! RunnableTask                             may be scheduled
//! ```
//!
//! In Linux 6.1 the hook would stand between the unlock of `tasklist_lock` and `wake_up_new_task`. An
//! unlock is a release only; the barrier is the hook's own.

use core::ops::Deref;

use kernel_sync::cpu_relax;
use kernel_task::insert::Insertion;
use kernel_task::kernel::TaskKernel;
use kernel_task::process::{Process, ProcessRef};
use kernel_task::task::{Task, TaskKind, TaskRef};
use kernel_task::tasks::Tasks;
use mm_generic::init_mm::InitMm;
use mm_generic::mm::NewMmError;
use mm_generic::publish::{NewMm, SharedMm, publish_again};

use crate::args::CloneArgs;
use crate::error::ForkError;
use crate::flags::{CloneFlags, FlagsError};
use crate::parts::ForkKernel;

/// A task that a scheduler may run: it is on the task list, and its mm, if it has one, is complete.
///
/// There is no other way to get one than [`copy_process`] and [`first_process`]; a run queue that takes
/// nothing else cannot run a task too early.
#[must_use = "a task that is never woken stays on the task list for ever"]
pub struct RunnableTask<K: TaskKernel>(TaskRef<K>);

impl<K: TaskKernel> RunnableTask<K> {
    /// The task, for the run queue (`wake_up_new_task`).
    pub fn into_task(self) -> TaskRef<K> {
        self.0
    }
}

impl<K: TaskKernel> Deref for RunnableTask<K> {
    type Target = TaskRef<K>;

    fn deref(&self) -> &TaskRef<K> {
        &self.0
    }
}

/// The mm of the child to be. Dropped, it leaves nothing behind.
enum ChildMm<K: TaskKernel> {
    /// `fork`: a copy that nobody can reach yet.
    New(NewMm<K>),
    /// `CLONE_VM`: the parent's.
    Shared(SharedMm<K>),
    /// A kernel thread's child.
    None,
}

/// Makes a child of `parent`, the running task of CPU number `cpu`, as `args` ask for.
///
/// A child of a user task is a user task. A child of a kernel thread is a kernel thread and has no mm.
///
/// # Errors
///
/// See [`ForkError`]. Nothing of the child is left: no pid, no frame, no entry in any list; the
/// parts that the kernel had copied have been dropped, the last one first. Once they are assembled, they are
/// dropped as one; when a thread cannot join its process, that is with its task, a grace period later.
pub fn copy_process<K: ForkKernel>(
    init_mm: &'static InitMm<K>,
    parent: &TaskRef<K>,
    args: &CloneArgs,
    cpu: usize,
) -> Result<RunnableTask<K>, ForkError<K::Error>> {
    args.check()?;
    let flags = args.flags;
    let is_thread = flags.contains(CloneFlags::THREAD);
    if flags.contains(CloneFlags::PARENT) && parent.process().parent().is_none() {
        return Err(FlagsError::SiblingOfReaper.into());
    }
    // Rust drops these in reverse order of declaration: that is the undo.
    let creds = K::copy_creds(parent, args).map_err(ForkError::Parts)?;
    let files = K::copy_files(parent, args).map_err(ForkError::Parts)?;
    let fs = K::copy_fs(parent, args).map_err(ForkError::Parts)?;
    let sighand = K::copy_sighand(parent, args).map_err(ForkError::Parts)?;
    let signal = K::copy_signal(parent, args).map_err(ForkError::Parts)?;
    let mm = copy_mm(init_mm, parent, flags)?;
    let tasks = tasks(init_mm);
    let reservation = tasks.pids().alloc(cpu)?;
    let pid = reservation.pid();
    let thread = K::copy_thread(parent, args, pid).map_err(ForkError::Parts)?;
    let process = if is_thread {
        parent.process().clone()
    } else {
        Process::try_new(tasks.process_cache(), pid)?
    };
    let parts = K::assemble(creds, files, fs, sighand, signal, thread);
    let insertion = Insertion::try_new(tasks, reservation, process.clone(), parent.kind(), parts)?;
    if flags.contains(CloneFlags::CHILD_CLEARTID) {
        insertion.task().set_clear_child_tid(args.child_tid);
    }

    if is_thread {
        let ChildMm::Shared(mm) = mm else {
            return Err(ForkError::NoMm { pid: parent.pid() });
        };
        let task = insertion.insert_thread(mm.into_user())?;
        store_tids(parent, args, &task);
        return Ok(RunnableTask(task));
    }
    // Before the publication, so that a child that is found has a parent who can reap it.
    adopt(parent, &process, flags);
    let task = match mm {
        ChildMm::New(mm) => {
            // PUBLICATION, then the hook, and only then anything that could run the task.
            let (published, task) = mm.publish(insertion);
            published.init_late();
            task
        }
        ChildMm::Shared(mm) => {
            // Not a new PGD, and a publication all the same: see `kernel_task::attach`.
            let (attached, task) = publish_again(mm, insertion);
            attached.init_late();
            task
        }
        ChildMm::None => insertion.insert_without_mm(),
    };
    store_tids(parent, args, &task);
    Ok(RunnableTask(task))
}

/// Makes a task that has no parent: the first user process with `mm`, or a kernel thread without.
///
/// # Errors
///
/// [`ForkError::Pid`], [`ForkError::OutOfHeap`]; nothing is left.
pub fn first_process<K: ForkKernel>(
    init_mm: &'static InitMm<K>,
    mm: Option<NewMm<K>>,
    parts: K::Parts,
    cpu: usize,
) -> Result<RunnableTask<K>, ForkError<K::Error>> {
    let tasks = tasks(init_mm);
    let reservation = tasks.pids().alloc(cpu)?;
    let pid = reservation.pid();
    let process: ProcessRef<K> = Process::try_new(tasks.process_cache(), pid)?;
    let kind = if mm.is_some() { TaskKind::User } else { TaskKind::Kernel };
    let insertion = Insertion::try_new(tasks, reservation, process, kind, parts)?;
    let Some(mm) = mm else {
        return Ok(RunnableTask(insertion.insert_without_mm()));
    };
    let (published, task) = mm.publish(insertion);
    published.init_late();
    Ok(RunnableTask(task))
}

fn tasks<K: TaskKernel>(init_mm: &'static InitMm<K>) -> &'static Tasks<K> {
    K::tasks(init_mm)
}

/// Copies or shares the parent's mm (`copy_mm`).
fn copy_mm<K: ForkKernel>(
    init_mm: &'static InitMm<K>,
    parent: &Task<K>,
    flags: CloneFlags,
) -> Result<ChildMm<K>, ForkError<K::Error>> {
    let Some(parents) = parent.mm() else {
        return match parent.kind() {
            TaskKind::Kernel => Ok(ChildMm::None),
            // An exiting user task, which forks no more.
            TaskKind::User => Err(ForkError::NoMm { pid: parent.pid() }),
        };
    };
    // A kernel thread that has attached an mm does not pass it on.
    if parent.kind() == TaskKind::Kernel {
        return Ok(ChildMm::None);
    }
    if flags.contains(CloneFlags::VM) {
        return Ok(ChildMm::Shared(SharedMm::of(parents)?));
    }
    let child = NewMm::new(init_mm).map_err(|error: NewMmError| ForkError::NewMm(error))?;
    child.copy_user_half(&parents)?;
    Ok(ChildMm::New(child))
}

/// Gives `child` its parent: the process that forks, or with `CLONE_PARENT` that process's parent.
fn adopt<K: ForkKernel>(parent: &Task<K>, child: &ProcessRef<K>, flags: CloneFlags) {
    if flags.contains(CloneFlags::PARENT) {
        // A grandparent that exits at this moment refuses; then the reaper is the grandparent.
        while let Some(grandparent) = parent.process().parent() {
            if Process::adopt(&grandparent, child) {
                return;
            }
            cpu_relax();
        }
    }
    let adopted = Process::adopt(parent.process(), child);
    debug_assert!(adopted, "a process with a running thread has given no child away");
}

/// Stores the child's id where the program asked for it, in the child's memory before anybody runs there.
///
/// Last, for a fork that fails has stored nothing. As in Linux, a bad address is not an error of the fork.
fn store_tids<K: ForkKernel>(parent: &Task<K>, args: &CloneArgs, child: &Task<K>) {
    let store = |task: &Task<K>, addr| {
        if let Some(mm) = task.mm() {
            let _ = mm.user().write_bytes(&mm, addr, &child.pid().get().to_le_bytes());
        }
    };
    if args.flags.contains(CloneFlags::CHILD_SETTID) {
        store(child, args.child_tid);
    }
    if args.flags.contains(CloneFlags::PARENT_SETTID) {
        store(parent, args.parent_tid);
    }
}
