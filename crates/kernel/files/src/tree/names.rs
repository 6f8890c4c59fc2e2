//! What changes names: mkdir, mknod, symlink, link, unlink, rmdir, rename.

use super::FileSystem;
use super::inode::Inode;
use super::node::{Node, Place};
use super::path::PATH_MAX;
use super::walk::{Final, Last, Walk};
use crate::{DeviceNumber, Errno, FileType, Follow, RenameFlags, WaitQueue};
use alloc::borrow::Cow;
use alloc::sync::Arc;

/// More names than this no file gets, as in ext4.
const LINK_MAX: u32 = 65_000;

/// A name that is to be created, removed or moved, and the directory it is in.
struct Slot<'a> {
    directory: Arc<Inode>,
    name: Cow<'a, [u8]>,
    /// Whether slashes followed the name.
    slash: bool,
}

impl<Q: WaitQueue> FileSystem<Q> {
    /// Creates a directory. The lower twelve bits of `mode` are its permissions.
    ///
    /// # Errors
    ///
    /// [`Errno::EXIST`] for a name that is there, [`Errno::NOENT`] and [`Errno::NOTDIR`] for a way that
    /// is not, [`Errno::NOSPC`].
    pub fn mkdir(&self, from: &Node, path: &[u8], mode: u32) -> Result<(), Errno> {
        let slot = self.slot_for_new(from, path, true)?;
        let _changes = self.changes.lock();
        self.check_free(&slot)?;
        let parent = Arc::downgrade(&slot.directory);
        let new = Inode::directory(&self.volume, mode, parent)?;
        slot.directory.names()?.insert(&slot.name, new)?;
        slot.directory.add_links(1);
        slot.directory.touch_contents();
        Ok(())
    }

    /// Creates a node of the type in `mode`: regular file (also for 0), device, fifo or socket.
    ///
    /// # Errors
    ///
    /// As [`FileSystem::mkdir`]; [`Errno::PERM`] for a directory or a link, [`Errno::INVAL`] for other
    /// types.
    pub fn mknod(
        &self,
        from: &Node,
        path: &[u8],
        mode: u32,
        number: DeviceNumber,
    ) -> Result<(), Errno> {
        let new = match FileType::of(mode) {
            None if mode & FileType::MASK == 0 => Inode::regular(&self.volume, mode, &[])?,
            Some(FileType::Regular) => Inode::regular(&self.volume, mode, &[])?,
            Some(kind @ FileType::Character) => Inode::special(&self.volume, kind, mode, number)?,
            Some(kind @ (FileType::Fifo | FileType::Socket)) => {
                Inode::special(&self.volume, kind, mode, DeviceNumber::default())?
            }
            Some(FileType::Directory | FileType::Symlink) => return Err(Errno::PERM),
            None => return Err(Errno::INVAL),
        };
        let slot = self.slot_for_new(from, path, false)?;
        self.insert(&slot, new)
    }

    /// Creates the name of a socket, for bind(2), and returns what is behind it. The lower twelve bits of `mode` are its
    /// permissions.
    ///
    /// # Errors
    ///
    /// As [`FileSystem::mkdir`]; [`Errno::ADDRINUSE`] for a name that is there.
    pub fn make_socket(&self, from: &Node, path: &[u8], mode: u32) -> Result<Arc<Inode>, Errno> {
        let new = Inode::special(&self.volume, FileType::Socket, mode, DeviceNumber::default())?;
        let result =
            self.slot_for_new(from, path, false).and_then(|slot| self.insert(&slot, new.clone()));
        match result {
            Ok(()) => Ok(new),
            Err(Errno::EXIST) => Err(Errno::ADDRINUSE),
            Err(error) => Err(error),
        }
    }

    /// Creates a symbolic link at `path` that leads to `target`, which need not exist.
    ///
    /// # Errors
    ///
    /// As [`FileSystem::mkdir`]; [`Errno::NOENT`] for an empty target, [`Errno::NAMETOOLONG`].
    pub fn symlink(&self, target: &[u8], from: &Node, path: &[u8]) -> Result<(), Errno> {
        if target.is_empty() {
            return Err(Errno::NOENT);
        }
        if target.len() >= PATH_MAX {
            return Err(Errno::NAMETOOLONG);
        }
        let slot = self.slot_for_new(from, path, false)?;
        self.insert(&slot, Inode::symlink(&self.volume, target)?)
    }

