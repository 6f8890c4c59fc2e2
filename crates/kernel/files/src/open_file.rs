//! Open file descriptions: what open(2) makes and descriptors refer to.
//!
//! dup(2) and fork(2) share a description, and with it the offset and the status flags; that is why
//! a shell's children write their output one behind the other into the same file.

use crate::abi::DirentWriter;
use crate::proc::{ProcNode, ProcSource};
use crate::stream::Stream;
use crate::tree::{DEVICE, FileSystem, Inode, Node, Place};
use crate::{DeviceNumber, Errno, FileType, Metadata, OpenFlags, Ready, WaitQueue};
use alloc::boxed::Box;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;
use core::fmt;
use kernel_sync::Mutex;
use kernel_sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// `st_dev` of what has no name, such as pipes.
const UNNAMED_DEVICE: DeviceNumber = DeviceNumber { major: 0, minor: 13 };

/// Inode numbers of what has no name.
static NEXT_UNNAMED: AtomicU64 = AtomicU64::new(1);

/// Two descriptions: the ends of a pipe, the read end first, or of a pair of sockets.
pub type Pair<Q> = (Arc<OpenFile<Q>>, Arc<OpenFile<Q>>);

/// An open file description.
pub struct OpenFile<Q: WaitQueue> {
    object: Object<Q>,
    /// Access mode, which is fixed, and status flags, which F_SETFL changes.
    flags: AtomicU32,
    origin: Origin,
    /// How many of its references are under way to another process, see `socket::flight`.
    under_way: AtomicUsize,
    /// Dropped with the description.
    kept: Mutex<Option<Box<dyn Any + Send>>>,
}

/// Where a description came from.
#[derive(Clone, Debug)]
enum Origin {
    /// A place in the tree, and for what is no directory the one it was found in.
    Named { node: Node, parent: Option<Node> },
    /// A file in memory, with what it is called in place of a path.
    Memory { node: Node, name: Arc<[u8]> },
    /// Nothing with a name: pipe(2) and its like.
    Unnamed { kind: FileType, label: &'static str, number: u64 },
}

/// What is behind a description.
enum Object<Q: WaitQueue> {
    Regular {
        inode: Arc<Inode>,
        offset: Mutex<u64>,
    },
    Directory {
        cookie: Mutex<u64>,
        source: Arc<dyn ProcSource<Q>>,
    },
    Text {
        file: ProcNode,
        reader: Mutex<TextReader>,
        source: Arc<dyn ProcSource<Q>>,
    },
    Stream(Box<dyn Stream<Q>>),
    /// Opened with O_PATH: a place, and nothing to read or write.
    Place,
}

/// A generated text and how far it was read.
#[derive(Default)]
struct TextReader {
    text: Vec<u8>,
    offset: u64,
}

impl<Q: WaitQueue> fmt::Debug for OpenFile<Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.object {
            Object::Regular { .. } => "regular",
            Object::Directory { .. } => "directory",
            Object::Text { .. } => "text",
            Object::Stream(stream) => stream.label(),
            Object::Place => "place",
        };
        write!(f, "OpenFile({kind}, {:?})", self.flags())
    }
}

impl<Q: WaitQueue> OpenFile<Q> {
    fn new(object: Object<Q>, flags: OpenFlags, origin: Origin) -> Arc<Self> {
        let flags = AtomicU32::new((flags - OpenFlags::CREATION).bits());
        Arc::new(Self {
            object,
            flags,
            origin,
            under_way: AtomicUsize::new(0),
            kept: Mutex::new(None),
        })
    }

    pub(crate) fn regular(inode: Arc<Inode>, parent: Node, flags: OpenFlags) -> Arc<Self> {
        let node = Node(Place::Tree(inode.clone()));
        let object = Object::Regular { inode, offset: Mutex::new(0) };
        Self::new(object, flags, Origin::Named { node, parent: Some(parent) })
    }

