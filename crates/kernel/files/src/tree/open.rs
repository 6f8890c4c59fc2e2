//! open(2): from a path to a description.

use super::FileSystem;
use super::inode::Inode;
use super::node::{Node, Place};
use super::walk::{Final, Last, Walk};
use crate::device::{self, Device};
use crate::pipe::{self, Pipe};
use crate::{Caller, Errno, FileType, Follow, OpenFile, OpenFlags, Seals, WaitQueue};
use alloc::sync::{Arc, Weak};

impl<Q: WaitQueue> FileSystem<Q> {
    /// Opens, and with [`OpenFlags::CREAT`] creates, the file at `path`. The lower twelve bits of `mode`,
    /// from which the caller has taken the umask, are the permissions of a new file.
    ///
    /// Opening `/dev/ttyS0` makes it the caller's controlling terminal under the usual conditions: the
    /// caller leads a session without one, the terminal has no session, no [`OpenFlags::NOCTTY`].
    ///
    /// A fifo is opened at once, not when its other end is; see [`pipe`].
    ///
    /// # Errors
    ///
    /// [`Errno::NOENT`], [`Errno::NOTDIR`], [`Errno::NAMETOOLONG`]; [`Errno::EXIST`] with `CREAT | EXCL`;
    /// [`Errno::ISDIR`] for writing to, or creating, a directory; [`Errno::LOOP`] after 40 links, or
    /// for a link with `NOFOLLOW`; [`Errno::NXIO`] for a device nobody has, `/dev/tty` without a
    /// controlling terminal, a socket, and a fifo that nobody reads with `WRONLY | NONBLOCK`;
    /// [`Errno::ACCES`] for writing to `/proc`; [`Errno::NOSPC`]; [`Errno::INVAL`] with `TMPFILE`
    /// for a file that is not to be written.
    pub fn open(
        &self,
        caller: &Caller,
        from: &Node,
        path: &[u8],
        flags: OpenFlags,
        mode: u32,
    ) -> Result<Arc<OpenFile<Q>>, Errno> {
        // O_PATH wants the place only; what would change it does not count.
        let flags = if flags.contains(OpenFlags::PATH) {
            flags
                & (OpenFlags::PATH
                    | OpenFlags::DIRECTORY
                    | OpenFlags::NOFOLLOW
                    | OpenFlags::CLOEXEC)
        } else {
            flags
        };
        if flags.contains(OpenFlags::TMPFILE) {
            return self.open_temporary(from, path, flags, mode);
        }
        if flags.contains(OpenFlags::CREAT | OpenFlags::DIRECTORY) {
            return Err(Errno::INVAL);
        }
        let exclusive = flags.contains(OpenFlags::CREAT | OpenFlags::EXCL);
        let keep = exclusive || flags.contains(OpenFlags::NOFOLLOW);
        let last = match (flags.contains(OpenFlags::CREAT), keep) {
            (true, _) => Final::Create(if keep { Follow::No } else { Follow::Yes }),
            (false, true) => Final::Keep,
            (false, false) => Final::Follow,
        };
        loop {
            let walk = self.walk(from, path, last)?;
            if flags.contains(OpenFlags::CREAT) {
                let named = matches!(walk.last, Last::Name(_));
                if named && walk.slash {
                    return Err(Errno::ISDIR);
                }
                if exclusive && walk.node.is_some() {
                    return Err(Errno::EXIST);
                }
                if !named {
                    return Err(Errno::ISDIR);
                }
            }
            let Walk { parent, node: Some(node), slash, .. } = walk else {
                if !flags.contains(OpenFlags::CREAT) {
                    return Err(Errno::NOENT);
                }
                let parent = walk.parent.clone();
                match self.create(walk, mode) {
                    Ok(inode) => return Ok(OpenFile::regular(inode, parent, flags)),
                    // Somebody was faster; what there is now is opened like any other file.
                    Err(Errno::EXIST) if !exclusive => continue,
                    Err(error) => return Err(error),
                }
            };
            if slash && node.kind() != FileType::Directory {
                return Err(Errno::NOTDIR);
            }
            return self.open_node(caller, node, parent, flags);
        }
    }