    /// Gives the file `old` the further name `new`. `follow` says what to do if `old` is a symbolic
    /// link: link(2) takes the link itself.
    ///
    /// # Errors
    ///
    /// As [`FileSystem::mkdir`]; [`Errno::PERM`] for a directory, [`Errno::XDEV`] for something in `/proc`,
    /// [`Errno::MLINK`] for the 65001st name, [`Errno::NOENT`] for a file that has none left.
    pub fn link(
        &self,
        old_from: &Node,
        old: &[u8],
        new_from: &Node,
        new: &[u8],
        follow: Follow,
    ) -> Result<(), Errno> {
        let node = self.lookup(old_from, old, follow)?;
        let slot = self.slot_for_new(new_from, new, false)?;
        let inode = node.inode().ok_or(Errno::XDEV)?;
        let _changes = self.changes.lock();
        self.check_free(&slot)?;
        if inode.kind() == FileType::Directory {
            return Err(Errno::PERM);
        }
        match inode.links() {
            0 => return Err(Errno::NOENT),
            LINK_MAX.. => return Err(Errno::MLINK),
            _ => {}
        }
        slot.directory.names()?.insert(&slot.name, inode.clone())?;
        inode.add_links(1);
        slot.directory.touch_contents();
        Ok(())
    }

    /// Removes a name that is no directory. The file goes with its last name and last user.
    ///
    /// # Errors
    ///
    /// [`Errno::NOENT`], [`Errno::ISDIR`] for a directory, [`Errno::NOTDIR`] for a file whose path ends
    /// with a slash, [`Errno::PERM`] in `/proc`.
    pub fn unlink(&self, from: &Node, path: &[u8]) -> Result<(), Errno> {
        let walk = self.walk(from, path, Final::Name)?;
        let Last::Name(_) = walk.last else { return Err(Errno::ISDIR) };
        let slot = self.slot_of_old(walk)?;
        let changes = self.changes.lock();
        let inode = slot.occupant()?;
        if inode.kind() == FileType::Directory {
            return Err(Errno::ISDIR);
        }
        if slot.slash {
            return Err(Errno::NOTDIR);
        }
        slot.directory.names()?.remove(&slot.name);
        inode.add_links(-1);
        slot.directory.touch_contents();
        // The last reference to a large file is better dropped without the lock.
        drop(changes);
        Ok(())
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    ///
    /// [`Errno::NOENT`], [`Errno::NOTDIR`], [`Errno::NOTEMPTY`] (also for `..`), [`Errno::INVAL`] for `.`,
    /// [`Errno::BUSY`] for the root and for where `/proc` is mounted, [`Errno::PERM`] in `/proc`.
    pub fn rmdir(&self, from: &Node, path: &[u8]) -> Result<(), Errno> {
        let walk = self.walk(from, path, Final::Name)?;
        match walk.last {
            Last::Name(_) => {}
            Last::Dot => return Err(Errno::INVAL),
            Last::DotDot => return Err(Errno::NOTEMPTY),
            Last::Root => return Err(Errno::BUSY),
        }
        let slot = self.slot_of_old(walk)?;
        let _changes = self.changes.lock();
        let inode = slot.occupant()?;
        self.check_not_mounted(&inode)?;
        remove_directory(&inode)?;
        slot.directory.names()?.remove(&slot.name);
        slot.directory.add_links(-1);
        slot.directory.touch_contents();
        Ok(())
    }

    /// Moves a name to another, which is replaced if it is there, in one step for everybody who looks
    /// it up.
    ///
    /// # Errors
    ///
    /// [`Errno::NOENT`]; [`Errno::EXIST`] with `NOREPLACE`; [`Errno::NOTDIR`] and [`Errno::ISDIR`]
    /// where only one of the two is a directory; [`Errno::NOTEMPTY`] for a directory with names in
    /// place of the new one; [`Errno::INVAL`] for moving a directory below itself, or both flags;
    /// [`Errno::BUSY`] for `.`, `..`, the root and where `/proc` is mounted; [`Errno::XDEV`] for
    /// something in `/proc`.
    pub fn rename(
        &self,
        old_from: &Node,
        old: &[u8],
        new_from: &Node,
        new: &[u8],
        flags: RenameFlags,
    ) -> Result<(), Errno> {
        if flags.contains(RenameFlags::NOREPLACE | RenameFlags::EXCHANGE) {
            return Err(Errno::INVAL);
        }
        let (old, new) =
            (self.walk(old_from, old, Final::Name)?, self.walk(new_from, new, Final::Name)?);
        let old = Slot::of(old, Errno::BUSY, Errno::XDEV)?;
        let occupied =
            if flags.contains(RenameFlags::NOREPLACE) { Errno::EXIST } else { Errno::BUSY };
        let new = Slot::of(new, occupied, Errno::XDEV)?;
        let changes = self.changes.lock();
        let moved = old.occupant()?;
        let target = match new.occupant() {
            Err(Errno::NOENT) => None,
            other => Some(other?),
        };
        let exchange = flags.contains(RenameFlags::EXCHANGE);
        if target.is_some() && flags.contains(RenameFlags::NOREPLACE) {
            return Err(Errno::EXIST);
        }
        if target.is_none() && exchange {
            return Err(Errno::NOENT);
        }
        let is_directory = |inode: &Inode| inode.kind() == FileType::Directory;
        if (old.slash || new.slash && !exchange) && !is_directory(&moved) {
            return Err(Errno::NOTDIR);
        }
        if exchange && new.slash && target.as_deref().is_some_and(|target| !is_directory(target)) {
            return Err(Errno::NOTDIR);
        }
        for inode in [Some(&moved), target.as_ref()].into_iter().flatten() {
            self.check_not_mounted(inode)?;
        }
        if self.is_above(&moved, &new.directory)? {
            return Err(Errno::INVAL);
        }
        if let Some(target) = &target {
            if self.is_above(target, &old.directory)? {
                return Err(if exchange { Errno::INVAL } else { Errno::NOTEMPTY });
            }
            if Arc::ptr_eq(&moved, target) {
                // Two names of one file: POSIX wants nothing to be done.
                return Ok(());
            }
        }
        // The last reference to a large file is better dropped without the lock.
        let _replaced = target.clone();
        match target {
            Some(target) if exchange => exchange_names(&old, &moved, &new, &target)?,
            target => move_name(&old, &moved, &new, target)?,
        }
        old.directory.touch_contents();
        new.directory.touch_contents();
        drop(changes);
        Ok(())
    }

    /// Adds `inode` under the name of `slot`.
    fn insert(&self, slot: &Slot<'_>, inode: Arc<Inode>) -> Result<(), Errno> {
        let _changes = self.changes.lock();
        slot.directory.names()?.insert(&slot.name, inode)?;
        slot.directory.touch_contents();
        Ok(())
    }

    /// Adds the name `path` for a file that may have others: unpacking counts its links this way.
    pub(super) fn add_name(
        &self,
        from: &Node,
        path: &[u8],
        inode: Arc<Inode>,
    ) -> Result<(), Errno> {
        let slot = self.slot_for_new(from, path, false)?;
        self.insert(&slot, inode.clone())?;
        inode.add_links(1);
        Ok(())
    }

    /// Creates a regular file under the name a walk ended at, for open(2).
    pub(super) fn create(&self, walk: Walk<'_>, mode: u32) -> Result<Arc<Inode>, Errno> {
        let slot = Slot::of(walk, Errno::EXIST, Errno::NOENT)?;
        let new = Inode::regular(&self.volume, mode, &[])?;
        self.insert(&slot, new.clone())?;
        Ok(new)
    }

    /// Finds where a new name goes. Only a directory's may end with slashes.
    fn slot_for_new<'a>(
        &self,
        from: &Node,
        path: &'a [u8],
        directory: bool,
    ) -> Result<Slot<'a>, Errno> {
        let walk = self.walk(from, path, Final::Name)?;
        let slot = Slot::of(walk, Errno::EXIST, Errno::NOENT)?;
        if slot.slash && !directory {
            return Err(match slot.occupant() {
                Ok(_) => Errno::EXIST,
                Err(error) => error,
            });
        }
        Ok(slot)
    }

    /// Turns a walk to a name that is to be removed into a slot.
    fn slot_of_old<'a>(&self, walk: Walk<'a>) -> Result<Slot<'a>, Errno> {
        match &walk.parent.0 {
            // In /proc, a name that is not there is reported before the permission.
            Place::Proc(node) => match &walk.last {
                Last::Name(name) if node.child(&*self.source, name).is_none() => Err(Errno::NOENT),
                _ => Err(Errno::PERM),
            },
            Place::Tree(_) => Slot::of(walk, Errno::BUSY, Errno::PERM),
        }
    }

    /// Checks, under `changes`, that the name is free. Other reasons against it come later, as in Linux.
    fn check_free(&self, slot: &Slot<'_>) -> Result<(), Errno> {
        if slot.directory.names()?.get(&slot.name).is_some() { Err(Errno::EXIST) } else { Ok(()) }
    }

    fn check_not_mounted(&self, inode: &Arc<Inode>) -> Result<(), Errno> {
        if Arc::ptr_eq(inode, &self.proc_mount) { Err(Errno::BUSY) } else { Ok(()) }
    }

    /// Tells whether `inode` is `directory` or above it. Under `changes`, so nobody moves either.
    fn is_above(&self, inode: &Arc<Inode>, directory: &Arc<Inode>) -> Result<bool, Errno> {
        let mut at = directory.clone();
        loop {
            if Arc::ptr_eq(inode, &at) {
                return Ok(true);
            }
            let parent = at.names()?.parent();
            match parent {
                Some(parent) => at = parent,
                None => return Ok(false),
            }
        }
    }
}

