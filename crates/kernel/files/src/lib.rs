//! Files for a kernel that runs Linux programs: everything about them that needs no hardware.
//!
//! An in-memory file system filled from the initramfs, open file descriptions and the table of
//! descriptors, pipes, a terminal's line discipline, `/proc`, and the bytes in which Linux reports
//! them to programs. Semantics and numbers are those of Linux on x86-64. There is no `unsafe`, no
//! user memory and no sleeping here: the kernel copies, sleeps and delivers signals, and the tests
//! run on the build host.
//!
//! # Map
//!
//! | what a system call needs             | where                                                     |
//! |--------------------------------------|-----------------------------------------------------------|
//! | error numbers                        | [`Errno`]; every operation here returns one               |
//! | paths: open, mkdir, rename, stat, …  | [`FileSystem`]; directories to start from are [`Node`]s   |
//! | read, write, lseek, getdents64, …    | [`OpenFile`] (an "open file description", behind `Arc`)   |
//! | descriptors: dup, fcntl, close, fork | [`FdTable`]                                               |
//! | pipe, pipe2; eventfd; socketpair     | [`pipe::pair`], [`eventfd::open`], [`pipe::duplex`]       |
//! | console: input, ioctl, job control   | [`tty::Tty`]                                              |
//! | poll, select, ppoll                  | [`OpenFile::poll`], [`OpenFile::queue`], [`Ready`]        |
//! | /proc                                | the kernel implements [`proc::ProcSource`]                |
//! | struct stat, statx, dirent64, …      | [`abi`]                                                   |
//!
//! # API
//!
//! `Q` is the kernel's [`WaitQueue`]. Paths and names are byte strings without their NUL. `from` is
//! the [`Node`] a relative path starts from: the working directory, or `file.node()` of a
//! directory's descriptor.
//!
//! ```text
//! trait WaitQueue: Send + Sync + 'static { fn new() -> Self; fn wake_all(&self); }
//!
//! Errno(u16)           consts Errno::NOENT, ::AGAIN, … (Linux's name without the E; ::TOOBIG is E2BIG);
//!                      .number() -> i32   .name() -> "ENOENT"   .to_return() -> -(number) as i64
//! Timespec { seconds: i64, nanoseconds: u32 }
//! OpenFlags            bitflags u32, O_* on x86-64: OpenFlags::CREAT, ::APPEND, ::NONBLOCK, ::CLOEXEC, …
//! Ready                bitflags u32, POLL*: Ready::IN, ::OUT, ::ERR, ::HUP, …
//! Metadata             what stat reports; mode holds type and permissions
//! Caller { pid, group, session }     whom a terminal asks: thread group, process group, session ids (u32)
//!
//! FileSystem::<Q>::new(Setup { clock: fn() -> Timespec, random: fn(&mut [u8]), limit: u64 /* bytes */,
//!                              terminal: Arc<Tty<Q>>, proc: Box<dyn ProcSource<Q>> }) -> Result<FileSystem<Q>, Errno>
//!     makes /dev with its nodes, /proc and /tmp
//!   .unpack(handover::cpio::Entries<'static>) -> Result<Unpacked, UnpackError>
//!   .root() -> Node
//!   .open(&Caller, from, path, OpenFlags, mode) -> Result<Arc<OpenFile<Q>>, Errno>   mode: umask already applied
//!   .stat(from, path, Follow) -> Result<Metadata, Errno>        Follow::Yes is stat, Follow::No is lstat
//!   .statfs(from, path) -> Result<Statfs, Errno>
//!   .lookup(from, path, Follow) -> Result<Node, Errno>
//!   .directory(from, path) -> Result<Node, Errno>               for chdir
//!   .path_of(&Node) -> Result<Vec<u8>, Errno>                   for getcwd
//!   .executable(from, path) -> Result<Arc<Inode>, Errno>        for execve: regular and some x bit, else EACCES
//!   .readlink(from, path) -> Result<Vec<u8>, Errno>
//!   .access(from, path, mode: u32, Follow) -> Result<(), Errno>
//!   .mkdir / .mknod(.., mode, rdev) / .symlink(target, from, path) / .link(from, old, from, new, Follow)
//!   .unlink / .rmdir(from, path) / .rename(from, old, from, new, RenameFlags)
//!   .truncate(from, path, len)
//! Inode (regular file, for execve and mmap)
//!   .len() .read_at(offset, &mut [u8]) -> Result<usize, Errno>   .archive_bytes() -> Option<&'static [u8]>
//! Node (a place in the tree; Clone)
//!   .metadata() .set_mode(u32) .set_owner(Option<u32>, Option<u32>) .set_times(SetTime, SetTime) -> Result<(), Errno>
//!   chmod(2) is lookup and then set_mode; fchmod(2) is file.node() and then set_mode
//!
//! OpenFile<Q>
//!   .read(&mut [u8]) .write(&[u8]) .read_at(u64, &mut [u8]) .write_at(u64, &[u8]) -> Result<usize, Errno>
//!   .seek(i64, whence: u32) -> Result<u64, Errno>     .set_len(u64)     .metadata() -> Result<Metadata, Errno>
//!   .read_directory(&mut [u8]) -> Result<usize, Errno>           getdents64; 0 at the end
//!   .poll() -> Ready       .queue() -> Option<&Q>                None: never has to be waited for
//!   .flags() -> OpenFlags  .set_flags(OpenFlags)                 F_GETFL, F_SETFL
//!   .node() -> Option<&Node>   .tty() -> Option<&Arc<Tty<Q>>>   .path(&FileSystem) for /proc/self/fd
//!   .inode() -> Option<&Arc<Inode>>  (regular files: mmap)       .sync()  fsync
//!   .ioctl(&Caller, request: u32, argument: &mut [u8]) -> Result<IoctlReply, Errno>
//!       ioctl::size(request) -> usize says how long `argument` is: copy that much from the user before
//!       (EFAULT counts only if ioctl::reads(request)) and to the user after (if ioctl::writes(request))
//!
//! FdTable<Q> (behind Arc; CLONE_FILES shares it)
//!   ::new() .fork() -> Result<FdTable<Q>, Errno>  .close_on_exec()  .close_all()
//!   .get(fd: i32) -> Result<Arc<OpenFile<Q>>, Errno>
//!   .insert(Arc<OpenFile<Q>>, cloexec: bool) -> Result<i32, Errno>     .insert_pair(..) for pipe2
//!   .close(fd) .close_range(first, last, cloexec_only) .dup(fd) .dup_from(fd, min, cloexec) .dup2(old, new) .dup3(old, new, cloexec)
//!   .cloexec(fd) -> Result<bool, Errno> .set_cloexec(fd, bool)   .limit() .set_limit(usize)  .open_fds() -> Vec<i32>
//!
//! pipe::pair::<Q>(OpenFlags) -> Result<(Arc<OpenFile<Q>>, Arc<OpenFile<Q>>), Errno>    (read end, write end)
//! pipe::duplex::<Q>(OpenFlags) -> the two ends of socketpair(AF_UNIX, SOCK_STREAM)
//! eventfd::open::<Q>(initial: u64, semaphore: bool, OpenFlags) -> Result<Arc<OpenFile<Q>>, Errno>
//!
//! Tty<Q>::new(output: fn(&[u8])) -> Arc<Tty<Q>>
//!   .input(u8) -> Option<Raised { signal: Signal, group: u32 }>  a received byte; send `signal` to the process group
//!   .background(&Caller, Access::Read | Access::Write) -> Option<Background::{Stop(Signal), Io}>  before read/write
//!   .hang_up(session) -> Option<u32>        the session's leader exits; the group to send SIGHUP and SIGCONT to
//!   .read_timing() -> Timing                VMIN and VTIME, see its docs
//! ```
//!
//! # Waiting without losing a wake-up
//!
//! See [`WaitQueue`]: operations never block. What cannot go on returns [`Errno::AGAIN`] and the
//! caller, unless the description has [`OpenFlags::NONBLOCK`], waits on [`OpenFile::queue`] until
//! [`OpenFile::poll`] says otherwise.
//!
//! # Contexts
//!
//! Locks are short spin locks for process context. Nothing here may be called from an interrupt
//! handler: a received byte goes into a ring there, and from a thread (or on the way back to user
//! mode) to [`tty::Tty::input`]. Buffers are kernel memory, so no page fault happens under a lock.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
