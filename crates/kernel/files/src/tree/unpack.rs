//! The initramfs, unpacked into the tree.

use super::FileSystem;
use super::inode::Inode;
use super::node::Node;
use crate::{DeviceNumber, Errno, FileType, Follow, SetTime, Timespec, WaitQueue};
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use handover::cpio::{CpioError, Entries, Entry};
use thiserror::Error;

/// Why an initramfs cannot be unpacked. Its bytes do not count against the limit on memory, only
/// its names do, so this happens to archives that are broken or absurd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum UnpackError {
    /// The archive cannot be read.
    #[error(transparent)]
    Cpio(#[from] CpioError),
    /// An entry cannot be created.
    #[error("entry {entry} of the initramfs cannot be created: {error}")]
    Create {
        /// Which entry, counted from 0.
        entry: usize,
        /// Why not.
        error: Errno,
    },
}

/// What was unpacked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// Entries created.
    pub entries: usize,
    /// Entries left out: devices that are not in `/dev` already, and types that are unknown.
    pub skipped: usize,
}

impl<Q: WaitQueue> FileSystem<Q> {
    /// Creates what the archive has. Missing directories are made; where a path occurs again, the
    /// later entry counts. Files share the archive's bytes until they are written to.
    ///
    /// Entries of one inode number that say they have several links become one file; its contents may be
    /// with any of them, as GNU cpio puts them with the last.
    ///
    /// # Errors
    ///
    /// [`UnpackError`]. What came before the broken entry is there.
    pub fn unpack(&self, entries: Entries<'static>) -> Result<Unpacked, UnpackError> {
        let mut unpacked = Unpacked::default();
        let mut linked = BTreeMap::new();
        for (index, entry) in entries.enumerate() {
            let done = self
                .unpack_entry(&entry?, &mut linked)
                .map_err(|error| UnpackError::Create { entry: index, error })?;
            if done {
                unpacked.entries += 1;
            } else {
                unpacked.skipped += 1;
            }
        }
        Ok(unpacked)
    }

    /// Creates one entry and tells whether it did. `linked` has the files with several links so far.
    fn unpack_entry(
        &self,
        entry: &Entry<'static>,
        linked: &mut BTreeMap<u32, Arc<Inode>>,
    ) -> Result<bool, Errno> {
        let root = self.root();
        let path = entry.name.trim_end_matches('/').as_bytes();
        if matches!(path, b"" | b".") {
            root.set_mode(entry.mode)?;
            return Ok(true);
        }
        self.make_parents(&root, path)?;
        match FileType::of(entry.mode) {
            Some(FileType::Directory) => {
                if self.directory(&root, path).is_err() {
                    self.make_room(&root, path)?;
                    self.mkdir(&root, path, entry.mode)?;
                }
            }
            Some(FileType::Regular) => self.unpack_file(&root, path, entry, linked)?,
            Some(FileType::Symlink) => {
                self.make_room(&root, path)?;
                self.symlink(entry.data, &root, path)?;
            }
            Some(kind @ (FileType::Fifo | FileType::Socket)) => {
                self.make_room(&root, path)?;
                let permissions = entry.mode & 0o7777;
                self.mknod(&root, path, kind as u32 | permissions, DeviceNumber::default())?;
            }
            // Which device it is the parser does not say; those that are known are there already.
            Some(FileType::Character) | None => {
                return Ok(self.lookup(&root, path, Follow::No).is_ok());
            }
        }
        let node = self.lookup(&root, path, Follow::No)?;
        if node.inode().is_none() {
            // The directory that /proc covers.
            return Ok(true);
        }
        node.set_owner(Some(entry.uid), Some(entry.gid))?;
        if node.kind() != FileType::Symlink {
            // After the owner, whose change clears set-user-ID.
            node.set_mode(entry.mode)?;
        }
        let time = SetTime::To(Timespec { seconds: entry.mtime.into(), nanoseconds: 0 });
        node.set_times(time, time)?;
        Ok(true)
    }

    fn unpack_file(
        &self,
        root: &Node,
        path: &[u8],
        entry: &Entry<'static>,
        linked: &mut BTreeMap<u32, Arc<Inode>>,
    ) -> Result<(), Errno> {
        self.make_room(root, path)?;
        let known = linked.get(&entry.inode).filter(|_| entry.links > 1).cloned();
        match known {
            Some(inode) => {
                if !entry.data.is_empty() {
                    inode.set_archive(entry.data)?;
                }
                self.add_name(root, path, inode)
            }
            None => {
                let inode = Inode::regular(&self.volume, entry.mode, entry.data)?;
                if entry.links > 1 {
                    linked.insert(entry.inode, inode.clone());
                }
                inode.clear_links();
                self.add_name(root, path, inode)
            }
        }
    }

    /// Creates the directories that lead to `path`.
    fn make_parents(&self, root: &Node, path: &[u8]) -> Result<(), Errno> {
        for (end, _) in path.iter().enumerate().filter(|&(end, &byte)| byte == b'/' && end > 0) {
            match self.mkdir(root, &path[..end], 0o755) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Removes what an earlier entry, or [`FileSystem::new`], has put at `path`.
    fn make_room(&self, root: &Node, path: &[u8]) -> Result<(), Errno> {
        match self.unlink(root, path) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(Errno::ISDIR) => self.rmdir(root, path),
            Err(error) => Err(error),
        }
    }
}