    /// Makes a file without a name in the directory at `path`: `O_TMPFILE`.
    fn open_temporary(
        &self,
        from: &Node,
        path: &[u8],
        flags: OpenFlags,
        mode: u32,
    ) -> Result<Arc<OpenFile<Q>>, Errno> {
        if !flags.contains(OpenFlags::DIRECTORY) || !flags.writable() {
            return Err(Errno::INVAL);
        }
        let parent = self.directory(from, path)?;
        if parent.inode().is_none() {
            return Err(Errno::OPNOTSUPP);
        }
        let inode = Inode::nameless(&self.volume, mode, None)?;
        let flags = flags - OpenFlags::TMPFILE - OpenFlags::DIRECTORY;
        Ok(OpenFile::regular(inode, parent, flags))
    }

    /// Makes a file in memory that is called `name` and cannot be opened by that: memfd_create(2).
    ///
    /// # Errors
    ///
    /// [`Errno::NOSPC`].
    pub fn open_memory(&self, name: &[u8], seals: Seals) -> Result<Arc<OpenFile<Q>>, Errno> {
        let inode = Inode::nameless(&self.volume, 0o777, Some(seals))?;
        Ok(OpenFile::memory(inode, name, OpenFlags::RDWR))
    }

    /// Opens what there is.
    fn open_node(
        &self,
        caller: &Caller,
        node: Node,
        parent: Node,
        flags: OpenFlags,
    ) -> Result<Arc<OpenFile<Q>>, Errno> {
        if let Place::Proc(link) = &node.0
            && !flags.contains(OpenFlags::NOFOLLOW)
            && let Some(file) = link.descriptor(self)?
        {
            return file.reopen(flags);
        }
        let kind = node.kind();
        if flags.contains(OpenFlags::DIRECTORY) && kind != FileType::Directory {
            return Err(Errno::NOTDIR);
        }
        if flags.contains(OpenFlags::PATH) {
            return Ok(OpenFile::place(node, parent, flags));
        }
        match (kind, &node.0) {
            (FileType::Symlink, _) => Err(Errno::LOOP),
            (FileType::Directory, _) => {
                if flags.writable() || flags.intersects(OpenFlags::CREAT | OpenFlags::TRUNC) {
                    return Err(Errno::ISDIR);
                }
                Ok(OpenFile::directory(node, self.source.clone(), flags))
            }
            (FileType::Regular, Place::Tree(inode)) => {
                if flags.contains(OpenFlags::TRUNC) {
                    inode.set_len(0)?;
                }
                Ok(OpenFile::regular(inode.clone(), parent, flags))
            }
            (_, Place::Proc(file)) => {
                if flags.writable() {
                    return Err(Errno::ACCES);
                }
                Ok(OpenFile::text(*file, parent, self.source.clone(), flags))
            }
            (FileType::Character, Place::Tree(inode)) => {
                self.open_device(caller, inode, parent, flags)
            }
            (FileType::Fifo, Place::Tree(inode)) => self.open_fifo(inode, parent, flags),
            (FileType::Socket, Place::Tree(_)) => Err(Errno::NXIO),
        }
    }

    fn open_device(
        &self,
        caller: &Caller,
        inode: &Arc<Inode>,
        parent: Node,
        flags: OpenFlags,
    ) -> Result<Arc<OpenFile<Q>>, Errno> {
        let number = inode.special_number();
        if let Some(device) = Device::from_number(number, self.random) {
            return Ok(OpenFile::stream_at(device, inode.clone(), parent, flags));
        }
        match number {
            device::TTY if !self.terminal.controls(caller) => return Err(Errno::NXIO),
            device::TTY | device::CONSOLE => {}
            device::SERIAL => {
                if !flags.contains(OpenFlags::NOCTTY) {
                    // Not to get it is no error: the file is opened without.
                    let _ = self.terminal.acquire(caller);
                }
            }
            _ => return Err(Errno::NXIO),
        }
        Ok(OpenFile::stream_at(self.terminal.clone(), inode.clone(), parent, flags))
    }

    fn open_fifo(
        &self,
        inode: &Arc<Inode>,
        parent: Node,
        flags: OpenFlags,
    ) -> Result<Arc<OpenFile<Q>>, Errno> {
        let mut fifos = self.fifos.lock();
        let known = fifos.get(&inode.number()).and_then(Weak::upgrade);
        let pipe = match known {
            Some(pipe) => pipe,
            None => {
                let pipe = Pipe::fifo();
                fifos.retain(|_, pipe| pipe.strong_count() > 0);
                fifos.insert(inode.number(), Arc::downgrade(&pipe));
                pipe
            }
        };
        drop(fifos);
        let end = pipe::open_end(&pipe, flags)?;
        Ok(OpenFile::stream_at(end, inode.clone(), parent, flags))
    }
}