impl<'a> Slot<'a> {
    /// Takes the directory and the name from a walk; fails with `no_name` if it ended at the root, `.` or
    /// `..`, and with `foreign` in `/proc`.
    fn of(walk: Walk<'a>, no_name: Errno, foreign: Errno) -> Result<Self, Errno> {
        let Last::Name(name) = walk.last else { return Err(no_name) };
        match walk.parent.0 {
            Place::Tree(directory) => Ok(Self { directory, name, slash: walk.slash }),
            Place::Proc(_) => Err(foreign),
        }
    }

    /// Returns what has the name now.
    fn occupant(&self) -> Result<Arc<Inode>, Errno> {
        self.directory.names()?.get(&self.name).cloned().ok_or(Errno::NOENT)
    }
}

/// Marks an empty directory as removed, so that nothing is created in it any more.
fn remove_directory(directory: &Arc<Inode>) -> Result<(), Errno> {
    let mut names = directory.names()?;
    if !names.is_empty() {
        return Err(Errno::NOTEMPTY);
    }
    names.set_removed();
    drop(names);
    directory.clear_links();
    Ok(())
}

/// Moves `moved` from `old` to `new`, in place of `target`. Both names change under both locks.
fn move_name(
    old: &Slot<'_>,
    moved: &Arc<Inode>,
    new: &Slot<'_>,
    target: Option<Arc<Inode>>,
) -> Result<(), Errno> {
    let is_directory = moved.kind() == FileType::Directory;
    if let Some(target) = &target {
        match (is_directory, target.kind() == FileType::Directory) {
            (true, false) => return Err(Errno::NOTDIR),
            (false, true) => return Err(Errno::ISDIR),
            (true, true) => {
                remove_directory(target)?;
                new.directory.add_links(-1);
            }
            (false, false) => target.add_links(-1),
        }
    }
    let mut old_names = old.directory.names()?;
    if Arc::ptr_eq(&old.directory, &new.directory) {
        if old_names.replace(&new.name, moved.clone()).is_none() {
            old_names.insert(&new.name, moved.clone())?;
        }
        old_names.remove(&old.name);
    } else {
        let mut new_names = new.directory.names()?;
        if new_names.replace(&new.name, moved.clone()).is_none() {
            new_names.insert(&new.name, moved.clone())?;
        }
        old_names.remove(&old.name);
    }
    drop(old_names);
    settle(moved, &old.directory, &new.directory)
}

/// Puts each of the two files under the other's name.
fn exchange_names(
    old: &Slot<'_>,
    moved: &Arc<Inode>,
    new: &Slot<'_>,
    target: &Arc<Inode>,
) -> Result<(), Errno> {
    let mut old_names = old.directory.names()?;
    old_names.replace(&old.name, target.clone());
    if Arc::ptr_eq(&old.directory, &new.directory) {
        old_names.replace(&new.name, moved.clone());
    } else {
        new.directory.names()?.replace(&new.name, moved.clone());
    }
    drop(old_names);
    settle(moved, &old.directory, &new.directory)?;
    settle(target, &new.directory, &old.directory)
}

/// After a move from one directory to another: `..` of a directory and the link counts follow.
fn settle(moved: &Arc<Inode>, from: &Arc<Inode>, to: &Arc<Inode>) -> Result<(), Errno> {
    if moved.kind() == FileType::Directory && !Arc::ptr_eq(from, to) {
        moved.names()?.set_parent(to);
        from.add_links(-1);
        to.add_links(1);
    }
    // The time of change moves with the name, as in most file systems.
    moved.add_links(0);
    Ok(())
}
