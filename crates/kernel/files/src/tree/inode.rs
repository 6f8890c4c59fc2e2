//! Inodes: what is behind the names.
//!
//! An inode lives as long as a name, an open description or a working directory refers to it; the
//! memory of an unlinked file that is still open is freed by the last close.

use super::contents::Contents;
use super::directory::Directory;
use super::page::{PAGE_SIZE, SharedPage};
use super::volume::{Charge, Volume};
use crate::abi::DirentWriter;
use crate::{DeviceNumber, Errno, FileType, Metadata, Seals, SetTime, Timespec};
use alloc::boxed::Box;
use alloc::sync::{Arc, Weak};
use core::fmt;
use kernel_sync::{Mutex, MutexGuard};

/// What an inode costs, roughly.
const INODE_COST: u64 = 512;

/// The device that `st_dev` names for all files of the tree: an unnamed one, as tmpfs has.
pub(crate) const DEVICE: DeviceNumber = DeviceNumber { major: 0, minor: 2 };

/// A file, directory, link or device of the in-memory file system.
pub struct Inode {
    number: u64,
    kind: FileType,
    body: Body,
    attributes: Mutex<Attributes>,
    volume: Arc<Volume>,
    /// Of a file in memory, what it has given up; of all others, nothing that can be asked.
    seals: Option<Mutex<Seals>>,
    _charge: Charge,
}

/// What differs by kind.
enum Body {
    Regular(Mutex<Contents>),
    Directory(Mutex<Directory<Inode>>),
    Symlink(Box<[u8]>),
    /// A device, a fifo or a socket.
    Special(DeviceNumber),
}

/// What stat(2) reports and chmod(2) and others change.
#[derive(Clone, Copy, Debug)]
struct Attributes {
    permissions: u32,
    links: u32,
    uid: u32,
    gid: u32,
    accessed: Timespec,
    modified: Timespec,
    changed: Timespec,
    created: Timespec,
}

impl fmt::Debug for Inode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Inode({} {:?})", self.number, self.kind)
    }
}

impl Drop for Inode {
    fn drop(&mut self) {
        self.volume.remove_inode();
    }
}

impl Inode {
    fn new(
        volume: &Arc<Volume>,
        kind: FileType,
        permissions: u32,
        body: Body,
    ) -> Result<Self, Errno> {
        let target = if let Body::Symlink(target) = &body { target.len() as u64 } else { 0 };
        let charge = Charge::new(volume, INODE_COST + target)?;
        let now = volume.now();
        Ok(Self {
            number: volume.add_inode(),
            kind,
            body,
            attributes: Mutex::new(Attributes {
                permissions: permissions & 0o7777,
                links: if kind == FileType::Directory { 2 } else { 1 },
                uid: 0,
                gid: 0,
                accessed: now,
                modified: now,
                changed: now,
                created: now,
            }),
            volume: volume.clone(),
            seals: None,
            _charge: charge,
        })
    }

    /// Makes a file that never had a name: a temporary one, or with `seals` a file in memory.
    pub(super) fn nameless(
        volume: &Arc<Volume>,
        permissions: u32,
        seals: Option<Seals>,
    ) -> Result<Arc<Self>, Errno> {
        let body = Body::Regular(Mutex::new(Contents::new(volume, &[])));
        let mut new = Self::new(volume, FileType::Regular, permissions, body)?;
        new.seals = seals.map(Mutex::new);
        new.attributes.get_mut().links = 0;
        Ok(Arc::new(new))
    }

    /// Returns what a file in memory has given up.
    ///
    /// # Errors
    ///
    /// [`Errno::INVAL`] for any other file.
    pub fn seals(&self) -> Result<Seals, Errno> {
        self.seals.as_ref().map(|seals| *seals.lock()).ok_or(Errno::INVAL)
    }

    /// Makes a file in memory give more up.
    ///
    /// # Errors
    ///
    /// [`Errno::INVAL`] for any other file, [`Errno::PERM`] when it has given this up.
    pub fn add_seals(&self, seals: Seals) -> Result<(), Errno> {
        let mut old = self.seals.as_ref().ok_or(Errno::INVAL)?.lock();
        if old.contains(Seals::SEAL) {
            return Err(Errno::PERM);
        }
        *old |= seals;
        Ok(())
    }

    /// Checks that a write of what ends at `end`, or a new length, is not what the file has given up.
    fn check_seals(&self, writes: bool, len: u64, end: u64) -> Result<(), Errno> {
        let seals = self.seals().unwrap_or_default();
        let is_forbidden = writes && seals.forbid_writing()
            || end > len && seals.contains(Seals::GROW)
            || !writes && end < len && seals.contains(Seals::SHRINK);
        if is_forbidden { Err(Errno::PERM) } else { Ok(()) }
    }

