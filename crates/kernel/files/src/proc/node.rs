//! The names of `/proc` and what is behind each.

use super::source::{ProcSource, System};
use super::text::{self, Text};
use crate::abi::DirentWriter;
use crate::tree::{FileSystem, Node, Place};
use crate::{DeviceNumber, Errno, FileType, Metadata, OpenFile, WaitQueue};
use alloc::format;
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// `st_dev` of everything here.
const DEVICE: DeviceNumber = DeviceNumber { major: 0, minor: 4 };

/// Cookies of `.` and `..` come first in a listing.
const DOTS: u64 = 2;

/// A place in `/proc`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProcNode {
    /// An entry of [`FIXED`], by its index.
    Fixed(usize),
    /// `/proc/self`
    Current,
    /// `/proc/<pid>`
    Process(u32),
    /// An entry of [`OF_PROCESS`], by its index.
    Member { pid: u32, index: usize },
    /// `/proc/<pid>/fd/<fd>`
    Descriptor { pid: u32, fd: i32 },
}

/// A name that is always there.
struct Fixed {
    name: &'static [u8],
    /// The index of the directory it is in.
    parent: usize,
    body: FixedBody,
}

/// What is behind it.
enum FixedBody {
    Directory,
    File(fn(&mut Text, &System)),
}

const fn directory(name: &'static [u8], parent: usize) -> Fixed {
    Fixed { name, parent, body: FixedBody::Directory }
}

const fn file(name: &'static [u8], parent: usize, write: fn(&mut Text, &System)) -> Fixed {
    Fixed { name, parent, body: FixedBody::File(write) }
}

/// All such names. The directories come first, so that their indices are known below.
static FIXED: [Fixed; 22] = [
    directory(b"", 0),
    directory(b"sys", 0),
    directory(b"kernel", 1),
    directory(b"vm", 1),
    directory(b"fs", 1),
    file(b"meminfo", 0, text::meminfo),
    file(b"uptime", 0, text::uptime),
    file(b"version", 0, text::version),
    file(b"cpuinfo", 0, text::cpuinfo),
    file(b"mounts", 0, text::mounts),
    file(b"filesystems", 0, text::filesystems),
    file(b"stat", 0, text::stat),
    file(b"loadavg", 0, text::loadavg),
    file(b"swaps", 0, text::swaps),
    file(b"hostname", 2, text::hostname),
    file(b"ostype", 2, text::ostype),
    file(b"osrelease", 2, text::osrelease),
    file(b"version", 2, text::kernel_version),
    file(b"pid_max", 2, text::pid_max),
    file(b"overcommit_memory", 3, text::zero),
    file(b"max_map_count", 3, text::max_map_count),
    file(b"pipe-max-size", 4, text::pipe_max_size),
];

/// What is behind a name in a process's directory.
enum Member {
    File(fn(&mut Text, u32, &super::Process)),
    /// The arguments, which are not part of a [`super::Process`].
    CommandLine,
    Maps,
    Mounts,
    Executable,
    WorkingDirectory,
    RootDirectory,
    Descriptors,
}

/// The names in a process's directory.
static OF_PROCESS: [(&[u8], Member); 11] = [
    (b"stat", Member::File(text::process_stat)),
    (b"status", Member::File(text::process_status)),
    (b"statm", Member::File(text::process_statm)),
    (b"comm", Member::File(text::process_comm)),
    (b"cmdline", Member::CommandLine),
    (b"maps", Member::Maps),
    (b"mounts", Member::Mounts),
    (b"exe", Member::Executable),
    (b"cwd", Member::WorkingDirectory),
    (b"root", Member::RootDirectory),
    (b"fd", Member::Descriptors),
];

/// The index of `fd` in [`OF_PROCESS`].
const DESCRIPTORS: usize = OF_PROCESS.len() - 1;

impl ProcNode {
    /// `/proc` itself.
    pub(crate) const ROOT: Self = Self::Fixed(0);

    pub(crate) fn kind(&self) -> FileType {
        match *self {
            Self::Fixed(index) => match FIXED[index].body {
                FixedBody::Directory => FileType::Directory,
                FixedBody::File(_) => FileType::Regular,
            },
            Self::Process(_) => FileType::Directory,
            Self::Current | Self::Descriptor { .. } => FileType::Symlink,
            Self::Member { index, .. } => match OF_PROCESS[index].1 {
                Member::File(_) | Member::CommandLine | Member::Maps | Member::Mounts => {
                    FileType::Regular
                }
                Member::Executable | Member::WorkingDirectory | Member::RootDirectory => {
                    FileType::Symlink
                }
                Member::Descriptors => FileType::Directory,
            },
        }
    }

