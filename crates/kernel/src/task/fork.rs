//! Making tasks: `fork`, `vfork`, `clone`, and threads of the kernel.

use super::context::{FxState, Start, Thread};
use super::count;
use super::limits::{self, Limits};
use super::memory::MemoryData;
use super::process::{ProcessData, data_of, leader_of};
use super::publication::Publication;
use super::segments::Segments;
use super::{FileParts, FsContext, Name, NewParts, Parts, Process, Task, TaskRef, name_of};
use crate::cpu::area::cpu_index;
use crate::cpu::mask::CpuMask;
use crate::futex;
use crate::mm::vmalloc::VmallocError;
use crate::oom::{Wanted, with_relief};
use crate::os::{Os, init_mm, tasks};
use crate::rcu;
use crate::sched::{Current, Patience, sleep_until, wake_new};
use crate::scheme;
use crate::signal::action::{Action, ActionFlags, Handlers};
use crate::signal::info::{CLD_DUMPED, CLD_EXITED, CLD_KILLED, Details, Info};
use crate::signal::{Signal, SignalSet, send};
use crate::task::memory::FdTable;
use alloc::sync::Arc;
use files::Errno;
use kernel_fork::args::CloneArgs;
use kernel_fork::copy_process::{RunnableTask, copy_process, first_process};
use kernel_fork::error::ForkError;
use kernel_fork::flags::CloneFlags;
use kernel_fork::parts::ForkKernel;
use kernel_sync::atomic::Ordering;
use kernel_task::kernel::TaskKernel;
use kernel_task::pid::Pid;
use kernel_task::process::ExitStatus;
use kernel_task::task::TaskKind;
use kernel_task::tasks::Tasks;
use mm_generic::init_mm::InitMm;
use mm_generic::mm::Mm;
use thiserror::Error;

