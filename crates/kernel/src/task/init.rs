//! The first thread: it makes the file system, starts the first program, and waits for everybody whom
//! nobody else waits for.

use super::context::{FxState, Start, Thread};
use super::exec::{Program, load_program};
use super::limits::Limits;
use super::memory::{FdTable, OpenFile};
use super::process::ProcessData;
use super::reaper;
use super::segments::Segments;
use super::{FileParts, FsContext, NewParts, Parts, TaskRef, name_of, spawn_kernel_thread};
use crate::boot::Machine;
use crate::cpu::area::cpu_index;
use crate::cpu::trap::TrapFrame;
use crate::file_tree::{self, files};
use crate::layout::PAGE_SIZE;
use crate::mm::frames;
use crate::os::init_mm;
use crate::procfs::Proc;
use crate::sched::{Patience, current, sleep_until, wake_new};
use crate::signal::action::Handlers;
use crate::signal::{Signal, SignalSet};
use crate::{random, terminal, time, timer};
use ::files::{Caller, Errno, FileSystem, Follow, OpenFlags, Setup, UnpackError};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use handover::cpio::Entries;
use kernel_fork::copy_process::first_process;
use kernel_fork::exit::reap;
use kernel_sync::Mutex;
use kernel_sync::atomic::{AtomicU32, Ordering};
use kernel_task::process::{ExitStatus, Process};
use thiserror::Error;

/// The first program cannot be started.
#[derive(Debug, Error)]
pub enum InitError {
    /// The file system cannot be made, or the program not be found or loaded.
    #[error("{what}: {errno}")]
    Errno {
        /// What was to be done.
        what: &'static str,
        /// Why it was not.
        errno: Errno,
    },
    /// The initramfs cannot be unpacked.
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    /// There is no memory.
    #[error("no memory for the first process")]
    NoMemory,
}

fn failed(what: &'static str) -> impl Fn(Errno) -> InitError {
    move |errno| InitError::Errno { what, errno }
}

/// Makes the running kernel thread the reaper, and the file system from the initramfs.
///
/// # Errors
///
/// [`InitError`].
pub fn prepare(machine: &'static Machine) -> Result<(), InitError> {
    reaper::install(current().process().clone());
    spawn_kernel_thread("timers", timer::serve, 0).map_err(|_| InitError::NoMemory)?;
    let terminal = terminal::install(machine);
    let setup = Setup {
        clock: time::wall_clock,
        random: random::fill,
        limit: frames::stats().free as u64 * PAGE_SIZE / 2,
        terminal,
        proc: Box::new(Proc),
    };
    let files = FileSystem::new(setup).map_err(failed("the file system"))?;
    files.unpack(Entries::new(machine.archive))?;
    file_tree::install(files);
    Ok(())
}

/// Starts `program` in a session of its own on the console, as a child of the running task.
///
/// # Errors
///
/// [`InitError`].
pub fn start(program: &Program) -> Result<TaskRef, InitError> {
    let fs = FsContext { directory: Mutex::new(files().root()), umask: AtomicU32::new(0o022) };
    let image = load_program(&fs, program).map_err(failed("the first program"))?;
    let frame = TrapFrame::user(image.loaded.entry, image.loaded.sp);
    let start = Start::User(&frame, &FxState::initial(), Segments::INITIAL);
    let process = Arc::new(ProcessData::new(Signal::CHLD.number(), 0, 0, Limits::new()));
    let parts = Parts::new(NewParts {
        thread: Thread::new(start).map_err(|_| InitError::NoMemory)?,
        blocked: SignalSet::default(),
        process: process.clone(),
        handlers: Arc::new(Handlers::new()),
        files: Some(FileParts { fds: Arc::new(FdTable::new()), fs: Arc::new(fs) }),
        memory: Arc::new(image.memory),
        name: name_of(&program.path),
    });
    let task = first_process(init_mm(), Some(image.loaded.mm), parts, cpu_index())
        .map_err(|_| InitError::NoMemory)?;
    // Its id is known only now, and it does not run yet.
    let pid = task.pid().get();
    process.group.store(pid, Ordering::Relaxed);
    process.session.store(pid, Ordering::Relaxed);
    let caller = Caller { pid, group: pid, session: pid };
    let console = open_console(&caller).map_err(failed("the console"))?;
    let fds = task.parts().fds();
    for _ in 0..3 {
        fds.insert(console.clone(), false).map_err(failed("standard descriptors"))?;
    }
    let adopted = Process::adopt(current().process(), task.process());
    debug_assert!(adopted, "the running task has not exited");
    let reference = TaskRef::clone(&task);
    wake_new(task);
    Ok(reference)
}

fn open_console(caller: &Caller) -> Result<Arc<OpenFile>, Errno> {
    files().open(caller, &files().root(), b"/dev/console", OpenFlags::RDWR, 0)
}

/// Waits for children of the running task until `main` has ended; returns how it did.
pub fn reap_until(main: &TaskRef) -> ExitStatus {
    let me = current();
    let process = me.process();
    loop {
        let reaped =
            sleep_until(&[&me.parts().process.child_event], Patience::Endless, None, || {
                reap(init_mm(), process, |_| true)
            });
        if let Ok(reaped) = reaped
            && reaped.pid == main.pid()
        {
            return reaped.status;
        }
    }
}

/// Where the initramfs may say what to run: the arguments, each ended by a NUL.
const ARGUMENTS: &[u8] = b"/etc/init.arguments";

/// Returns what to run first: what the initramfs says, else what `init=` on the command line names, else
/// a shell.
#[must_use]
pub fn first_program(machine: &Machine) -> Program {
    let argv = read_arguments().unwrap_or_else(|| {
        let path = machine.command_line.value("init").unwrap_or("/bin/sh");
        alloc::vec![path.as_bytes().to_vec()]
    });
    let envp = ["PATH=/bin:/sbin:/usr/bin:/usr/sbin", "HOME=/", "TERM=vt100", "USER=root", "PWD=/"];
    Program {
        path: argv.first().cloned().unwrap_or_default(),
        argv,
        envp: envp.map(|variable| variable.as_bytes().to_vec()).into(),
    }
}

fn read_arguments() -> Option<Vec<Vec<u8>>> {
    let node = files().lookup(&files().root(), ARGUMENTS, Follow::Yes).ok()?;
    let bytes = node.inode()?.archive_bytes()?;
    let arguments = bytes.strip_suffix(b"\0").unwrap_or(bytes);
    Some(arguments.split(|&byte| byte == 0).map(<[u8]>::to_vec).collect())
}
