//! What paths are asked for: look-up, stat, readlink, access, getcwd, statfs; and truncate.

use super::inode::Inode;
use super::node::{Node, Place};
use super::path::PATH_MAX;
use super::walk::Final;
use super::{FileSystem, NAME_MAX};
use crate::abi::Statfs;
use crate::{Errno, FileType, Follow, Metadata, WaitQueue};
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Bytes that an inode and a name cost at least: how many files statfs(2) says there can be.
const LEAST_COST: u64 = 640;

impl<Q: WaitQueue> FileSystem<Q> {
    /// Finds what `path` leads to.
    ///
    /// # Errors
    ///
    /// [`Errno::NOENT`], [`Errno::NOTDIR`], [`Errno::LOOP`], [`Errno::NAMETOOLONG`].
    pub fn lookup(&self, from: &Node, path: &[u8], follow: Follow) -> Result<Node, Errno> {
        let last = if follow == Follow::Yes { Final::Follow } else { Final::Keep };
        let walk = self.walk(from, path, last)?;
        let mut node = walk.node.ok_or(Errno::NOENT)?;
        if (follow == Follow::Yes || walk.slash)
            && node.is_descriptor()
            && let Some(target) = self.jump(&node)?
        {
            node = target;
        }
        if walk.slash && node.kind() != FileType::Directory {
            return Err(Errno::NOTDIR);
        }
        Ok(node)
    }

    /// Finds a directory: for chdir(2), and for others that need one.
    ///
    /// # Errors
    ///
    /// As [`FileSystem::lookup`], and [`Errno::NOTDIR`].
    pub fn directory(&self, from: &Node, path: &[u8]) -> Result<Node, Errno> {
        let node = self.lookup(from, path, Follow::Yes)?;
        if node.kind() == FileType::Directory { Ok(node) } else { Err(Errno::NOTDIR) }
    }

    /// Returns what stat(2) reports, or with [`Follow::No`] lstat(2).
    ///
    /// # Errors
    ///
    /// As [`FileSystem::lookup`].
    pub fn stat(&self, from: &Node, path: &[u8], follow: Follow) -> Result<Metadata, Errno> {
        let node = self.lookup(from, path, follow)?;
        match &node.0 {
            // A descriptor's link stands for something without a name, such as a pipe.
            Place::Proc(link) if follow == Follow::Yes => match link.descriptor(self)? {
                Some(file) => Ok(file.metadata()),
                None => Ok(node.metadata()),
            },
            _ => Ok(node.metadata()),
        }
    }

    /// Checks what access(2) asks, for root. See [`Node::access`].
    ///
    /// # Errors
    ///
    /// As [`FileSystem::lookup`] and [`Node::access`].
    pub fn access(&self, from: &Node, path: &[u8], mode: u32, follow: Follow) -> Result<(), Errno> {
        self.lookup(from, path, follow)?.access(mode)
    }

    /// Returns where a symbolic link leads: the one at `path`, or for the empty path `from` itself, which
    /// may have been opened with O_PATH.
    ///
    /// # Errors
    ///
    /// As [`FileSystem::lookup`], and [`Errno::INVAL`] for what is no link.
    pub fn readlink(&self, from: &Node, path: &[u8]) -> Result<Vec<u8>, Errno> {
        if path.is_empty() && from.kind() == FileType::Symlink {
            return self.target_of(from);
        }
        let node = self.lookup(from, path, Follow::No)?;
        if node.kind() == FileType::Symlink { self.target_of(&node) } else { Err(Errno::INVAL) }
    }

    /// Finds a program for execve(2).
    ///
    /// # Errors
    ///
    /// As [`FileSystem::lookup`], and [`Errno::ACCES`] for what is no regular file or has no x bit.
    pub fn executable(&self, from: &Node, path: &[u8]) -> Result<Arc<Inode>, Errno> {
        let node = self.lookup(from, path, Follow::Yes)?;
        let inode = node.inode().filter(|inode| inode.kind() == FileType::Regular);
        let inode = inode.ok_or(Errno::ACCES)?;
        node.access(1)?;
        Ok(inode.clone())
    }

    /// Finds the socket's inode at `path`, for connect(2).
    ///
    /// # Errors
    ///
    /// As [`FileSystem::lookup`], and [`Errno::CONNREFUSED`] for what is none.
    pub fn find_socket(&self, from: &Node, path: &[u8]) -> Result<Arc<Inode>, Errno> {
        let node = self.lookup(from, path, Follow::Yes)?;
        let inode = node.inode().filter(|inode| inode.kind() == FileType::Socket);
        inode.cloned().ok_or(Errno::CONNREFUSED)
    }

