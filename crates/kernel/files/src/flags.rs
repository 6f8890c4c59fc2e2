//! The flags of open(2), and what they say about access.

use bitflags::bitflags;

bitflags! {
    /// `O_*` on x86-64. Bits that are not named here are kept out by [`OpenFlags::from_bits_truncate`], as
    /// open(2) ignores what it does not know.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct OpenFlags: u32 {
        /// Write only. Neither this nor `RDWR`: read only.
        const WRONLY = 0o1;
        /// Read and write.
        const RDWR = 0o2;
        /// Create the file if there is none.
        const CREAT = 0o100;
        /// With `CREAT`: fail if there is one.
        const EXCL = 0o200;
        /// Do not make a terminal the controlling one.
        const NOCTTY = 0o400;
        /// Empty a regular file.
        const TRUNC = 0o1000;
        /// Write at the end.
        const APPEND = 0o2000;
        /// Return `EAGAIN` instead of waiting.
        const NONBLOCK = 0o4000;
        /// Accepted; memory is always in sync.
        const DSYNC = 0o10000;
        /// `O_DIRECT`: accepted for pipes and files, without effect.
        const DIRECT = 0o40000;
        /// Accepted; every file may be large.
        const LARGEFILE = 0o100_000;
        /// Fail unless it is a directory.
        const DIRECTORY = 0o200_000;
        /// Fail with `ELOOP` if the last component is a symbolic link.
        const NOFOLLOW = 0o400_000;
        /// Accepted; times of access are not kept.
        const NOATIME = 0o1_000_000;
        /// Close on execve. Belongs to the descriptor, not to the description.
        const CLOEXEC = 0o2_000_000;
        /// The bit that `O_SYNC` has more than `O_DSYNC`.
        const SYNC = 0o4_000_000;
        /// A place in the tree that cannot be read or written.
        const PATH = 0o10_000_000;
        /// The bit that `O_TMPFILE` has more than `O_DIRECTORY`.
        const TMPFILE = 0o20_000_000;
    }
}

impl OpenFlags {
    /// What F_SETFL may change.
    pub const SETTABLE: Self =
        Self::APPEND.union(Self::NONBLOCK).union(Self::DIRECT).union(Self::NOATIME);

    /// What only open(2) looks at: F_GETFL does not report it.
    pub const CREATION: Self =
        Self::CREAT.union(Self::EXCL).union(Self::NOCTTY).union(Self::TRUNC).union(Self::CLOEXEC);

    /// Tells whether a description with these flags may be read from.
    #[must_use]
    pub const fn readable(self) -> bool {
        self.bits() & 0b11 != Self::WRONLY.bits() && !self.contains(Self::PATH)
    }

    /// Tells whether a description with these flags may be written to.
    #[must_use]
    pub const fn writable(self) -> bool {
        self.bits() & 0b11 != 0 && !self.contains(Self::PATH)
    }
}

bitflags! {
    /// The flags of renameat2(2).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct RenameFlags: u32 {
        /// Fail if the new name exists.
        const NOREPLACE = 1;
        /// Exchange the two.
        const EXCHANGE = 2;
    }
}

/// What to do with a symbolic link that is the last component of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    /// Go on to its target.
    Yes,
    /// Take the link itself: `AT_SYMLINK_NOFOLLOW`.
    No,
}

/// On whose behalf a file is opened or a terminal asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The process (thread group).
    pub pid: u32,
    /// Its process group.
    pub group: u32,
    /// Its session.
    pub session: u32,
}

impl Caller {
    /// Tells whether the process leads its session.
    #[must_use]
    pub const fn leads_session(&self) -> bool {
        self.pid == self.session
    }
}
