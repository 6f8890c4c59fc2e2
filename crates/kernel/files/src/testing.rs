//! What the tests of this crate share: a wait queue that counts, and a kernel with two processes.

use crate::proc::{Mapping, Memory, ProcSource, Process, State, System};
use crate::tree::{Node, Setup};
use crate::tty::Tty;
use crate::{Caller, Errno, FdTable, FileSystem, Follow, OpenFile, OpenFlags, Timespec, WaitQueue};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::cell::Cell;
use kernel_sync::atomic::{AtomicUsize, Ordering};

extern crate std;

/// A queue that nobody sleeps on.
#[derive(Debug)]
pub(crate) struct Bell {
    rings: AtomicUsize,
    listeners: kernel_sync::Mutex<Vec<Arc<Bell>>>,
}

impl WaitQueue for Bell {
    fn new() -> Self {
        Self { rings: AtomicUsize::new(0), listeners: kernel_sync::Mutex::new(Vec::new()) }
    }

    fn wake_all(&self) {
        self.rings.fetch_add(1, Ordering::Relaxed);
        self.wake_listeners();
    }

    fn add_listener(&self, listener: &Arc<Self>) {
        self.listeners.lock().push(listener.clone());
    }

    fn remove_listener(&self, listener: &Arc<Self>) {
        let mut listeners = self.listeners.lock();
        let place = listeners.iter().position(|other| Arc::ptr_eq(other, listener));
        listeners.remove(place.expect("was added"));
    }

    fn wake_listeners(&self) {
        for listener in &*self.listeners.lock() {
            listener.wake_all();
        }
    }
}

/// Returns how often the waiters of `file` were woken.
pub(crate) fn rings(file: &OpenFile<Bell>) -> usize {
    file.queue().expect("a file that can block").rings.load(Ordering::Relaxed)
}

/// The process that calls: it leads session 10.
pub(crate) const CALLER: Caller = Caller { pid: 10, group: 10, session: 10 };

/// A kernel with the processes 1 and 10, of which 10 is the current one.
pub(crate) struct Machine {
    pub(crate) descriptors: Arc<FdTable<Bell>>,
    pub(crate) directory: kernel_sync::Mutex<Option<Node>>,
}

impl ProcSource<Bell> for Arc<Machine> {
    fn current(&self) -> Option<u32> {
        Some(CALLER.pid)
    }

    fn pids(&self) -> Vec<u32> {
        vec![1, CALLER.pid]
    }

    fn process(&self, pid: u32) -> Option<Process> {
        match pid {
            1 => Some(Process { name: b"init".to_vec(), threads: 1, ..Process::default() }),
            10 => Some(Process {
                name: b"a (b".to_vec(),
                state: State::Sleeping,
                parent: 1,
                group: 10,
                session: 10,
                terminal: true,
                foreground: Some(10),
                threads: 3,
                user_time: 1_500_000_000,
                system_time: 20_000_000,
                children_user_time: 30_000_000,
                children_system_time: 40_000_000,
                start_time: 7_000_000_000,
                virtual_size: 1 << 20,
                resident: 3 << 12,
                faults: [5, 6],
                nice: -5,
                processor: 2,
                pending: 1,
                blocked: 2,
                ignored: 4,
                caught: 8,
            }),
            _ => None,
        }
    }

    fn command_line(&self, pid: u32) -> Vec<u8> {
        if pid == 1 { b"/init\0-x\0".to_vec() } else { Vec::new() }
    }

    fn executable(&self, pid: u32) -> Option<Vec<u8>> {
        (pid == CALLER.pid).then(|| b"/bin/sh".to_vec())
    }

    fn working_directory(&self, pid: u32) -> Option<Node> {
        if pid == CALLER.pid { self.directory.lock().clone() } else { None }
    }

    fn descriptors(&self, pid: u32) -> Option<Arc<FdTable<Bell>>> {
        (pid == CALLER.pid).then(|| self.descriptors.clone())
    }

    fn mappings(&self, _pid: u32) -> Vec<Mapping> {
        vec![
            Mapping {
                start: 0x40_0000,
                end: 0x40_1000,
                allowed: [true, false, true],
                shared: false,
                offset: 0x1000,
                name: b"/bin/sh".to_vec(),
            },
            Mapping {
                start: 0x7fff_f000_0000,
                end: 0x7fff_f002_1000,
                allowed: [true, true, false],
                shared: false,
                offset: 0,
                name: b"[stack]".to_vec(),
            },
        ]
    }

    fn system(&self) -> System {
        System {
            release: "6.1.0".into(),
            version: "#1 SMP".into(),
            hostname: b"host".to_vec(),
            uptime: 12_345_678_901,
            memory: Memory {
                total: 64 << 20,
                free: 32 << 20,
                cached: 1 << 20,
                heap: 3 << 20,
                allocated: 2 << 20,
                vmalloc: 64 << 10,
            },
            cpus: vec![
                crate::proc::CpuTimes {
                    user: 1_000_000_000,
                    system: 2_000_000_000,
                    idle: 3_000_000_000
                };
                2
            ],
            load: [5, 123, 0],
            tasks: [1, 2],
            last_pid: 10,
            ..System::default()
        }
    }
}

