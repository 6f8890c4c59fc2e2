//! `execve`: the running task becomes another program.

use super::memory::{FileObject, Heap, MemoryData};
use super::process::{Ending, wake_ending};
use super::segments::Segments;
use super::{FileParts, FsContext, TaskRef, name_of};
use crate::cpu::trap::TrapFrame;
use crate::file_tree::files;
use crate::layout::{PAGE_SIZE, USER_END};
use crate::oom::{Wanted, with_relief};
use crate::os::{Os, init_mm, loaded_here};
use crate::random;
use crate::sched::{Current, Patience, sleep_until};
use crate::signal::AlternateStack;
use crate::task::context::FxState;
use ::files::{Errno, Inode};
use alloc::sync::Arc;
use alloc::vec::Vec;
use kernel_exec::elf::{Class, ElfError, Machine, Target};
use kernel_exec::exec_mmap::exec_mmap;
use kernel_exec::load::{Credentials, LoadError, LoadRequest, LoadedImage, Platform, load};
use kernel_exec::stack::{StackError, StackLimits};
use kernel_sync::Mutex;
use kernel_sync::atomic::Ordering;
use mm_generic::user::{MMAP_MIN_ADDR, STACK_MAX};

/// Scripts that name scripts as their interpreters, at most.
const MAX_SCRIPTS: usize = 5;

/// Bytes of a script's first line that count.
const SCRIPT_LINE: usize = 256;

/// Lowest bias of a position-independent program: two thirds up, as in Linux (`ELF_ET_DYN_BASE`).
const PIE_BASE: u64 = (USER_END / 3 * 2) & !(PAGE_SIZE - 1);

/// The end of the addresses for segments: room for the stack, and for mappings above them.
const SEGMENTS_END: u64 = USER_END - (64 << 30);

/// Ticks per second of times(2).
pub const CLOCK_TICKS: u64 = 100;

/// What is to be executed, and with what.
#[derive(Clone, Debug)]
pub struct Program {
    /// The path that was asked for.
    pub path: Vec<u8>,
    /// Arguments.
    pub argv: Vec<Vec<u8>>,
    /// Environment.
    pub envp: Vec<Vec<u8>>,
}

/// A program in a new address space.
pub struct Image {
    /// Address space, entry and stack pointer.
    pub loaded: LoadedImage<Os>,
    /// What goes along with the address space.
    pub memory: MemoryData,
}

/// Loads `program`, whose path is relative to the directory of `fs`.
///
/// # Errors
///
/// What `execve` returns.
pub fn load_program(fs: &FsContext, program: &Program) -> Result<Image, Errno> {
    // What is run, and which arguments go before those of the caller, of which `skipped` do not count.
    let mut path = program.path.clone();
    let mut before: Vec<Vec<u8>> = Vec::new();
    let mut skipped = 0;
    for _ in 0..MAX_SCRIPTS {
        let directory = fs.directory.lock().clone();
        let inode = files().executable(&directory, &path)?;
        let mut start = [0; SCRIPT_LINE];
        let len = inode.read_at(0, &mut start)?;
        let Some((interpreter, argument)) = script_line(&start[..len]) else {
            let executable = files().canonical(&directory, &path)?;
            let rest = program.argv.get(skipped..).unwrap_or_default();
            let argv = slices(&[&before, rest])?;
            return load_elf(&inode, &path, &argv, &slices(&[&program.envp])?, executable);
        };
        // argv[0] gives way to the interpreter, its argument, and the script's path. These are short, and few.
        let rest = before.drain(..).skip(1);
        let mut new = alloc::vec![interpreter.to_vec()];
        new.extend(argument.map(<[u8]>::to_vec));
        new.push(path);
        new.extend(rest);
        before = new;
        skipped = 1;
        path = interpreter.to_vec();
    }
    Err(Errno::LOOP)
}

/// Returns the strings of `lists`, one list behind the other.
fn slices<'a>(lists: &[&'a [Vec<u8>]]) -> Result<Vec<&'a [u8]>, Errno> {
    let mut all = Vec::new();
    let len = lists.iter().map(|list| list.len()).sum();
    all.try_reserve_exact(len).map_err(|_| Errno::NOMEM)?;
    all.extend(lists.iter().flat_map(|list| list.iter()).map(Vec::as_slice));
    Ok(all)
}

/// Splits a first line `#! interpreter argument`.
fn script_line(start: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    let line = start.strip_prefix(b"#!")?;
    let line = line.split(|&byte| byte == b'\n').next()?.trim_ascii();
    let end = line.iter().position(u8::is_ascii_whitespace).unwrap_or(line.len());
    let (interpreter, argument) = line.split_at(end);
    let argument = argument.trim_ascii();
    (!interpreter.is_empty()).then_some((interpreter, (!argument.is_empty()).then_some(argument)))
}

