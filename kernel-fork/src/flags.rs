//! Clone flags, with Linux's numbers and Linux's rules on what goes together.

use bitflags::bitflags;
use thiserror::Error;

bitflags! {
    /// What a child shares with its parent, and what is done for it (`clone(2)`).
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct CloneFlags: u64 {
        /// The child shares the parent's mm.
        const VM = 0x100;
        /// The child shares root, working directory and umask.
        const FS = 0x200;
        /// The child shares the table of open files.
        const FILES = 0x400;
        /// The child shares the signal handlers.
        const SIGHAND = 0x800;
        /// The parent gets a pidfd.
        const PIDFD = 0x1000;
        /// The parent's tracer traces the child too.
        const PTRACE = 0x2000;
        /// The parent waits until the child lets its mm go.
        const VFORK = 0x4000;
        /// The child gets the parent's parent.
        const PARENT = 0x8000;
        /// The child is a thread of the parent's process.
        const THREAD = 0x1_0000;
        /// New mount namespace.
        const NEWNS = 0x2_0000;
        /// The child shares System V semaphore undo values.
        const SYSVSEM = 0x4_0000;
        /// The child gets a TLS pointer of its own.
        const SETTLS = 0x8_0000;
        /// The child's id is stored in the parent's memory.
        const PARENT_SETTID = 0x10_0000;
        /// The child's id is cleared in the child's memory, and a futex woken, when it lets its mm go.
        const CHILD_CLEARTID = 0x20_0000;
        /// Ignored, as in Linux since 2.6.2.
        const DETACHED = 0x40_0000;
        /// A tracer cannot force `PTRACE` on the child.
        const UNTRACED = 0x80_0000;
        /// The child's id is stored in the child's memory.
        const CHILD_SETTID = 0x100_0000;
        /// New cgroup namespace.
        const NEWCGROUP = 0x200_0000;
        /// New UTS namespace.
        const NEWUTS = 0x400_0000;
        /// New IPC namespace.
        const NEWIPC = 0x800_0000;
        /// New user namespace.
        const NEWUSER = 0x1000_0000;
        /// New pid namespace.
        const NEWPID = 0x2000_0000;
        /// New network namespace.
        const NEWNET = 0x4000_0000;
        /// The child shares the I/O context.
        const IO = 0x8000_0000;
        /// All signal handlers are reset to the default (`clone3` only).
        const CLEAR_SIGHAND = 0x1_0000_0000;
        /// The child begins in a given cgroup (`clone3` only).
        const INTO_CGROUP = 0x2_0000_0000;
    }
}

/// Bits of `clone(2)`'s flags that hold the exit signal (`CSIGNAL`).
pub const CSIGNAL: u64 = 0xff;

/// Largest signal number.
pub const NSIG: u8 = 64;

/// A combination of flags that `clone(2)` refuses with `EINVAL`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FlagsError {
    /// Bits that are no clone flag.
    #[error("clone flags {bits:#x} are unknown")]
    Unknown {
        /// The unknown bits.
        bits: u64,
    },
    /// One flag needs another.
    #[error("clone flag {flag:?} needs {needs:?}")]
    Needs {
        /// The flag that was given.
        flag: CloneFlags,
        /// The flag that was not.
        needs: CloneFlags,
    },
    /// Two flags exclude each other.
    #[error("clone flags {flag:?} and {other:?} exclude each other")]
    Excludes {
        /// One.
        flag: CloneFlags,
        /// The other.
        other: CloneFlags,
    },
    /// Not a signal number.
    #[error("exit signal {signal} is not within 0..={NSIG}")]
    BadExitSignal {
        /// What was given.
        signal: u8,
    },
    /// A thread, or a child of the parent's parent, has no exit signal of its own (`clone3`).
    #[error("exit signal {signal} given together with {flag:?}")]
    ExitSignalWith {
        /// What was given.
        signal: u8,
        /// `THREAD` or `PARENT`.
        flag: CloneFlags,
    },
    /// The reaper of orphans cannot have siblings.
    #[error("the first process cannot use CLONE_PARENT")]
    SiblingOfReaper,
}

impl CloneFlags {
    /// Splits the flags word of `clone(2)` into flags and exit signal.
    ///
    /// # Errors
    ///
    /// [`FlagsError::Unknown`] for bits beyond the 32 that `clone(2)` has.
    pub const fn from_clone(word: u64) -> Result<(Self, u8), FlagsError> {
        let bits = word & !CSIGNAL;
        if bits >> 32 != 0 {
            return Err(FlagsError::Unknown { bits: bits >> 32 << 32 });
        }
        match Self::from_bits(bits) {
            Some(flags) => Ok((flags, (word & CSIGNAL) as u8)),
            None => Err(FlagsError::Unknown { bits: bits & !Self::all().bits() }),
        }
    }