    /// Returns the page with this number as memory that can be mapped; `make` makes such memory, with these bytes. Not called
    /// with a lock that `make` takes.
    ///
    /// # Errors
    ///
    /// [`Errno::FAULT`] for a page behind the end, [`Errno::NOSPC`], and what `make` says.
    pub fn shared_page(
        &self,
        number: u64,
        make: impl FnOnce(&[u8; PAGE_SIZE]) -> Result<Arc<dyn SharedPage>, Errno>,
    ) -> Result<Arc<dyn SharedPage>, Errno> {
        self.contents()?.shared_page(number, make)
    }

    pub(super) fn regular(
        volume: &Arc<Volume>,
        permissions: u32,
        archive: &'static [u8],
    ) -> Result<Arc<Self>, Errno> {
        let body = Body::Regular(Mutex::new(Contents::new(volume, archive)));
        Ok(Arc::new(Self::new(volume, FileType::Regular, permissions, body)?))
    }

    pub(super) fn directory(
        volume: &Arc<Volume>,
        permissions: u32,
        parent: Weak<Self>,
    ) -> Result<Arc<Self>, Errno> {
        let body = Body::Directory(Mutex::new(Directory::new(volume, parent)));
        Ok(Arc::new(Self::new(volume, FileType::Directory, permissions, body)?))
    }

    pub(super) fn symlink(volume: &Arc<Volume>, target: &[u8]) -> Result<Arc<Self>, Errno> {
        let body = Body::Symlink(target.into());
        Ok(Arc::new(Self::new(volume, FileType::Symlink, 0o777, body)?))
    }

    pub(super) fn special(
        volume: &Arc<Volume>,
        kind: FileType,
        permissions: u32,
        number: DeviceNumber,
    ) -> Result<Arc<Self>, Errno> {
        Ok(Arc::new(Self::new(volume, kind, permissions, Body::Special(number))?))
    }

    /// Returns the inode number.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Returns the kind of file.
    #[must_use]
    pub fn kind(&self) -> FileType {
        self.kind
    }

