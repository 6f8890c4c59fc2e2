//! What `/proc` asks of the kernel.

use crate::tree::Node;
use crate::{FdTable, WaitQueue};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// The kernel's knowledge about processes and the machine. Times are in nanoseconds, sizes in bytes.
///
/// Called in process context. An implementation may take the locks of the kernel's tables, but must
/// not call back into files, and needs not be consistent from call to call: a process may be gone.
/// Threads are not listed; a process is a thread group.
pub trait ProcSource<Q: WaitQueue>: Send + Sync + 'static {
    /// Returns the calling process: what `/proc/self` leads to.
    fn current(&self) -> Option<u32>;

    /// Returns all processes, lowest first.
    fn pids(&self) -> Vec<u32>;

    /// Tells whether there is such a process.
    fn exists(&self, pid: u32) -> bool {
        self.process(pid).is_some()
    }

    /// Returns what `stat`, `status`, `statm` and `comm` show of a process.
    fn process(&self, pid: u32) -> Option<Process>;

    /// Returns the arguments of a process, each with its NUL; none for a kernel thread or a zombie.
    fn command_line(&self, pid: u32) -> Vec<u8>;

    /// Returns the absolute path of the program (see
    /// [`FileSystem::canonical`](crate::FileSystem::canonical)).
    fn executable(&self, pid: u32) -> Option<Vec<u8>>;

    /// Returns the working directory of a process.
    fn working_directory(&self, pid: u32) -> Option<Node>;

    /// Returns the descriptors of a process.
    fn descriptors(&self, pid: u32) -> Option<Arc<FdTable<Q>>>;

    /// Returns the memory areas of a process, lowest first. glibc finds the stack of the main thread in it.
    fn mappings(&self, pid: u32) -> Vec<Mapping> {
        let _ = pid;
        Vec::new()
    }

    /// Returns what the files about the whole machine show.
    fn system(&self) -> System;
}

/// What a process is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Running or ready to.
    #[default]
    Running,
    /// Waiting, until a signal at the latest.
    Sleeping,
    /// Waiting, whatever signals come.
    Blocked,
    /// Stopped by a signal.
    Stopped,
    /// Dead, and not yet waited for.
    Zombie,
    /// A kernel thread without work.
    Idle,
}

impl State {
    /// Returns the letter and the word that Linux has for the state.
    #[must_use]
    pub const fn names(self) -> (char, &'static str) {
        match self {
            Self::Running => ('R', "running"),
            Self::Sleeping => ('S', "sleeping"),
            Self::Blocked => ('D', "disk sleep"),
            Self::Stopped => ('T', "stopped"),
            Self::Zombie => ('Z', "zombie"),
            Self::Idle => ('I', "idle"),
        }
    }
}

/// A process as `/proc` shows it. What a kernel does not count stays 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// Name of the program, without its path, 15 bytes at most.
    pub name: Vec<u8>,
    /// What it does.
    pub state: State,
    /// Parent process; 0 for the first.
    pub parent: u32,
    /// Process group.
    pub group: u32,
    /// Session.
    pub session: u32,
    /// Whether its session has the terminal.
    pub terminal: bool,
    /// The group in the foreground of that.
    pub foreground: Option<u32>,
    /// Threads.
    pub threads: u32,
    /// Time in user mode.
    pub user_time: u64,
    /// Time in the kernel.
    pub system_time: u64,
    /// Time in user mode of children that were waited for.
    pub children_user_time: u64,
    /// Time in the kernel of children that were waited for.
    pub children_system_time: u64,
    /// When it started, since boot.
    pub start_time: u64,
    /// Memory that is mapped.
    pub virtual_size: u64,
    /// Memory that is there.
    pub resident: u64,
    /// Page faults that needed no file, and those that did.
    pub faults: [u64; 2],
    /// Niceness, -20 to 19.
    pub nice: i32,
    /// The processor it ran on last.
    pub processor: u32,
    /// Signals that are pending.
    pub pending: u64,
    /// Signals that are blocked.
    pub blocked: u64,
    /// Signals that are ignored.
    pub ignored: u64,
    /// Signals that are handled.
    pub caught: u64,
}

/// A memory area, as a line of `maps`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mapping {
    /// First address.
    pub start: u64,
    /// Address behind the last.
    pub end: u64,
    /// Whether it may be read, written and executed.
    pub allowed: [bool; 3],
    /// Whether writes are seen by others.
    pub shared: bool,
    /// Where in the file it starts.
    pub offset: u64,
    /// The file, or a name such as `[stack]`, or nothing.
    pub name: Vec<u8>,
}

/// Memory of the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// All there is.
    pub total: u64,
    /// What is free.
    pub free: u64,
    /// Pages of programs that are kept for the next to run them.
    pub cached: u64,
    /// What the kernel's heap occupies.
    pub heap: u64,
    /// What is in use of that.
    pub allocated: u64,
    /// What is mapped in the kernel page by page: the stacks of tasks, and some that are kept for the next.
    pub vmalloc: u64,
}

/// What a processor did since boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTimes {
    /// Time in user mode.
    pub user: u64,
    /// Time in the kernel.
    pub system: u64,
    /// Time without work.
    pub idle: u64,
}

/// The machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct System {
    /// Release, as uname(2) reports it.
    pub release: String,
    /// Version, as uname(2) reports it.
    pub version: String,
    /// Name of the machine.
    pub hostname: Vec<u8>,
    /// Time since boot.
    pub uptime: u64,
    /// Time of day at boot, in seconds of the Unix epoch.
    pub boot_time: u64,
    /// Memory.
    pub memory: Memory,
    /// Processors.
    pub cpus: Vec<CpuTimes>,
    /// Vendor of the processors, as CPUID reports it.
    pub cpu_vendor: String,
    /// Their model.
    pub cpu_model: String,
    /// Their names for what they can do, as Linux writes them.
    pub cpu_flags: String,
    /// Their clock in kHz.
    pub cpu_khz: u64,
    /// Hundredths of tasks that were running or ready on average over 1, 5 and 15 minutes.
    pub load: [u32; 3],
    /// Tasks that are running or ready, and all tasks.
    pub tasks: [u32; 2],
    /// The process that was created last.
    pub last_pid: u32,
    /// Processes created since boot.
    pub forks: u64,
    /// Context switches since boot.
    pub switches: u64,
    /// Interrupts since boot.
    pub interrupts: u64,
}
