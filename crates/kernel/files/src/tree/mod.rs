//! The tree of names: an in-memory file system with `/proc` mounted in it.
//!
//! # Locks
//!
//! - `changes` is held by whoever changes names. So between its look-ups and its changes nobody else
//!   changes the tree, and checks such as "is not above its new parent" hold until done.
//! - Each directory has a lock for its names. Look-ups take one at a time, so a holder of `changes`
//!   may take two, in any order: only a second holder of two could deadlock with it.
//! - Each inode has a lock for its attributes and one for its contents. Nothing is taken under them.
//!
//! Callbacks into the kernel ([`ProcSource`]) are made without any of these.

mod contents;
mod directory;
#[cfg(test)]
mod host;
mod inode;
mod names;
mod node;
mod open;
mod page;
mod path;
mod query;
#[cfg(test)]
mod tests;
mod unpack;
mod volume;
mod walk;

pub(crate) use inode::DEVICE;
pub use inode::Inode;
pub use node::Node;
pub(crate) use node::Place;
pub use page::{PAGE_SIZE, SharedPage};
pub use path::{NAME_MAX, PATH_MAX};
pub use unpack::{UnpackError, Unpacked};

use crate::proc::ProcSource;
use crate::tty::Tty;
use crate::{DeviceNumber, Errno, FileType, Timespec, WaitQueue};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use core::fmt;
use kernel_sync::Mutex;
use volume::Volume;

/// What a file system is made from.
pub struct Setup<Q: WaitQueue> {
    /// Returns the time of day.
    pub clock: fn() -> Timespec,
    /// Fills a buffer with random bytes, for `/dev/random` and `/dev/urandom`.
    pub random: fn(&mut [u8]),
    /// Bytes of memory that files may occupy, besides the archive they came from.
    pub limit: u64,
    /// What `/dev/console`, `/dev/tty` and `/dev/ttyS0` are.
    pub terminal: Arc<Tty<Q>>,
    /// Where `/proc` has its contents from.
    pub proc: Box<dyn ProcSource<Q>>,
}

/// The tree of names.
pub struct FileSystem<Q: WaitQueue> {
    volume: Arc<Volume>,
    root: Arc<Inode>,
    /// The directory that `/proc` covers.
    proc_mount: Arc<Inode>,
    pub(crate) source: Arc<dyn ProcSource<Q>>,
    terminal: Arc<Tty<Q>>,
    random: fn(&mut [u8]),
    /// The pipes behind fifos that are open, by inode number.
    fifos: Mutex<BTreeMap<u64, Weak<crate::pipe::Pipe<Q>>>>,
    /// Held while names change.
    changes: Mutex<()>,
}

impl<Q: WaitQueue> fmt::Debug for FileSystem<Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FileSystem").field(&self.volume).finish_non_exhaustive()
    }
}

/// The device nodes there always are: name, permissions, major and minor number, as in Linux.
const DEVICES: [(&[u8], u32, u32, u32); 9] = [
    (b"null", 0o666, 1, 3),
    (b"zero", 0o666, 1, 5),
    (b"full", 0o666, 1, 7),
    (b"random", 0o666, 1, 8),
    (b"urandom", 0o666, 1, 9),
    (b"kmsg", 0o644, 1, 11),
    (b"tty", 0o666, 5, 0),
    (b"console", 0o600, 5, 1),
    (b"ttyS0", 0o660, 4, 64),
];

/// The symbolic links there always are.
const LINKS: [(&[u8], &[u8]); 4] = [
    (b"fd", b"/proc/self/fd"),
    (b"stdin", b"/proc/self/fd/0"),
    (b"stdout", b"/proc/self/fd/1"),
    (b"stderr", b"/proc/self/fd/2"),
];

impl<Q: WaitQueue> FileSystem<Q> {
    /// Makes a tree with `/dev` and its nodes, `/proc` and `/tmp`.
    ///
    /// # Errors
    ///
    /// [`Errno::NOSPC`] when the limit is too low even for that.
    pub fn new(setup: Setup<Q>) -> Result<Self, Errno> {
        let volume = Arc::new(Volume::new(setup.limit, setup.clock));
        let root = Inode::directory(&volume, 0o755, Weak::new())?;
        let directory = |name: &[u8], permissions| {
            let new = Inode::directory(&volume, permissions, Arc::downgrade(&root))?;
            root.names()?.insert(name, new.clone())?;
            root.add_links(1);
            Ok(new)
        };
        let proc_mount = directory(b"proc", 0o555)?;
        let dev = directory(b"dev", 0o755)?;
        directory(b"tmp", 0o1777)?;
        // Where shm_open(3) makes its files.
        let shm = Inode::directory(&volume, 0o1777, Arc::downgrade(&dev))?;
        dev.names()?.insert(b"shm", shm)?;
        dev.add_links(1);
        for (name, permissions, major, minor) in DEVICES {
            let number = DeviceNumber { major, minor };
            let node = Inode::special(&volume, FileType::Character, permissions, number)?;
            dev.names()?.insert(name, node)?;
        }
        for (name, target) in LINKS {
            dev.names()?.insert(name, Inode::symlink(&volume, target)?)?;
        }
        Ok(Self {
            volume,
            root,
            proc_mount,
            source: setup.proc.into(),
            terminal: setup.terminal,
            random: setup.random,
            fifos: Mutex::new(BTreeMap::new()),
            changes: Mutex::new(()),
        })
    }

    /// Returns the root directory.
    #[must_use]
    pub fn root(&self) -> Node {
        Node(Place::Tree(self.root.clone()))
    }
}
