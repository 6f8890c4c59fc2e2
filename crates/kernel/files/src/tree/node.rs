//! A place in the tree of names: an inode of the in-memory file system, or something in `/proc`.

use super::inode::Inode;
use crate::proc::ProcNode;
use crate::{Errno, FileType, Metadata, SetTime};
use alloc::sync::Arc;

/// A file, directory or link that a path led to. Cloning one is cheap; it keeps the inode alive.
#[derive(Clone, Debug)]
pub struct Node(pub(crate) Place);

/// Which of the two file systems a node is in.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    Tree(Arc<Inode>),
    Proc(ProcNode),
}

impl Node {
    /// Returns the kind of file.
    #[must_use]
    pub fn kind(&self) -> FileType {
        match &self.0 {
            Place::Tree(inode) => inode.kind(),
            Place::Proc(node) => node.kind(),
        }
    }

    /// Returns what stat(2) reports.
    #[must_use]
    pub fn metadata(&self) -> Metadata {
        match &self.0 {
            Place::Tree(inode) => inode.metadata(),
            Place::Proc(node) => node.metadata(),
        }
    }

    /// Returns the inode; `None` in `/proc`.
    #[must_use]
    pub fn inode(&self) -> Option<&Arc<Inode>> {
        match &self.0 {
            Place::Tree(inode) => Some(inode),
            Place::Proc(_) => None,
        }
    }

    /// Tells whether this is a link in `/proc/<pid>/fd`.
    pub(super) fn is_descriptor(&self) -> bool {
        matches!(self.0, Place::Proc(ProcNode::Descriptor { .. }))
    }

    /// Returns the inode if it may be changed.
    fn changeable(&self) -> Result<&Arc<Inode>, Errno> {
        self.inode().ok_or(Errno::PERM)
    }

    /// Sets the permissions: the lower twelve bits of `mode`.
    ///
    /// # Errors
    ///
    /// [`Errno::PERM`] in `/proc`, [`Errno::OPNOTSUPP`] for a symbolic link.
    pub fn set_mode(&self, mode: u32) -> Result<(), Errno> {
        let inode = self.changeable()?;
        if inode.kind() == FileType::Symlink {
            return Err(Errno::OPNOTSUPP);
        }
        inode.set_mode(mode);
        Ok(())
    }

    /// Sets user and group, where given (-1 in chown(2) means "leave it").
    ///
    /// # Errors
    ///
    /// [`Errno::PERM`] in `/proc`.
    pub fn set_owner(&self, uid: Option<u32>, gid: Option<u32>) -> Result<(), Errno> {
        self.changeable()?.set_owner(uid, gid);
        Ok(())
    }

    /// Sets the times of access and modification, as utimensat(2).
    ///
    /// # Errors
    ///
    /// [`Errno::PERM`] in `/proc`.
    pub fn set_times(&self, accessed: SetTime, modified: SetTime) -> Result<(), Errno> {
        self.changeable()?.set_times(accessed, modified);
        Ok(())
    }

    /// Checks what access(2) asks, for root: everything is allowed but to execute a file that nobody
    /// may execute, and to write what cannot be written.
    ///
    /// # Errors
    ///
    /// [`Errno::ACCES`] if not allowed; [`Errno::INVAL`] for bits of `mode` besides
    /// `R_OK | W_OK | X_OK` (7).
    pub fn access(&self, mode: u32) -> Result<(), Errno> {
        const X_OK: u32 = 1;
        const W_OK: u32 = 2;
        if mode & !7 != 0 {
            return Err(Errno::INVAL);
        }
        let permissions = self.metadata().mode;
        let directory = self.kind() == FileType::Directory;
        if mode & X_OK != 0 && !directory && permissions & 0o111 == 0 {
            return Err(Errno::ACCES);
        }
        if mode & W_OK != 0 && self.inode().is_none() && permissions & 0o222 == 0 {
            return Err(Errno::ACCES);
        }
        Ok(())
    }

    /// Tells whether two nodes are the same place.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Place::Tree(one), Place::Tree(two)) => Arc::ptr_eq(one, two),
            (Place::Proc(one), Place::Proc(two)) => one == two,
            _ => false,
        }
    }
}