    pub(crate) fn memory(inode: Arc<Inode>, name: &[u8], flags: OpenFlags) -> Arc<Self> {
        let node = Node(Place::Tree(inode.clone()));
        let object = Object::Regular { inode, offset: Mutex::new(0) };
        Self::new(object, flags, Origin::Memory { node, name: name.into() })
    }

    pub(crate) fn directory(
        node: Node,
        source: Arc<dyn ProcSource<Q>>,
        flags: OpenFlags,
    ) -> Arc<Self> {
        let object = Object::Directory { cookie: Mutex::new(0), source };
        Self::new(object, flags, Origin::Named { node, parent: None })
    }

    pub(crate) fn text(
        file: ProcNode,
        parent: Node,
        source: Arc<dyn ProcSource<Q>>,
        flags: OpenFlags,
    ) -> Arc<Self> {
        let object = Object::Text { file, reader: Mutex::default(), source };
        let node = Node(Place::Proc(file));
        Self::new(object, flags, Origin::Named { node, parent: Some(parent) })
    }

    pub(crate) fn place(node: Node, parent: Node, flags: OpenFlags) -> Arc<Self> {
        Self::new(Object::Place, flags, Origin::Named { node, parent: Some(parent) })
    }

    /// Makes a description of a stream that has a name in the tree.
    pub(crate) fn stream_at(
        stream: impl Stream<Q>,
        inode: Arc<Inode>,
        parent: Node,
        flags: OpenFlags,
    ) -> Arc<Self> {
        let node = Node(Place::Tree(inode));
        let origin = Origin::Named { node, parent: Some(parent) };
        Self::new(Object::Stream(Box::new(stream)), flags, origin)
    }

    /// Makes a description of a stream without a name: a pipe's end, or something of the kernel's.
    #[must_use]
    pub fn stream(stream: Box<dyn Stream<Q>>, flags: OpenFlags) -> Arc<Self> {
        let number = NEXT_UNNAMED.fetch_add(1, Ordering::Relaxed);
        Self::unnamed(stream, number, flags)
    }

    /// Makes the descriptions of the two ends of one thing, with flags of their own.
    pub(crate) fn pair(
        one: (Box<dyn Stream<Q>>, OpenFlags),
        two: (Box<dyn Stream<Q>>, OpenFlags),
    ) -> Pair<Q> {
        let number = NEXT_UNNAMED.fetch_add(1, Ordering::Relaxed);
        (Self::unnamed(one.0, number, one.1), Self::unnamed(two.0, number, two.1))
    }

    /// Makes a description of one of several streams that count as one file, as a pipe's ends do.
    fn unnamed(stream: Box<dyn Stream<Q>>, number: u64, flags: OpenFlags) -> Arc<Self> {
        let origin = Origin::Unnamed { kind: stream.kind(), label: stream.label(), number };
        Self::new(Object::Stream(stream), flags, origin)
    }

    /// Opens the same thing again, as opening `/proc/<pid>/fd/<n>` does.
    pub(crate) fn reopen(&self, flags: OpenFlags) -> Result<Arc<Self>, Errno> {
        let directory = matches!(self.object, Object::Directory { .. });
        if flags.contains(OpenFlags::DIRECTORY) && !directory {
            return Err(Errno::NOTDIR);
        }
        let object = match &self.object {
            _ if flags.contains(OpenFlags::PATH) => Object::Place,
            Object::Regular { inode, .. } => {
                if flags.contains(OpenFlags::TRUNC) {
                    inode.set_len(0)?;
                }
                Object::Regular { inode: inode.clone(), offset: Mutex::new(0) }
            }
            Object::Directory { .. } if flags.writable() => return Err(Errno::ISDIR),
            Object::Directory { source, .. } => {
                Object::Directory { cookie: Mutex::new(0), source: source.clone() }
            }
            Object::Text { .. } if flags.writable() => return Err(Errno::ACCES),
            Object::Text { file, source, .. } => {
                Object::Text { file: *file, reader: Mutex::default(), source: source.clone() }
            }
            Object::Stream(stream) => Object::Stream(stream.reopen(flags)?),
            Object::Place => return Err(Errno::LOOP),
        };
        Ok(Self::new(object, flags, self.origin.clone()))
    }