/// Why a part of a task could not be copied.
#[derive(Clone, Copy, Debug, Error)]
pub enum CopyError {
    /// No kernel stack.
    #[error(transparent)]
    Stack(#[from] VmallocError),
    /// The table of open files could not be copied.
    #[error(transparent)]
    Files(#[from] Errno),
    /// There may be no more tasks.
    #[error("the limit of {limit} tasks is reached")]
    Limit {
        /// `RLIMIT_NPROC` of the parent, or what memory allows.
        limit: u64,
    },
    /// The parent has no files: it is a kernel thread, or has exited.
    #[error("task {pid} has no files to copy")]
    NoFiles {
        /// The parent.
        pid: Pid,
    },
}

/// The machine's part of a task, and what goes along with it from the parent thread to the child.
pub struct ThreadParts {
    thread: Thread,
    blocked: SignalSet,
    memory: Arc<MemoryData>,
    name: Name,
    allowed: CpuMask,
}

impl TaskKernel for Os {
    type Parts = Parts;

    fn tasks(init_mm: &InitMm<Self>) -> &Tasks<Self> {
        scheme::tasks(init_mm.walkers())
    }

    fn wake_vfork(child: &Task) {
        child.parts().vfork_done.wake_all();
    }

    fn wake_futex(mm: &Mm<Self>, addr: u64) {
        futex::wake_one_of(mm, addr);
    }
}

impl ForkKernel for Os {
    type Creds = Limits;
    type Files = Arc<FdTable>;
    type Fs = Arc<FsContext>;
    type Sighand = Arc<Handlers>;
    type Signal = Arc<ProcessData>;
    type Thread = ThreadParts;
    type Error = CopyError;

    fn copy_creds(parent: &Task, _args: &CloneArgs) -> Result<Limits, CopyError> {
        let limits = *parent.parts().process.limits.lock();
        let [limit, _] = limits.0[limits::NPROC];
        let limit = limit.min(limits::most_tasks());
        if count::reaches(limit) {
            // Exactly, without those that have been waited for.
            let mut count = 0;
            tasks().pids().for_each(&rcu::read_lock(), &mut |task| {
                count += u64::from(task.kind() == TaskKind::User);
            });
            if count >= limit {
                return Err(CopyError::Limit { limit });
            }
        }
        Ok(limits)
    }

    fn copy_files(parent: &Task, args: &CloneArgs) -> Result<Arc<FdTable>, CopyError> {
        let files = parent.parts().files().ok_or(CopyError::NoFiles { pid: parent.pid() })?;
        if args.flags.contains(CloneFlags::FILES) {
            return Ok(files.fds);
        }
        Ok(Arc::new(files.fds.fork()?))
    }

    fn copy_fs(parent: &Task, args: &CloneArgs) -> Result<Arc<FsContext>, CopyError> {
        let files = parent.parts().files().ok_or(CopyError::NoFiles { pid: parent.pid() })?;
        if args.flags.contains(CloneFlags::FS) {
            return Ok(files.fs);
        }
        Ok(Arc::new(files.fs.copy()))
    }

    fn copy_sighand(parent: &Task, args: &CloneArgs) -> Result<Arc<Handlers>, CopyError> {
        let handlers = parent.parts().handlers();
        if args.flags.contains(CloneFlags::SIGHAND) {
            return Ok(handlers);
        }
        if args.flags.contains(CloneFlags::CLEAR_SIGHAND) {
            return Ok(Arc::new(handlers.copy_for_exec()));
        }
        Ok(Arc::new(handlers.copy()))
    }

    fn copy_signal(parent: &Task, args: &CloneArgs) -> Result<Arc<ProcessData>, CopyError> {
        let process = &parent.parts().process;
        if args.flags.contains(CloneFlags::THREAD) {
            return Ok(process.clone());
        }
        let group = process.group.load(Ordering::Relaxed);
        let session = process.session.load(Ordering::Relaxed);
        let exit_signal = if args.flags.contains(CloneFlags::PARENT) {
            process.exit_signal
        } else {
            args.exit_signal
        };
        let limits = *process.limits.lock();
        Ok(Arc::new(ProcessData::new(exit_signal, group, session, limits)))
    }

    fn copy_thread(parent: &Task, args: &CloneArgs, _pid: Pid) -> Result<ThreadParts, CopyError> {
        let parts = parent.parts();
        // SAFETY: the parent is the running task, in a system call that left its registers at the top
        // of this stack and does not change them meanwhile.
        let mut frame = unsafe { parts.thread.user_registers() };
        frame.rax = 0;
        if args.stack != 0 {
            frame.rsp = args.stack;
        }
        let mut segments = Segments::save();
        if args.flags.contains(CloneFlags::SETTLS) {
            segments = segments.with_fs_base(args.tls);
        }
        let thread = Thread::new(Start::User(&frame, &FxState::save(), segments))?;
        let memory = if args.flags.contains(CloneFlags::VM) {
            parts.memory()
        } else {
            Arc::new(parts.memory().copy())
        };
        Ok(ThreadParts {
            thread,
            blocked: parts.signals.blocked(),
            memory,
            name: parts.name(),
            allowed: parts.sched.allowed(),
        })
    }

    fn assemble(
        _limits: Limits,
        fds: Arc<FdTable>,
        fs: Arc<FsContext>,
        handlers: Arc<Handlers>,
        process: Arc<ProcessData>,
        thread: ThreadParts,
    ) -> Parts {
        let parts = Parts::new(NewParts {
            thread: thread.thread,
            blocked: thread.blocked,
            process,
            handlers,
            files: Some(FileParts { fds, fs }),
            memory: thread.memory,
            name: thread.name,
        });
        parts.sched.set_allowed(thread.allowed);
        parts
    }

    fn notify_parent(parent: &Process, child: &Process) {
        let Some(leader) = leader_of(parent.pid()) else { return };
        let signal = data_of(child).and_then(|data| Signal::new(u64::from(data.exit_signal)));
        if let Some(signal) = signal {
            send::to_process(&leader, child_info(signal, child));
        }
        leader.parts().process.child_event.wake_all();
    }

    fn wants_zombies(parent: &Process) -> bool {
        let Some(leader) = leader_of(parent.pid()) else { return true };
        let action = leader.parts().action(Signal::CHLD);
        leader.kind() != TaskKind::User
            || (action.handler != Action::IGNORE && !action.flags.contains(ActionFlags::NOCLDWAIT))
    }
}

/// What `signal` tells about the end of `child`.
fn child_info(signal: Signal, child: &Process) -> Info {
    let (code, status) = match child.exit_status() {
        Some(ExitStatus::Killed { signal, core: false }) => (CLD_KILLED, i32::from(signal)),
        Some(ExitStatus::Killed { signal, core: true }) => (CLD_DUMPED, i32::from(signal)),
        Some(ExitStatus::Exited(code)) => (CLD_EXITED, i32::from(code)),
        None => (CLD_EXITED, 0),
    };
    Info { signal, code, details: Details::Child { pid: child.pid().get(), uid: 0, status } }
}

/// Makes a child of the running task and lets it run; returns its id. With `VFORK`, when the child has let
/// the mm go. `None` if a signal came first: it is to be taken, and the call to be made again.
///
/// # Errors
///
/// `EINVAL` for flags that do not go together or that this kernel lacks, `EAGAIN` without a pid or above
/// a limit, `ENOMEM`.
pub fn fork(me: &Current, args: &CloneArgs) -> Result<Option<u32>, Errno> {
    let unsupported = CloneFlags::PIDFD
        | CloneFlags::NEWNS
        | CloneFlags::NEWCGROUP
        | CloneFlags::NEWUTS
        | CloneFlags::NEWIPC
        | CloneFlags::NEWUSER
        | CloneFlags::NEWPID
        | CloneFlags::NEWNET
        | CloneFlags::INTO_CGROUP;
    if args.flags.intersects(unsupported) {
        return Err(Errno::INVAL);
    }
    let Some(child) = with_relief(me, Wanted::Fork, || publish_child(me, args))? else {
        return Ok(None);
    };
    let pid = child.pid().get();
    let waits = args.flags.contains(CloneFlags::VFORK).then(|| TaskRef::clone(&child));
    wake_new(child);
    if let Some(child) = waits {
        // A signal that kills ends the wait; the child goes on with the mm, of which it has a share.
        let released = || child.has_released_mm().then_some(());
        let _ = sleep_until(&[&child.parts().vfork_done], Patience::UntilKilled, None, released);
    }
    Ok(Some(pid))
}

/// Makes a child; `None` if a signal came first.
fn publish_child(me: &Current, args: &CloneArgs) -> Result<Option<RunnableTask<Os>>, Errno> {
    let Some(publication) = Publication::begin(me.parts()) else { return Ok(None) };
    let child = copy_process(init_mm(), me, args, cpu_index());
    drop(publication);
    let child = child.map_err(|error| match error {
        ForkError::Flags(_) => Errno::INVAL,
        ForkError::Pid(_) | ForkError::Join(_) => Errno::AGAIN,
        ForkError::Parts(CopyError::Limit { .. }) => Errno::AGAIN,
        ForkError::Parts(CopyError::Files(errno)) => errno,
        _ => Errno::NOMEM,
    })?;
    Ok(Some(child))
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
    let parts = Parts::new(NewParts {
        thread,
        blocked: SignalSet::default(),
        process: Arc::new(ProcessData::new(0, 0, 0, Limits::new())),
        handlers: Arc::new(Handlers::new()),
        files: None,
        memory: Arc::new(MemoryData::default()),
        name: name_of(name.as_bytes()),
    });
    let task = first_process(init_mm(), None, parts, cpu_index())?;
    let reference = TaskRef::clone(&task);
    wake_new(task);
    Ok(reference)
}
