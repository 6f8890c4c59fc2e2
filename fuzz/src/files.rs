//! A file system without a kernel below it, for the target `files`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use files::proc::{ProcSource, Process, System};
use files::tty::Tty;
use files::{Caller, FdTable, FileSystem, Node, Setup, Timespec, WaitQueue};

use crate::is_planted;

/// Who opens files: the leader of a session.
pub const CALLER: Caller = Caller { pid: 10, group: 10, session: 10 };

/// A queue that nobody sleeps on, and which counts how often it woke.
#[derive(Debug, Default)]
pub struct Queue {
    rings: AtomicU64,
    listeners: Mutex<Vec<Arc<Queue>>>,
}

impl Queue {
    pub fn rings(&self) -> u64 {
        self.rings.load(Ordering::Relaxed)
    }
}

impl WaitQueue for Queue {
    fn new() -> Self {
        Self::default()
    }

    fn wake_all(&self) {
        // Planted: the one wake-up is lost that comes with listeners.
        if !is_planted("lost-wake-up") || self.listeners.lock().expect("no panic").is_empty() {
            self.rings.fetch_add(1, Ordering::Relaxed);
        }
        self.wake_listeners();
    }

    fn add_listener(&self, listener: &Arc<Self>) {
        self.listeners.lock().expect("no panic").push(listener.clone());
    }

    fn remove_listener(&self, listener: &Arc<Self>) {
        let mut listeners = self.listeners.lock().expect("no panic");
        let place = listeners.iter().position(|other| Arc::ptr_eq(other, listener));
        listeners.remove(place.expect("was added"));
    }

    fn wake_listeners(&self) {
        for listener in &*self.listeners.lock().expect("no panic") {
            listener.wake_all();
        }
    }
}

/// A kernel without processes.
struct Nobody;

impl ProcSource<Queue> for Nobody {
    fn current(&self) -> Option<u32> {
        None
    }

    fn pids(&self) -> Vec<u32> {
        Vec::new()
    }

    fn process(&self, _pid: u32) -> Option<Process> {
        None
    }

    fn command_line(&self, _pid: u32) -> Vec<u8> {
        Vec::new()
    }

    fn executable(&self, _pid: u32) -> Option<Vec<u8>> {
        None
    }

    fn working_directory(&self, _pid: u32) -> Option<Node> {
        None
    }

    fn descriptors(&self, _pid: u32) -> Option<Arc<FdTable<Queue>>> {
        None
    }

    fn system(&self) -> System {
        System::default()
    }
}

/// An empty tree in `limit` bytes.
pub fn file_system(limit: u64) -> FileSystem<Queue> {
    let setup = Setup {
        clock: || Timespec { seconds: 1_000, nanoseconds: 5 },
        random: |buffer| buffer.fill(0x5a),
        limit,
        terminal: Tty::new(|_| ()),
        proc: Box::new(Nobody),
    };
    FileSystem::new(setup).expect("room for the first names")
}