    /// How many references are under way.
    pub(crate) fn under_way(&self) -> &AtomicUsize {
        &self.under_way
    }

    /// Keeps what `make` makes until the description is gone; the first caller's is kept.
    pub fn keep(&self, make: impl FnOnce() -> Box<dyn Any + Send>) {
        let mut kept = self.kept.lock();
        if kept.is_none() {
            *kept = Some(make());
        }
    }

    /// Returns access mode and status flags: F_GETFL.
    #[must_use]
    pub fn flags(&self) -> OpenFlags {
        OpenFlags::from_bits_truncate(self.flags.load(Ordering::Relaxed))
    }

    /// Sets the status flags among `flags` and clears the others: F_SETFL.
    pub fn set_flags(&self, flags: OpenFlags) {
        let settable = OpenFlags::SETTABLE.bits();
        let mut old = self.flags.load(Ordering::Relaxed);
        loop {
            let new = old & !settable | flags.bits() & settable;
            match self.flags.compare_exchange_weak(old, new, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(current) => old = current,
            }
        }
    }

    fn check_readable(&self) -> Result<(), Errno> {
        if self.flags().readable() { Ok(()) } else { Err(Errno::BADF) }
    }

    fn check_writable(&self) -> Result<(), Errno> {
        if self.flags().writable() { Ok(()) } else { Err(Errno::BADF) }
    }

    fn check_not_place(&self) -> Result<(), Errno> {
        if let Object::Place = self.object { Err(Errno::BADF) } else { Ok(()) }
    }

    /// Reads at the offset, moves it, and returns how many bytes; 0 is the end.
    ///
    /// # Errors
    ///
    /// [`Errno::AGAIN`] when it would block; [`Errno::BADF`] when not open for reading; [`Errno::ISDIR`].
    pub fn read(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        self.check_readable()?;
        match &self.object {
            Object::Regular { inode, offset } => {
                let mut offset = offset.lock();
                let read = inode.read_at(*offset, buffer)?;
                *offset += read as u64;
                Ok(read)
            }
            Object::Text { file, reader, source } => {
                // From the start, the text is made anew; further reads go on in the same one.
                let fresh =
                    if reader.lock().offset == 0 { Some(file.text(&**source)?) } else { None };
                let mut reader = reader.lock();
                if let Some(text) = fresh {
                    reader.text = text;
                }
                let read = copy_from(&reader.text, reader.offset, buffer);
                reader.offset += read as u64;
                Ok(read)
            }
            Object::Directory { .. } => Err(Errno::ISDIR),
            Object::Stream(stream) => stream.read(buffer),
            Object::Place => Err(Errno::BADF),
        }
    }

    /// Writes at the offset, or with [`OpenFlags::APPEND`] at the end, moves it, and returns how many
    /// bytes were taken. A caller that may block goes on with the rest.
    ///
    /// # Errors
    ///
    /// [`Errno::AGAIN`] when it would block; [`Errno::BADF`] when not open for writing; [`Errno::PIPE`],
    /// for which the kernel sends `SIGPIPE`; [`Errno::NOSPC`], [`Errno::FBIG`].
    pub fn write(&self, bytes: &[u8]) -> Result<usize, Errno> {
        self.check_writable()?;
        match &self.object {
            // Moves nothing, not even to the end, and changes no time.
            Object::Regular { .. } if bytes.is_empty() => Ok(0),
            Object::Regular { inode, offset } => {
                let mut offset = offset.lock();
                if self.flags().contains(OpenFlags::APPEND) {
                    let (written, end) = inode.append(bytes)?;
                    *offset = end;
                    Ok(written)
                } else {
                    let written = inode.write_at(*offset, bytes)?;
                    *offset += written as u64;
                    Ok(written)
                }
            }
            Object::Stream(stream) => stream.write(bytes),
            Object::Text { .. } | Object::Directory { .. } | Object::Place => Err(Errno::BADF),
        }
    }