    /// Returns the directory's names, locked.
    pub(super) fn names(&self) -> Result<MutexGuard<'_, Directory<Self>>, Errno> {
        match &self.body {
            Body::Directory(directory) => Ok(directory.lock()),
            _ => Err(Errno::NOTDIR),
        }
    }

    /// Returns the file's contents, locked.
    fn contents(&self) -> Result<MutexGuard<'_, Contents>, Errno> {
        match &self.body {
            Body::Regular(contents) => Ok(contents.lock()),
            Body::Directory(_) => Err(Errno::ISDIR),
            _ => Err(Errno::INVAL),
        }
    }

    /// Returns the device's number; zeros for what is none.
    pub(crate) fn special_number(&self) -> DeviceNumber {
        if let Body::Special(number) = self.body { number } else { DeviceNumber::default() }
    }

    /// Returns the target of a symbolic link.
    pub(crate) fn target(&self) -> Option<&[u8]> {
        if let Body::Symlink(target) = &self.body { Some(target) } else { None }
    }

    /// Returns the bytes in the file; 0 for what is no regular file.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.contents().map_or(0, |contents| contents.len())
    }

    /// Tells whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the contents in place, if they are still those of the initramfs: execve can map or
    /// copy from there without a buffer. The bytes stay as they are even when the file changes.
    #[must_use]
    pub fn archive_bytes(&self) -> Option<&'static [u8]> {
        self.contents().ok()?.archive_bytes()
    }

    /// Copies bytes from `offset` on to `buffer` and returns how many: fewer than asked for only at
    /// the end of the file.
    ///
    /// # Errors
    ///
    /// [`Errno::ISDIR`] and [`Errno::INVAL`] for what is no regular file.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, Errno> {
        Ok(self.contents()?.read_at(offset, buffer))
    }

    /// Stores bytes from `offset` on and returns how many.
    ///
    /// # Errors
    ///
    /// [`Errno::NOSPC`] and [`Errno::FBIG`] when not even one byte has room; [`Errno::ISDIR`] and
    /// [`Errno::INVAL`] for what is no regular file.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<usize, Errno> {
        let mut contents = self.contents()?;
        self.check_seals(true, contents.len(), offset.saturating_add(bytes.len() as u64))?;
        let written = contents.write_at(offset, bytes)?;
        drop(contents);
        self.touch_contents();
        Ok(written)
    }

    /// Stores bytes at the end, in one step with finding it; returns where the new end is.
    pub(crate) fn append(&self, bytes: &[u8]) -> Result<(usize, u64), Errno> {
        let mut contents = self.contents()?;
        let end = contents.len();
        self.check_seals(true, end, end.saturating_add(bytes.len() as u64))?;
        let written = contents.write_at(end, bytes)?;
        drop(contents);
        self.touch_contents();
        Ok((written, end + written as u64))
    }

    /// Cuts the file off at `len` bytes, or lets it grow to them with zeros.
    ///
    /// # Errors
    ///
    /// [`Errno::FBIG`] beyond 2^63 - 1, [`Errno::ISDIR`] and [`Errno::INVAL`] for what is no regular file.
    pub fn set_len(&self, len: u64) -> Result<(), Errno> {
        let mut contents = self.contents()?;
        self.check_seals(false, contents.len(), len)?;
        contents.set_len(len)?;
        drop(contents);
        self.touch_contents();
        Ok(())
    }

    /// Replaces the contents by bytes of the archive.
    pub(super) fn set_archive(&self, archive: &'static [u8]) -> Result<(), Errno> {
        *self.contents()? = Contents::new(&self.volume, archive);
        Ok(())
    }

    /// Notes a change of contents.
    pub(super) fn touch_contents(&self) {
        let now = self.volume.now();
        let mut attributes = self.attributes.lock();
        attributes.modified = now;
        attributes.changed = now;
    }

    /// Changes attributes and notes that.
    fn change(&self, change: impl FnOnce(&mut Attributes)) {
        let now = self.volume.now();
        let mut attributes = self.attributes.lock();
        change(&mut attributes);
        attributes.changed = now;
    }

    /// Adds to the number of links, or takes from it.
    pub(super) fn add_links(&self, difference: i32) {
        self.change(|attributes| {
            attributes.links = attributes.links.saturating_add_signed(difference);
        });
    }

    /// Writes the directory's entries from `cookie` on and returns the cookie to go on with.
    pub(crate) fn list(
        self: &Arc<Self>,
        mut cookie: u64,
        to: &mut DirentWriter<'_>,
    ) -> Result<u64, Errno> {
        let names = self.names()?;
        if names.is_removed() {
            return Err(Errno::NOENT);
        }
        let parent = names.parent().map_or(self.number, |parent| parent.number);
        let dots = [(&b"."[..], self.number), (&b".."[..], parent)];
        for (at, (name, number)) in dots.into_iter().enumerate().skip(cookie.min(2) as usize) {
            let next = at as u64 + 1;
            if !to.push(number, next, FileType::Directory, name) {
                return Ok(cookie);
            }
            cookie = next;
        }
        while let Some((at, name, inode)) = names.at_or_behind(cookie) {
            if !to.push(inode.number, at + 1, inode.kind, name) {
                break;
            }
            cookie = at + 1;
        }
        Ok(cookie)
    }

    /// Returns the number of links.
    pub(super) fn links(&self) -> u32 {
        self.attributes.lock().links
    }

    /// Sets the number of links to none, as for a removed directory.
    pub(super) fn clear_links(&self) {
        self.change(|attributes| attributes.links = 0);
    }

    /// Sets the permissions; the type stays.
    pub(crate) fn set_mode(&self, mode: u32) {
        self.change(|attributes| attributes.permissions = mode & 0o7777);
    }

    /// Sets the owner where given. As in Linux, a program that is given away loses set-user-ID.
    pub(crate) fn set_owner(&self, uid: Option<u32>, gid: Option<u32>) {
        let regular = self.kind == FileType::Regular;
        self.change(|attributes| {
            attributes.uid = uid.unwrap_or(attributes.uid);
            attributes.gid = gid.unwrap_or(attributes.gid);
            if regular && (uid.is_some() || gid.is_some()) {
                attributes.permissions &= !0o4000;
                // Set-group-ID without the group's x bit meant mandatory locking.
                if attributes.permissions & 0o010 != 0 {
                    attributes.permissions &= !0o2000;
                }
            }
        });
    }

    /// Sets the times of access and modification.
    pub(crate) fn set_times(&self, accessed: SetTime, modified: SetTime) {
        if (accessed, modified) == (SetTime::Keep, SetTime::Keep) {
            return;
        }
        let now = self.volume.now();
        let pick = |which, old| match which {
            SetTime::Keep => old,
            SetTime::Now => now,
            SetTime::To(time) => time,
        };
        self.change(|attributes| {
            attributes.accessed = pick(accessed, attributes.accessed);
            attributes.modified = pick(modified, attributes.modified);
        });
    }

    /// Returns what stat(2) reports.
    #[must_use]
    pub fn metadata(&self) -> Metadata {
        let (size, occupied) = match &self.body {
            Body::Regular(contents) => {
                let contents = contents.lock();
                (contents.len(), contents.occupied())
            }
            // As tmpfs has it: something that grows with the number of names.
            Body::Directory(directory) => (20 * (directory.lock().len() as u64 + 2), 0),
            Body::Symlink(target) => (target.len() as u64, 0),
            Body::Special(_) => (0, 0),
        };
        let attributes = *self.attributes.lock();
        Metadata {
            device: DEVICE,
            inode: self.number,
            mode: self.kind as u32 | attributes.permissions,
            links: attributes.links,
            uid: attributes.uid,
            gid: attributes.gid,
            special: self.special_number(),
            size,
            blocks: occupied / 512,
            accessed: attributes.accessed,
            modified: attributes.modified,
            changed: attributes.changed,
            created: attributes.created,
        }
    }
}