    /// Returns the name in the directory above; `None` for `/proc` itself.
    pub(crate) fn name(&self) -> Option<Vec<u8>> {
        Some(match *self {
            Self::ROOT => return None,
            Self::Fixed(index) => FIXED[index].name.to_vec(),
            Self::Current => b"self".to_vec(),
            Self::Process(pid) => pid.to_string().into_bytes(),
            Self::Member { index, .. } => OF_PROCESS[index].0.to_vec(),
            Self::Descriptor { fd, .. } => fd.to_string().into_bytes(),
        })
    }

    /// Returns the directory above; `/proc` is above itself here.
    pub(crate) fn parent(&self) -> Self {
        match *self {
            Self::Fixed(index) => Self::Fixed(FIXED[index].parent),
            Self::Current | Self::Process(_) => Self::ROOT,
            Self::Member { pid, .. } => Self::Process(pid),
            Self::Descriptor { pid, .. } => Self::Member { pid, index: DESCRIPTORS },
        }
    }

    /// Returns a number that no other node has.
    fn inode(&self) -> u64 {
        const OF_FIXED: u64 = 1;
        const OF_PROCESSES: u64 = 1 << 32;
        let of = |pid: u32| OF_PROCESSES * (1 + u64::from(pid));
        match *self {
            Self::Fixed(index) => OF_FIXED + index as u64,
            Self::Current => OF_FIXED + FIXED.len() as u64,
            Self::Process(pid) => of(pid),
            Self::Member { pid, index } => of(pid) + 1 + index as u64,
            Self::Descriptor { pid, fd } => of(pid) + (1 << 31) + u64::from(fd.unsigned_abs()),
        }
    }

    pub(crate) fn metadata(&self) -> Metadata {
        let kind = self.kind();
        let permissions = match kind {
            FileType::Directory => 0o555,
            FileType::Symlink => 0o777,
            _ => 0o444,
        };
        Metadata::synthetic(DEVICE, self.inode(), kind, permissions)
    }

    /// Looks a name up in a directory.
    pub(crate) fn child<Q: WaitQueue>(
        &self,
        source: &dyn ProcSource<Q>,
        name: &[u8],
    ) -> Option<Self> {
        match *self {
            Self::Fixed(parent) => {
                if let Some(index) = fixed_in(parent).find(|&index| FIXED[index].name == name) {
                    return Some(Self::Fixed(index));
                }
                if *self != Self::ROOT {
                    return None;
                }
                if name == b"self" {
                    return Some(Self::Current);
                }
                let pid = number(name).and_then(|pid| u32::try_from(pid).ok())?;
                source.exists(pid).then_some(Self::Process(pid))
            }
            Self::Process(pid) => {
                let index = OF_PROCESS.iter().position(|(member, _)| *member == name)?;
                source.exists(pid).then_some(Self::Member { pid, index })
            }
            Self::Member { pid, index: DESCRIPTORS } => {
                let fd = number(name).and_then(|fd| i32::try_from(fd).ok())?;
                source.descriptors(pid)?.get(fd).ok()?;
                Some(Self::Descriptor { pid, fd })
            }
            _ => None,
        }
    }

    /// Writes the directory's entries from `cookie` on and returns the cookie to go on with.
    ///
    /// Fixed names have their index as cookie, numbers come behind them and have themselves; so what
    /// comes and goes between two calls does not move the others.
    pub(crate) fn list<Q: WaitQueue>(
        &self,
        source: &dyn ProcSource<Q>,
        mut cookie: u64,
        to: &mut DirentWriter<'_>,
    ) -> Result<u64, Errno> {
        let fixed: Vec<Self> = match *self {
            Self::ROOT => fixed_in(0).map(Self::Fixed).chain([Self::Current]).collect(),
            Self::Fixed(parent) => fixed_in(parent).map(Self::Fixed).collect(),
            Self::Process(pid) => {
                let indices = 0..OF_PROCESS.len();
                indices.map(|index| Self::Member { pid, index }).collect()
            }
            _ => Vec::new(),
        };
        let numbers_from = DOTS + fixed.len() as u64;
        let numbered: Vec<(u64, Self)> = match *self {
            Self::ROOT => {
                let pids = source.pids().into_iter();
                pids.map(|pid| (u64::from(pid), Self::Process(pid))).collect()
            }
            Self::Process(pid) | Self::Member { pid, .. } if !source.exists(pid) => {
                return Err(Errno::NOENT);
            }
            Self::Member { pid, index: DESCRIPTORS } => {
                let fds = source.descriptors(pid).map(|table| table.open_fds()).unwrap_or_default();
                let of = |fd: i32| (u64::from(fd.unsigned_abs()), Self::Descriptor { pid, fd });
                fds.into_iter().map(of).collect()
            }
            _ => Vec::new(),
        };
        let dots = [(0, &b"."[..], *self), (1, &b".."[..], self.parent())];
        for (at, name, node) in dots {
            if at >= cookie {
                if !to.push(node.inode(), at + 1, FileType::Directory, name) {
                    return Ok(cookie);
                }
                cookie = at + 1;
            }
        }
        let fixed = (DOTS..).zip(fixed);
        let numbered = numbered.into_iter().map(|(at, node)| (numbers_from + at, node));
        for (at, node) in fixed.chain(numbered) {
            if at >= cookie {
                let name = node.name().unwrap_or_default();
                if !to.push(node.inode(), at + 1, node.kind(), &name) {
                    return Ok(cookie);
                }
                cookie = at + 1;
            }
        }
        Ok(cookie)
    }