    /// Cuts the file at `path` off at `len` bytes, or lets it grow to them with zeros.
    ///
    /// # Errors
    ///
    /// As [`FileSystem::lookup`] and [`Inode::set_len`]; [`Errno::ACCES`] in `/proc`.
    pub fn truncate(&self, from: &Node, path: &[u8], len: u64) -> Result<(), Errno> {
        let node = self.lookup(from, path, Follow::Yes)?;
        match node.inode() {
            Some(inode) => inode.set_len(len),
            None if node.kind() == FileType::Directory => Err(Errno::ISDIR),
            None => Err(Errno::ACCES),
        }
    }

    /// Returns the absolute path of a directory: getcwd(2).
    ///
    /// # Errors
    ///
    /// [`Errno::NOENT`] for a directory that was removed, [`Errno::NAMETOOLONG`] for one whose path has
    /// [`PATH_MAX`] bytes or more, [`Errno::NOTDIR`] for what is no directory.
    pub fn path_of(&self, directory: &Node) -> Result<Vec<u8>, Errno> {
        let mut names: Vec<Vec<u8>> = Vec::new();
        let mut at = directory.clone();
        let mut len = 0;
        // Nobody moves a directory meanwhile, so the names belong together.
        let _changes = self.changes.lock();
        loop {
            let above = match &at.0 {
                Place::Tree(inode) if Arc::ptr_eq(inode, &self.root) => break,
                Place::Tree(inode) => {
                    let parent = inode.names()?.parent().ok_or(Errno::NOENT)?;
                    let name = parent.names()?.name_of(inode).map(<[u8]>::to_vec);
                    names.push(name.ok_or(Errno::NOENT)?);
                    Node(Place::Tree(parent))
                }
                Place::Proc(node) => {
                    if node.kind() != FileType::Directory {
                        return Err(Errno::NOTDIR);
                    }
                    let Some(name) = node.name() else {
                        at = Node(Place::Tree(self.proc_mount.clone()));
                        continue;
                    };
                    names.push(name);
                    Node(Place::Proc(node.parent()))
                }
            };
            len += 1 + names.last().map_or(0, Vec::len);
            if len >= PATH_MAX {
                return Err(Errno::NAMETOOLONG);
            }
            at = above;
        }
        let mut path = Vec::with_capacity(len.max(1));
        for name in names.iter().rev() {
            path.push(b'/');
            path.extend_from_slice(name);
        }
        if path.is_empty() {
            path.push(b'/');
        }
        Ok(path)
    }

    /// Returns the absolute path, without links, of what `path` leads to: for `/proc/<pid>/exe`.
    ///
    /// # Errors
    ///
    /// As [`FileSystem::lookup`] and [`FileSystem::path_of`].
    pub fn canonical(&self, from: &Node, path: &[u8]) -> Result<Vec<u8>, Errno> {
        let walk = self.walk(from, path, Final::Follow)?;
        let node = walk.node.ok_or(Errno::NOENT)?;
        if node.kind() == FileType::Directory {
            return self.path_of(&node);
        }
        if walk.slash {
            return Err(Errno::NOTDIR);
        }
        if node.is_descriptor() {
            return self.target_of(&node);
        }
        self.path_in(&walk.parent, &node)
    }

    /// Returns the path of a file that was found in the directory `parent`, with Linux's ` (deleted)`
    /// if it is no longer there.
    pub(crate) fn path_in(&self, parent: &Node, node: &Node) -> Result<Vec<u8>, Errno> {
        let mut path = self.path_of(parent)?;
        if path != b"/" {
            path.push(b'/');
        }
        match (&parent.0, &node.0) {
            (Place::Tree(directory), Place::Tree(inode)) => {
                match directory.names()?.name_of(inode) {
                    Some(name) => path.extend_from_slice(name),
                    None => path.extend_from_slice(b"? (deleted)"),
                }
            }
            (_, Place::Proc(node)) => path.extend(node.name().unwrap_or_default()),
            _ => return Err(Errno::NOENT),
        }
        Ok(path)
    }

    /// Returns what statfs(2) reports about the file system that `node` is in.
    #[must_use]
    pub fn statfs(&self, node: &Node) -> Statfs {
        let block_size = u64::from(Metadata::BLOCK_SIZE);
        match node.0 {
            Place::Proc(_) => Statfs {
                kind: Statfs::PROC,
                block_size,
                blocks: 0,
                free: 0,
                files: 0,
                free_files: 0,
            },
            Place::Tree(_) => {
                let limit = self.volume.limit();
                let left = limit.saturating_sub(self.volume.charged());
                let free_files = left / LEAST_COST;
                Statfs {
                    kind: Statfs::TMPFS,
                    block_size,
                    blocks: limit / block_size,
                    free: left / block_size,
                    files: free_files + self.volume.inodes(),
                    free_files,
                }
            }
        }
    }
}

const _: () = assert!(NAME_MAX < PATH_MAX);