    /// Reads at `offset` and leaves the description's own alone: pread(2).
    ///
    /// # Errors
    ///
    /// As [`OpenFile::read`]; [`Errno::INVAL`] for an offset beyond 2^63 - 1; [`Errno::SPIPE`] for a
    /// stream.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, Errno> {
        self.check_not_place()?;
        check_offset(offset)?;
        match &self.object {
            Object::Stream(stream) if !stream.ignores_offsets() => Err(Errno::SPIPE),
            object => {
                self.check_readable()?;
                match object {
                    Object::Regular { inode, .. } => inode.read_at(offset, buffer),
                    Object::Text { file, source, .. } => {
                        Ok(copy_from(&file.text(&**source)?, offset, buffer))
                    }
                    Object::Directory { .. } => Err(Errno::ISDIR),
                    Object::Stream(stream) => stream.read(buffer),
                    Object::Place => Err(Errno::BADF),
                }
            }
        }
    }

    /// Writes at `offset` and leaves the description's own alone: pwrite(2). With [`OpenFlags::APPEND`]
    /// it writes at the end nevertheless, as Linux does.
    ///
    /// # Errors
    ///
    /// As [`OpenFile::write`]; [`Errno::INVAL`] for an offset beyond 2^63 - 1; [`Errno::SPIPE`] for a
    /// stream.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<usize, Errno> {
        self.check_not_place()?;
        check_offset(offset)?;
        match &self.object {
            Object::Stream(stream) if !stream.ignores_offsets() => Err(Errno::SPIPE),
            object => {
                self.check_writable()?;
                match object {
                    Object::Regular { .. } if bytes.is_empty() => Ok(0),
                    Object::Regular { inode, .. } => {
                        if self.flags().contains(OpenFlags::APPEND) {
                            return Ok(inode.append(bytes)?.0);
                        }
                        inode.write_at(offset, bytes)
                    }
                    Object::Stream(stream) => stream.write(bytes),
                    _ => Err(Errno::BADF),
                }
            }
        }
    }

    /// Moves the offset, as lseek(2) with its numbers for `whence`, and returns it. In a directory
    /// offsets are the `d_off` of entries.
    ///
    /// # Errors
    ///
    /// [`Errno::INVAL`] for another `whence` or a negative result; [`Errno::OVERFLOW`] for one beyond
    /// 2^63 - 1; [`Errno::NXIO`] for data or a hole behind the end; [`Errno::SPIPE`] for a stream.
    pub fn seek(&self, by: i64, whence: u32) -> Result<u64, Errno> {
        match &self.object {
            Object::Regular { inode, offset } => {
                let mut offset = offset.lock();
                *offset = target(by, whence, *offset, Some(inode.len()))?;
                Ok(*offset)
            }
            Object::Directory { cookie, .. } => {
                let mut cookie = cookie.lock();
                *cookie = target(by, whence, *cookie, None)?;
                Ok(*cookie)
            }
            Object::Text { reader, .. } => {
                let mut reader = reader.lock();
                reader.offset = target(by, whence, reader.offset, None)?;
                Ok(reader.offset)
            }
            Object::Stream(stream) if stream.ignores_offsets() => Ok(0),
            Object::Stream(_) => Err(Errno::SPIPE),
            Object::Place => Err(Errno::BADF),
        }
    }

    /// Cuts the file off at `len`, or lets it grow to it with zeros: ftruncate(2).
    ///
    /// # Errors
    ///
    /// [`Errno::INVAL`] when not a regular file open for writing; [`Errno::FBIG`].
    pub fn set_len(&self, len: u64) -> Result<(), Errno> {
        self.check_not_place()?;
        match &self.object {
            Object::Regular { inode, .. } if self.flags().writable() => inode.set_len(len),
            _ => Err(Errno::INVAL),
        }
    }

    /// Makes a file at least `offset + len` bytes long: fallocate(2) without flags. Memory is not
    /// reserved: a later write may find the volume full.
    ///
    /// # Errors
    ///
    /// [`Errno::BADF`] when not open for writing; [`Errno::INVAL`] for no bytes; [`Errno::FBIG`];
    /// [`Errno::SPIPE`] for a stream, [`Errno::NODEV`] for the rest.
    pub fn allocate(&self, offset: u64, len: u64) -> Result<(), Errno> {
        self.check_writable()?;
        if len == 0 {
            return Err(Errno::INVAL);
        }
        match &self.object {
            Object::Regular { inode, .. } => {
                let end = offset.checked_add(len).ok_or(Errno::FBIG)?;
                if end > inode.len() { inode.set_len(end) } else { Ok(()) }
            }
            Object::Stream(_) => Err(Errno::SPIPE),
            _ => Err(Errno::NODEV),
        }
    }

    /// Does what fsync(2) does for memory: nothing.
    ///
    /// # Errors
    ///
    /// [`Errno::INVAL`] for a stream, [`Errno::BADF`] for a place.
    pub fn sync(&self) -> Result<(), Errno> {
        match self.object {
            Object::Stream(_) => Err(Errno::INVAL),
            Object::Place => Err(Errno::BADF),
            _ => Ok(()),
        }
    }

    /// Fills `buffer` with entries, as getdents64(2), and returns how many bytes; 0 at the end.
    ///
    /// # Errors
    ///
    /// [`Errno::NOTDIR`]; [`Errno::INVAL`] for a buffer too small for one entry; [`Errno::NOENT`] for a
    /// directory that was removed.
    pub fn read_directory(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        self.check_readable()?;
        let (Object::Directory { cookie, source }, Some(node)) = (&self.object, self.node()) else {
            return Err(Errno::NOTDIR);
        };
        let mut writer = DirentWriter::new(buffer);
        match &node.0 {
            Place::Tree(inode) => {
                let mut cookie = cookie.lock();
                *cookie = inode.list(*cookie, &mut writer)?;
            }
            Place::Proc(directory) => {
                // The kernel is asked without the lock; two readers at once may both get a part.
                let start = *cookie.lock();
                let next = directory.list(&**source, start, &mut writer)?;
                *cookie.lock() = next;
            }
        }
        writer.finish()
    }

    /// Returns what would not block now.
    #[must_use]
    pub fn poll(&self) -> Ready {
        match &self.object {
            Object::Stream(stream) => stream.poll(),
            Object::Place => Ready::NVAL,
            _ => Ready::ALWAYS,
        }
    }

    /// Returns the queue on which changes of [`OpenFile::poll`] are announced; `None` for a file that
    /// never blocks.
    #[must_use]
    pub fn queue(&self) -> Option<&Q> {
        match &self.object {
            Object::Stream(stream) => stream.queue(),
            _ => None,
        }
    }

    /// Returns how often there was news for who waits, see [`Stream::edges`].
    #[must_use]
    pub fn edges(&self) -> u64 {
        match &self.object {
            Object::Stream(stream) => stream.edges(),
            _ => 0,
        }
    }

    /// Returns the stream behind the description, if it is a `T`.
    #[must_use]
    pub fn stream_as<T: Stream<Q>>(&self) -> Option<&T> {
        let Object::Stream(stream) = &self.object else { return None };
        let stream: &dyn Any = &**stream;
        stream.downcast_ref()
    }

    /// Returns what fstat(2) reports.
    #[must_use]
    pub fn metadata(&self) -> Metadata {
        match self.origin {
            Origin::Named { ref node, .. } | Origin::Memory { ref node, .. } => node.metadata(),
            Origin::Unnamed { kind, number, .. } => {
                Metadata::synthetic(UNNAMED_DEVICE, number, kind, 0o600)
            }
        }
    }

    /// Returns the place that was opened, to start paths from or to change its mode; `None` for what
    /// has no name.
    #[must_use]
    pub fn node(&self) -> Option<&Node> {
        match &self.origin {
            Origin::Named { node, .. } | Origin::Memory { node, .. } => Some(node),
            Origin::Unnamed { .. } => None,
        }
    }

    /// Returns the inode of a regular file, for mmap.
    #[must_use]
    pub fn inode(&self) -> Option<&Arc<Inode>> {
        if let Object::Regular { inode, .. } = &self.object { Some(inode) } else { None }
    }

    /// Returns the bytes that can be read now: `FIONREAD`.
    #[must_use]
    pub fn available(&self) -> Option<usize> {
        match &self.object {
            Object::Regular { inode, offset } => {
                let left = inode.len().saturating_sub(*offset.lock());
                Some(usize::try_from(left).unwrap_or(usize::MAX))
            }
            Object::Stream(stream) => stream.available(),
            _ => None,
        }
    }

    /// Returns the bytes that wait in the kernel to be read, other than a file's.
    pub(crate) fn waiting(&self) -> usize {
        match &self.object {
            Object::Stream(stream) => stream.available().unwrap_or(0),
            _ => 0,
        }
    }

    /// Returns what `/proc/<pid>/fd/<n>` shows: the path, or a description such as `pipe:[7]`.
    ///
    /// # Errors
    ///
    /// As [`FileSystem::path_of`].
    pub fn path(&self, files: &FileSystem<Q>) -> Result<Vec<u8>, Errno> {
        match &self.origin {
            Origin::Named { node, parent: Some(parent) } if node.kind() != FileType::Directory => {
                files.path_in(parent, node)
            }
            Origin::Named { node, .. } => files.path_of(node),
            Origin::Memory { name, .. } => Ok([&b"/memfd:"[..], &**name, b" (deleted)"].concat()),
            Origin::Unnamed { kind: FileType::Regular, label, .. } => {
                Ok(format!("anon_inode:[{label}]").into_bytes())
            }
            Origin::Unnamed { label, number, .. } => Ok(format!("{label}:[{number}]").into_bytes()),
        }
    }
}