    /// Takes the flags field of `clone3(2)`.
    ///
    /// # Errors
    ///
    /// [`FlagsError::Unknown`] for bits that are no flag. The exit signal is a field of its own there, and
    /// [`CloneFlags::DETACHED`], which `clone(2)` ignores, is free to get a meaning.
    pub const fn from_clone3(word: u64) -> Result<Self, FlagsError> {
        let known = Self::all().difference(Self::DETACHED);
        match word & !known.bits() {
            0 => Ok(Self::from_bits_retain(word)),
            bits => Err(FlagsError::Unknown { bits }),
        }
    }

    /// Checks what `copy_process` of Linux 6.1 checks first, and `copy_namespaces` after it.
    ///
    /// # Errors
    ///
    /// The rule that is broken.
    pub fn check(self) -> Result<(), FlagsError> {
        for (flag, needs) in [(Self::THREAD, Self::SIGHAND), (Self::SIGHAND, Self::VM)] {
            if self.contains(flag) && !self.contains(needs) {
                return Err(FlagsError::Needs { flag, needs });
            }
        }
        for (flag, other) in [
            (Self::NEWNS, Self::FS),
            (Self::NEWUSER, Self::FS),
            (Self::THREAD, Self::NEWUSER),
            (Self::THREAD, Self::NEWPID),
            (Self::PIDFD, Self::DETACHED),
            (Self::PIDFD, Self::THREAD),
            (Self::CLEAR_SIGHAND, Self::SIGHAND),
            (Self::NEWIPC, Self::SYSVSEM),
        ] {
            if self.contains(flag | other) {
                return Err(FlagsError::Excludes { flag, other });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn illegal_combinations_are_those_of_linux() {
        let flags = |bits| CloneFlags::from_bits(bits).unwrap();
        assert_eq!(
            flags(0x1_0000).check(),
            Err(FlagsError::Needs { flag: CloneFlags::THREAD, needs: CloneFlags::SIGHAND })
        );
        assert_eq!(
            flags(0x1_0800).check(),
            Err(FlagsError::Needs { flag: CloneFlags::SIGHAND, needs: CloneFlags::VM })
        );
        for (bits, flag, other) in [
            (0x2_0200, CloneFlags::NEWNS, CloneFlags::FS),
            (0x1000_0200, CloneFlags::NEWUSER, CloneFlags::FS),
            (0x1001_0900, CloneFlags::THREAD, CloneFlags::NEWUSER),
            (0x2001_0900, CloneFlags::THREAD, CloneFlags::NEWPID),
            (0x40_1000, CloneFlags::PIDFD, CloneFlags::DETACHED),
            (0x1_1900, CloneFlags::PIDFD, CloneFlags::THREAD),
            (0x1_0000_0900, CloneFlags::CLEAR_SIGHAND, CloneFlags::SIGHAND),
            (0x804_0000, CloneFlags::NEWIPC, CloneFlags::SYSVSEM),
        ] {
            assert_eq!(flags(bits).check(), Err(FlagsError::Excludes { flag, other }));
        }
    }

    #[test]
    fn what_glibc_and_musl_pass_is_legal() {
        // fork, vfork, posix_spawn, pthread_create (glibc), pthread_create (musl).
        for word in [0x120_0011, 0x4111, 0x4111, 0x3d_0f00, 0x7d_0f00] {
            let (flags, _signal) = CloneFlags::from_clone(word).unwrap();
            assert_eq!(flags.check(), Ok(()), "{word:#x}");
        }
    }

    #[test]
    fn unknown_bits_are_named() {
        assert_eq!(
            CloneFlags::from_clone(0x1_0000_0011),
            Err(FlagsError::Unknown { bits: 0x1_0000_0000 })
        );
        assert_eq!(
            CloneFlags::from_clone3(0x8_0000_0000),
            Err(FlagsError::Unknown { bits: 0x8_0000_0000 })
        );
    }

    #[test]
    fn clone3_has_neither_a_signal_in_its_flags_nor_detached() {
        for bits in [0x11, 0x40_0000] {
            assert_eq!(CloneFlags::from_clone3(bits | 0x100), Err(FlagsError::Unknown { bits }));
        }
        let all = CloneFlags::all() - CloneFlags::DETACHED;
        assert_eq!(CloneFlags::from_clone3(all.bits()), Ok(all));
    }
}
