//! Tasks: what this kernel adds to those of `kernel-task`.

pub mod context;
mod count;
pub mod exec;
pub mod exit;
mod fork;
pub mod init;
pub mod limits;
pub mod memory;
pub mod process;
pub(crate) mod publication;
mod reaper;
mod robust;
pub mod segments;
pub mod stack;

pub use fork::{CopyError, fork, spawn_kernel_thread};

use crate::sched::{Entity, WaitQueue};
use crate::signal::action::{Action, Handlers};
use crate::signal::{Signal, SignalSet, ThreadSignals};
use alloc::sync::Arc;
use context::Thread;
use count::Counted;
use files::Node;
use kernel_sync::Mutex;
use kernel_sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use memory::{FdTable, MemoryData};
use process::{Ending, ProcessData};

pub use crate::os::{Process, ProcessRef, Task, TaskRef};
pub use memory::FileObject;

/// What path names are relative to, and what new files are not allowed.
pub struct FsContext {
    /// The working directory.
    pub directory: Mutex<Node>,
    /// Permissions that new files do not get.
    pub umask: AtomicU32,
}

impl FsContext {
    /// Returns a copy (`fork`).
    #[must_use]
    pub fn copy(&self) -> Self {
        Self {
            directory: Mutex::new(self.directory.lock().clone()),
            umask: AtomicU32::new(self.umask.load(Ordering::Relaxed)),
        }
    }
}

/// What a user task has of files. Nothing once it has exited.
#[derive(Clone)]
pub struct FileParts {
    /// Open files.
    pub fds: Arc<FdTable>,
    /// Where it is.
    pub fs: Arc<FsContext>,
}

/// Bytes of a task's name, with its NUL.
pub const NAME_SIZE: usize = 16;

/// A task's name, filled up with NULs (`comm`).
pub type Name = [u8; NAME_SIZE];

/// Makes a name of the last component of `path`, cut to what fits.
#[must_use]
pub fn name_of(path: &[u8]) -> Name {
    let last = path.rsplit(|&byte| byte == b'/').next().unwrap_or(path);
    let mut name = [0; NAME_SIZE];
    let len = last.len().min(NAME_SIZE - 1);
    name[..len].copy_from_slice(&last[..len]);
    name
}

/// What this kernel keeps for each task.
pub struct Parts {
    /// The scheduler's part.
    pub sched: Entity,
    /// The machine's part.
    pub thread: Thread,
    /// The thread's share of signal handling.
    pub signals: ThreadSignals,
    /// What the threads of the process share.
    pub process: Arc<ProcessData>,
    /// Who waits for the task to let its mm go.
    pub vfork_done: WaitQueue,
    /// User address of the list of robust futexes, see `robust.rs`; 0 for none.
    pub robust_list: AtomicU64,
    handlers: Mutex<Arc<Handlers>>,
    files: Mutex<Option<FileParts>>,
    memory: Mutex<Arc<MemoryData>>,
    name: Mutex<Name>,
    /// It goes on when the other threads of its process are to die.
    spared: AtomicBool,
    #[expect(dead_code, reason = "held for its drop")]
    counted: Counted,
}

/// Parts that a new task does not get from its parent.
pub struct NewParts {
    /// Machine.
    pub thread: Thread,
    /// Blocked signals.
    pub blocked: SignalSet,
    /// Process.
    pub process: Arc<ProcessData>,
    /// Signal handlers.
    pub handlers: Arc<Handlers>,
    /// Files; none for a kernel thread.
    pub files: Option<FileParts>,
    /// Address space.
    pub memory: Arc<MemoryData>,
    /// Name.
    pub name: Name,
}

impl Parts {
    /// Puts a task's parts together.
    #[must_use]
    pub fn new(parts: NewParts) -> Self {
        Self {
            sched: Entity::new(),
            thread: parts.thread,
            signals: ThreadSignals::new(parts.blocked),
            process: parts.process,
            vfork_done: WaitQueue::new(),
            robust_list: AtomicU64::new(0),
            handlers: Mutex::new(parts.handlers),
            files: Mutex::new(parts.files),
            memory: Mutex::new(parts.memory),
            name: Mutex::new(parts.name),
            spared: AtomicBool::new(false),
            counted: Counted::new(),
        }
    }

    /// Tells whether the task has something to do on its way to user mode: a signal to take, or to
    /// stop, or to die.
    #[inline]
    #[must_use]
    pub fn has_signal(&self) -> bool {
        let waiting = self.signals.pending.set().with(self.process.pending.set());
        !waiting.without(self.signals.blocked()).is_empty()
            || self.process.is_stopped()
            || self.is_ending()
    }

    /// Tells whether the task is to die.
    #[must_use]
    pub fn is_killed(&self) -> bool {
        let waiting = self.signals.pending.set().with(self.process.pending.set());
        waiting.contains(Signal::KILL) || self.is_ending()
    }

    /// Tells whether the task dies because its process ends, or because another thread executes a program.
    #[inline]
    #[must_use]
    pub fn is_ending(&self) -> bool {
        match self.process.ending() {
            Ending::Nobody => false,
            Ending::Others => !self.spared.load(Ordering::Relaxed),
            Ending::Everybody => true,
        }
    }

    /// Exempts the task from [`Ending::Others`].
    pub fn set_spared(&self, spared: bool) {
        self.spared.store(spared, Ordering::Relaxed);
    }

    /// Returns the signal handlers.
    #[must_use]
    pub fn handlers(&self) -> Arc<Handlers> {
        self.handlers.lock().clone()
    }

    /// Replaces the signal handlers.
    pub fn set_handlers(&self, handlers: Arc<Handlers>) {
        let old = core::mem::replace(&mut *self.handlers.lock(), handlers);
        drop(old);
    }

    /// Returns what is done about `signal`.
    #[must_use]
    pub fn action(&self, signal: Signal) -> Action {
        self.handlers.lock().get(signal)
    }

    /// Returns open files and place in the file system; `None` for a kernel thread, and once exited.
    #[must_use]
    pub fn files(&self) -> Option<FileParts> {
        self.files.lock().clone()
    }

    /// Returns the table of open files.
    ///
    /// # Panics
    ///
    /// For a kernel thread: only system calls ask.
    #[must_use]
    pub fn fds(&self) -> Arc<FdTable> {
        let files = self.files.lock();
        files.as_ref().expect("a user task has files until it exits").fds.clone()
    }

    /// Returns the place in the file system.
    ///
    /// # Panics
    ///
    /// As [`Parts::fds`].
    #[must_use]
    pub fn fs(&self) -> Arc<FsContext> {
        let files = self.files.lock();
        files.as_ref().expect("a user task has files until it exits").fs.clone()
    }

    /// Replaces open files and place in the file system, and returns what was there.
    pub fn replace_files(&self, files: Option<FileParts>) -> Option<FileParts> {
        core::mem::replace(&mut *self.files.lock(), files)
    }

    /// Returns what belongs to the address space.
    #[must_use]
    pub fn memory(&self) -> Arc<MemoryData> {
        self.memory.lock().clone()
    }

    /// Replaces what belongs to the address space.
    pub fn set_memory(&self, memory: Arc<MemoryData>) {
        let old = core::mem::replace(&mut *self.memory.lock(), memory);
        drop(old);
    }

    /// Returns the name.
    #[must_use]
    pub fn name(&self) -> Name {
        *self.name.lock()
    }

    /// Sets the name.
    pub fn set_name(&self, name: Name) {
        *self.name.lock() = name;
    }
}
