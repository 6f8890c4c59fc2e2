//! What a kernel adds to a task, and how `copy_process` copies it.

use kernel_task::kernel::TaskKernel;
use kernel_task::pid::Pid;
use kernel_task::process::Process;
use kernel_task::task::Task;

use crate::args::CloneArgs;

/// A kernel whose tasks can be forked.
///
/// `copy_process` calls the `copy_*` methods in Linux's order, with the copy of the mm between [`ForkKernel::copy_signal`]
/// and [`ForkKernel::copy_thread`], and then [`ForkKernel::assemble`]. When a later step fails, what the earlier
/// ones returned is dropped in reverse order: a type's `Drop` is its undo. A kernel that lacks one of
/// the parts uses `()`.
pub trait ForkKernel: TaskKernel {
    /// Credentials and limits.
    type Creds;
    /// Table of open files.
    type Files;
    /// Root, working directory, umask.
    type Fs;
    /// Signal handlers.
    type Sighand;
    /// Pending signals, timers, terminal: what a process has.
    type Signal;
    /// Registers, kernel stack, TLS.
    type Thread;
    /// Why a part could not be copied.
    type Error;

    /// Copies or shares credentials; refuses when a limit on tasks is reached.
    ///
    /// # Errors
    ///
    /// The kernel's; the fork fails with [`crate::error::ForkError::Parts`].
    fn copy_creds(parent: &Task<Self>, args: &CloneArgs) -> Result<Self::Creds, Self::Error>;

    /// Copies the table of open files, or shares it (`CLONE_FILES`).
    ///
    /// # Errors
    ///
    /// As for [`ForkKernel::copy_creds`].
    fn copy_files(parent: &Task<Self>, args: &CloneArgs) -> Result<Self::Files, Self::Error>;

    /// Copies root and working directory, or shares them (`CLONE_FS`).
    ///
    /// # Errors
    ///
    /// As for [`ForkKernel::copy_creds`].
    fn copy_fs(parent: &Task<Self>, args: &CloneArgs) -> Result<Self::Fs, Self::Error>;

    /// Copies the signal handlers, or shares them (`CLONE_SIGHAND`).
    ///
    /// # Errors
    ///
    /// As for [`ForkKernel::copy_creds`].
    fn copy_sighand(parent: &Task<Self>, args: &CloneArgs) -> Result<Self::Sighand, Self::Error>;

    /// Makes what a new process has, or shares the process's (`CLONE_THREAD`).
    ///
    /// # Errors
    ///
    /// As for [`ForkKernel::copy_creds`].
    fn copy_signal(parent: &Task<Self>, args: &CloneArgs) -> Result<Self::Signal, Self::Error>;

    /// Makes kernel stack and registers, such that the child returns from the system call with 0, on
    /// the stack and with the TLS pointer of `args`.
    ///
    /// # Errors
    ///
    /// As for [`ForkKernel::copy_creds`].
    fn copy_thread(
        parent: &Task<Self>,
        args: &CloneArgs,
        pid: Pid,
    ) -> Result<Self::Thread, Self::Error>;

    /// Puts the parts together. Cannot fail.
    fn assemble(
        creds: Self::Creds,
        files: Self::Files,
        fs: Self::Fs,
        sighand: Self::Sighand,
        signal: Self::Signal,
        thread: Self::Thread,
    ) -> Self::Parts;

    /// Tells `parent` that `child` has become a zombie: sends the exit signal, wakes its `wait`.
    ///
    /// Also called when `child`, which exits, has left `parent` children of its own that are zombies, and when it has
    /// become none because `parent` wants none.
    fn notify_parent(parent: &Process<Self>, child: &Process<Self>);

    /// Tells whether `parent` waits for its children. Those of one that does not (`SIGCHLD` ignored) never become zombies.
    fn wants_zombies(_parent: &Process<Self>) -> bool {
        true
    }
}