std::thread_local! {
    /// What happens when the clock is read next: a way into the middle of a call.
    static AT_CLOCK: Cell<Option<fn()>> = const { Cell::new(None) };
}

/// Calls `what` when this thread reads the clock next.
pub(crate) fn at_clock(what: fn()) {
    AT_CLOCK.set(Some(what));
}

fn clock() -> Timespec {
    if let Some(what) = AT_CLOCK.take() {
        what();
    }
    Timespec { seconds: 1_000, nanoseconds: 5 }
}

/// A file system, the kernel below it, and a terminal that shows its output nowhere.
pub(crate) struct World {
    pub(crate) files: FileSystem<Bell>,
    pub(crate) machine: Arc<Machine>,
    pub(crate) root: Node,
}

impl World {
    pub(crate) fn new(limit: u64) -> Self {
        let machine = Arc::new(Machine {
            descriptors: Arc::new(FdTable::new()),
            directory: kernel_sync::Mutex::new(None),
        });
        let files = FileSystem::new(Setup {
            clock,
            random: |buffer| buffer.fill(0x5a),
            limit,
            terminal: Tty::new(|_| ()),
            proc: Box::new(machine.clone()),
        });
        let files = files.expect("room for the first names");
        let root = files.root();
        Self { files, machine, root }
    }

    /// Opens a path from the root, with `0o644` for a new file.
    pub(crate) fn open(&self, path: &str, flags: OpenFlags) -> Result<Arc<OpenFile<Bell>>, Errno> {
        self.files.open(&CALLER, &self.root, path.as_bytes(), flags, 0o644)
    }

    /// Creates a file with these contents, or replaces them.
    pub(crate) fn put(&self, path: &str, contents: &[u8]) {
        let file = self.open(path, OpenFlags::CREAT | OpenFlags::TRUNC | OpenFlags::WRONLY);
        let file = file.expect("can be created");
        assert_eq!(file.write(contents), Ok(contents.len()));
    }

    /// Returns the contents of a file.
    pub(crate) fn cat(&self, path: &str) -> Result<Vec<u8>, Errno> {
        let file = self.open(path, OpenFlags::empty())?;
        let mut contents = Vec::new();
        let mut buffer = [0; 1000];
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(contents),
                read => contents.extend_from_slice(&buffer[..read]),
            }
        }
    }

    /// Returns the names in a directory, in the order of getdents64, with the type of each.
    pub(crate) fn ls(&self, path: &str) -> Result<Vec<(Vec<u8>, u8)>, Errno> {
        let directory = self.open(path, OpenFlags::DIRECTORY)?;
        let mut entries = Vec::new();
        let mut buffer = [0; 100];
        loop {
            let len = directory.read_directory(&mut buffer)?;
            if len == 0 {
                return Ok(entries);
            }
            entries.extend(dirents(&buffer[..len]));
        }
    }

    pub(crate) fn mkdir(&self, path: &str) -> Result<(), Errno> {
        self.files.mkdir(&self.root, path.as_bytes(), 0o755)
    }

    pub(crate) fn symlink(&self, target: &str, path: &str) -> Result<(), Errno> {
        self.files.symlink(target.as_bytes(), &self.root, path.as_bytes())
    }

    pub(crate) fn unlink(&self, path: &str) -> Result<(), Errno> {
        self.files.unlink(&self.root, path.as_bytes())
    }

    pub(crate) fn rmdir(&self, path: &str) -> Result<(), Errno> {
        self.files.rmdir(&self.root, path.as_bytes())
    }

    pub(crate) fn rename(&self, old: &str, new: &str) -> Result<(), Errno> {
        let flags = crate::RenameFlags::default();
        self.files.rename(&self.root, old.as_bytes(), &self.root, new.as_bytes(), flags)
    }

    pub(crate) fn stat(&self, path: &str) -> Result<crate::Metadata, Errno> {
        self.files.stat(&self.root, path.as_bytes(), Follow::Yes)
    }
}

/// Takes the entries of getdents64 apart: name and type.
pub(crate) fn dirents(mut bytes: &[u8]) -> Vec<(Vec<u8>, u8)> {
    let mut entries = Vec::new();
    while let Some(&[low, high]) = bytes.get(16..18).and_then(|len| len.first_chunk()) {
        let (record, rest) = bytes.split_at(u16::from_le_bytes([low, high]).into());
        let name = record[19..].split(|&byte| byte == 0).next().unwrap_or_default();
        entries.push((name.to_vec(), record[18]));
        bytes = rest;
    }
    entries
}