    /// Makes the contents of a file.
    ///
    /// # Errors
    ///
    /// [`Errno::SRCH`] for a process that is gone, [`Errno::INVAL`] for what is no file.
    pub(crate) fn text<Q: WaitQueue>(&self, source: &dyn ProcSource<Q>) -> Result<Vec<u8>, Errno> {
        let mut text = Text::default();
        match *self {
            Self::Fixed(index) => match FIXED[index].body {
                FixedBody::File(write) => write(&mut text, &source.system()),
                FixedBody::Directory => return Err(Errno::INVAL),
            },
            Self::Member { pid, index } => {
                let process = || source.process(pid).ok_or(Errno::SRCH);
                match OF_PROCESS[index].1 {
                    Member::File(write) => write(&mut text, pid, &process()?),
                    Member::CommandLine => {
                        process()?;
                        text.bytes(&source.command_line(pid));
                    }
                    Member::Maps => {
                        process()?;
                        text::maps(&mut text, &source.mappings(pid));
                    }
                    Member::Mounts => text::mounts(&mut text, &System::default()),
                    _ => return Err(Errno::INVAL),
                }
            }
            _ => return Err(Errno::INVAL),
        }
        Ok(text.finish())
    }

    /// Returns where a link leads.
    pub(crate) fn target<Q: WaitQueue>(&self, files: &FileSystem<Q>) -> Result<Vec<u8>, Errno> {
        let source = &*files.source;
        match *self {
            Self::Current => {
                let pid = source.current().ok_or(Errno::NOENT)?;
                Ok(format!("{pid}").into_bytes())
            }
            Self::Member { pid, index } => match OF_PROCESS[index].1 {
                Member::Executable => source.executable(pid).ok_or(Errno::NOENT),
                Member::WorkingDirectory => {
                    files.path_of(&source.working_directory(pid).ok_or(Errno::NOENT)?)
                }
                Member::RootDirectory => Ok(b"/".to_vec()),
                _ => Err(Errno::INVAL),
            },
            Self::Descriptor { .. } => self.descriptor(files)?.ok_or(Errno::NOENT)?.path(files),
            _ => Err(Errno::INVAL),
        }
    }

    /// Returns the description that a link into a process's descriptors stands for; `None` for all
    /// other nodes.
    pub(crate) fn descriptor<Q: WaitQueue>(
        &self,
        files: &FileSystem<Q>,
    ) -> Result<Option<Arc<OpenFile<Q>>>, Errno> {
        let Self::Descriptor { pid, fd } = *self else { return Ok(None) };
        let descriptors = files.source.descriptors(pid).ok_or(Errno::NOENT)?;
        descriptors.get(fd).map(Some).map_err(|_| Errno::NOENT)
    }

    /// Returns the node that a link stands for, if it does so without a path. A descriptor of
    /// something without a name stands for itself.
    pub(crate) fn jump<Q: WaitQueue>(&self, files: &FileSystem<Q>) -> Result<Option<Node>, Errno> {
        match *self {
            Self::Descriptor { .. } => {
                let node = self.descriptor(files)?.and_then(|file| file.node().cloned());
                Ok(Some(node.unwrap_or(Node(Place::Proc(*self)))))
            }
            Self::Member { pid, index } => match OF_PROCESS[index].1 {
                Member::WorkingDirectory => {
                    files.source.working_directory(pid).map(Some).ok_or(Errno::NOENT)
                }
                _ => Ok(None),
            },
            _ => Ok(None),
        }
    }
}

/// Returns the fixed names in a directory.
fn fixed_in(parent: usize) -> impl Iterator<Item = usize> {
    // The root is in itself; that is no entry.
    (1..FIXED.len()).filter(move |&index| FIXED[index].parent == parent)
}

/// Reads a name that is a number without a sign or leading zeros.
fn number(name: &[u8]) -> Option<u64> {
    let canonical =
        name.iter().all(u8::is_ascii_digit) && (name == b"0" || !name.starts_with(b"0"));
    let digits = core::str::from_utf8(name).ok().filter(|_| canonical)?;
    digits.parse().ok()
}

const _: () = assert!(matches!(OF_PROCESS[DESCRIPTORS].1, Member::Descriptors));