/// Copies what `text` has from `offset` on and returns how many bytes.
fn copy_from(text: &[u8], offset: u64, buffer: &mut [u8]) -> usize {
    let start = usize::try_from(offset).unwrap_or(usize::MAX).min(text.len());
    let len = buffer.len().min(text.len() - start);
    buffer[..len].copy_from_slice(&text[start..start + len]);
    len
}

fn check_offset(offset: u64) -> Result<(), Errno> {
    if i64::try_from(offset).is_ok() { Ok(()) } else { Err(Errno::INVAL) }
}

/// Computes where lseek(2) leads; `end` is the length of what has one.
fn target(by: i64, whence: u32, at: u64, end: Option<u64>) -> Result<u64, Errno> {
    const SET: u32 = 0;
    const CUR: u32 = 1;
    const END: u32 = 2;
    const DATA: u32 = 3;
    const HOLE: u32 = 4;
    let base = match (whence, end) {
        (SET, _) => 0,
        (CUR, _) => at,
        (END, Some(end)) => end,
        // All of a file counts as data, which POSIX allows, up to the hole at its end.
        (DATA | HOLE, Some(end)) => {
            let from = u64::try_from(by).map_err(|_| Errno::NXIO)?;
            return match whence {
                _ if from >= end => Err(Errno::NXIO),
                DATA => Ok(from),
                _ => Ok(end),
            };
        }
        _ => return Err(Errno::INVAL),
    };
    let sum = i128::from(base) + i128::from(by);
    match u64::try_from(sum) {
        Ok(offset) if check_offset(offset).is_ok() => Ok(offset),
        Ok(_) => Err(Errno::OVERFLOW),
        Err(_) => Err(Errno::INVAL),
    }
}

const _: () = assert!(DEVICE.minor != UNNAMED_DEVICE.minor);
