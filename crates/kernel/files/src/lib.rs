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
//! | pipe, pipe2; eventfd                 | [`pipe::pair`], [`eventfd::open`]                         |
//! | socket, socketpair and what follows  | [`socket`]                                                |
//! | flock; the locks of fcntl            | [`locks::Locks`]                                          |
//! | console: input, ioctl, job control   | [`tty::Tty`]                                              |
//! | poll, select, ppoll                  | [`OpenFile::poll`], [`OpenFile::queue`], [`Ready`]        |
//! | epoll; timerfd                       | [`epoll::Epoll`]; [`timerfd::Timer`]                      |
//! | /proc                                | the kernel implements [`proc::ProcSource`]                |
//! | struct stat, statx, dirent64, …      | [`abi`]                                                   |
//!
//! # API
//!
//! `Q` is the kernel's [`WaitQueue`]. Paths and names are byte strings without their NUL. `from` is
//! the [`Node`] a relative path starts from: the working directory, or [`OpenFile::node`] of a
//! directory's descriptor. Everybody is root; modes are stored, and the umask is the caller's affair.
//!
//! ```text
//! boot      Tty::new(output) -> FileSystem::new(Setup { .. }) -> .unpack(cpio::Entries)
//! open      files.open(&caller, from, path, flags, mode)? -> fds.insert(file, cloexec)?
//! read      fds.get(fd)?.read(buffer): AGAIN means wait, see below
//! chmod     files.lookup(from, path, Follow::Yes)?.set_mode(mode)     fchmod: file.node()
//! chdir     files.directory(from, path)?        getcwd: files.path_of(&node)?
//! execve    files.executable(from, path)?.archive_bytes() or .read_at(..); then fds.close_on_exec()
//! fork      fds.fork()?                         exit: fds.close_all(), tty.hang_up(session) of a leader
//! ioctl     ioctl::Request::decode(number) -> size, reads, writes -> file.ioctl(..)
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
//! Locks are spin locks for process context. Nothing here may be called from an interrupt handler: a
//! received byte goes into a ring there, and from a thread (or on the way back to user mode) to
//! [`tty::Tty::input`]. Buffers are kernel memory, so no page fault happens under a lock.
//!
//! A lock is held while a buffer is copied. So the kernel passes long transfers in pieces; only a
//! write of up to [`pipe::ATOMIC`] bytes has to be one piece.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod abi;
mod device;
pub mod epoll;
mod errno;
pub mod eventfd;
mod fd_table;
mod flags;
pub mod ioctl;
pub mod locks;
mod metadata;
mod open_file;
pub mod pipe;
mod poll;
pub mod proc;
mod seals;
pub mod socket;
mod stream;
#[cfg(test)]
mod testing;
mod time;
pub mod timerfd;
mod tree;
pub mod tty;
pub mod wait;

pub use errno::Errno;
pub use fd_table::{DEFAULT_LIMIT, FdTable, MAX_LIMIT};
pub use flags::{Caller, Follow, OpenFlags, RenameFlags};
pub use metadata::{DeviceNumber, FileType, Metadata};
pub use open_file::{OpenFile, Pair};
pub use poll::Ready;
pub use seals::Seals;
pub use stream::Stream;
pub use time::{SetTime, Timespec};
pub use tree::{
    FileSystem, Inode, NAME_MAX, Node, PAGE_SIZE, PATH_MAX, Setup, SharedPage, UnpackError,
    Unpacked,
};
pub use wait::WaitQueue;