fn load_elf(
    inode: &Arc<Inode>,
    path: &[u8],
    argv: &[&[u8]],
    envp: &[&[u8]],
    executable: Vec<u8>,
) -> Result<Image, Errno> {
    let target = Target {
        class: Class::Elf64,
        machine: Machine::X86_64,
        user: MMAP_MIN_ADDR..SEGMENTS_END,
        pie_base: PIE_BASE,
    };
    let mut seed = [0; 16];
    random::fill(&mut seed);
    let request = LoadRequest {
        target: &target,
        stack_top: USER_END,
        stack_limits: StackLimits::linux(STACK_MAX as usize),
        argv,
        envp,
        execfn: path,
        credentials: Credentials::default(),
        platform: Platform { name: b"x86_64", hwcap: hwcap(), clktck: CLOCK_TICKS },
        random: seed,
        vdso: None,
    };
    let whole;
    let bytes = match inode.archive_bytes() {
        Some(bytes) => bytes,
        None => {
            whole = read_whole(inode)?;
            &whole
        }
    };
    let object =
        FileObject { inode: inode.clone(), path: executable.as_slice().into(), may_write: true };
    let loaded = load(init_mm(), &object, bytes, &request).map_err(|error| {
        log::debug!("execve: {error}");
        match error {
            LoadError::Elf(ElfError::OutOfMemory { .. })
            | LoadError::Stack(StackError::OutOfMemory { .. }) => Errno::NOMEM,
            LoadError::Elf(_) => Errno::NOEXEC,
            LoadError::Stack(_) => Errno::TOOBIG,
            _ => Errno::NOMEM,
        }
    })?;
    let mut arguments = Vec::new();
    let len = argv.iter().map(|argument| argument.len() + 1).sum();
    arguments.try_reserve_exact(len).map_err(|_| Errno::NOMEM)?;
    arguments.extend(argv.iter().flat_map(|argument| argument.iter().copied().chain([0])));
    let memory = MemoryData {
        heap: Mutex::new(Heap { start: loaded.brk_start, end: loaded.brk_start }),
        executable: executable.into(),
        arguments: Arc::new(arguments),
    };
    Ok(Image { loaded, memory })
}

/// EDX of CPUID leaf 1.
fn hwcap() -> u64 {
    u64::from(core::arch::x86_64::__cpuid(1).edx)
}

fn read_whole(inode: &Inode) -> Result<Vec<u8>, Errno> {
    let len = usize::try_from(inode.len()).map_err(|_| Errno::NOMEM)?;
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(len).map_err(|_| Errno::NOMEM)?;
    bytes.resize(len, 0);
    let mut done = 0;
    while done < len {
        match inode.read_at(done as u64, &mut bytes[done..])? {
            0 => break,
            read => done += read,
        }
    }
    bytes.truncate(done);
    Ok(bytes)
}

/// Makes the running task execute `program`; `frame` enters it.
///
/// # Errors
///
/// What `execve` returns; the task goes on as before.
pub fn execute(me: &Current, frame: &mut TrapFrame, program: &Program) -> Result<(), Errno> {
    let parts = me.parts();
    let image = with_relief(me, Wanted::Exec, || load_program(&parts.fs(), program))?;
    end_other_threads(me)?;
    let Image { loaded, memory } = image;
    let (entry, sp) = (loaded.entry, loaded.sp);
    // SAFETY: this task runs here, and kernel code is not preempted.
    let old = unsafe { exec_mmap(me, loaded_here(), loaded.mm) }.map_err(|_| Errno::AGAIN)?;
    drop(old);
    if !me.is_leader() {
        parts.process.set_successor(Some(TaskRef::clone(me)));
    }
    parts.process.has_executed.store(true, Ordering::Relaxed);
    parts.set_memory(Arc::new(memory));
    parts.set_name(name_of(&program.path));
    parts.set_handlers(Arc::new(parts.handlers().copy_for_exec()));
    *parts.signals.alternate_stack.lock() = AlternateStack::default();
    parts.robust_list.store(0, Ordering::Relaxed);
    parts.process.posix_timers.delete_all();
    close_on_exec(me)?;
    Segments::INITIAL.load();
    FxState::initial().load();
    *frame = TrapFrame::user(entry, sp);
    Ok(())
}

/// Closes what is to be closed, in a table of the task's own.
fn close_on_exec(me: &Current) -> Result<(), Errno> {
    let parts = me.parts();
    if let Some(FileParts { fds, fs }) = parts.files() {
        // One reference is the task's and one ours.
        let own = if Arc::strong_count(&fds) > 2 { Arc::new(fds.fork()?) } else { fds };
        own.close_on_exec();
        drop(parts.replace_files(Some(FileParts { fds: own, fs })));
    }
    Ok(())
}

/// Ends all other threads of the running task's process, and waits until they are gone (`de_thread`).
fn end_other_threads(me: &Current) -> Result<(), Errno> {
    let process = me.process();
    if process.live_threads() == 1 {
        return Ok(());
    }
    let parts = me.parts();
    parts.set_spared(true);
    if !parts.process.set_ending(Ending::Others) {
        // Another thread executes or exits; this one is about to learn of its end.
        parts.set_spared(false);
        return Err(Errno::AGAIN);
    }
    process.close();
    wake_ending(me);
    let alone = || (process.live_threads() == 1).then_some(());
    let result = sleep_until(&[&parts.process.child_event], Patience::UntilKilled, None, alone);
    process.reopen();
    parts.process.spare_the_rest();
    parts.set_spared(false);
    result.map_err(|_| Errno::INTR)
}
