//! What `clone(2)` and `clone3(2)` ask for.

use crate::flags::{CloneFlags, FlagsError, NSIG};

/// Arguments of a fork, a clone or the making of a kernel thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CloneArgs {
    /// What is shared, and what is done for the child.
    pub flags: CloneFlags,
    /// Signal that the parent gets when the child exits; 0 for none.
    pub exit_signal: u8,
    /// Top of the child's user stack; 0 to go on with the parent's.
    pub stack: u64,
    /// TLS pointer, with `SETTLS`.
    pub tls: u64,
    /// User address in the parent's memory for the child's id, with `PARENT_SETTID`.
    pub parent_tid: u64,
    /// User address in the child's memory for the child's id, with `CHILD_SETTID` and `CHILD_CLEARTID`.
    pub child_tid: u64,
}

/// Number of `SIGCHLD`.
const SIGCHLD: u8 = 17;

impl CloneArgs {
    /// What `fork(2)` passes.
    pub const FORK: Self = Self {
        flags: CloneFlags::empty(),
        exit_signal: SIGCHLD,
        stack: 0,
        tls: 0,
        parent_tid: 0,
        child_tid: 0,
    };

    /// What `vfork(2)` passes.
    pub const VFORK: Self = Self { flags: CloneFlags::VM.union(CloneFlags::VFORK), ..Self::FORK };

    /// What a thread library passes, less addresses.
    pub const THREAD: Self = Self {
        flags: CloneFlags::VM
            .union(CloneFlags::FS)
            .union(CloneFlags::FILES)
            .union(CloneFlags::SIGHAND)
            .union(CloneFlags::THREAD),
        exit_signal: 0,
        ..Self::FORK
    };

    /// Takes the arguments of `clone(2)`, in the order of x86-64.
    ///
    /// # Errors
    ///
    /// [`FlagsError`], as for [`CloneFlags::from_clone`].
    pub const fn from_clone(
        word: u64,
        stack: u64,
        parent_tid: u64,
        child_tid: u64,
        tls: u64,
    ) -> Result<Self, FlagsError> {
        match CloneFlags::from_clone(word) {
            Ok((flags, exit_signal)) => {
                Ok(Self { flags, exit_signal, stack, tls, parent_tid, child_tid })
            }
            Err(error) => Err(error),
        }
    }

    /// Checks flags and exit signal against each other.
    ///
    /// # Errors
    ///
    /// The rule that is broken.
    pub fn check(&self) -> Result<(), FlagsError> {
        self.flags.check()?;
        if self.exit_signal > NSIG {
            return Err(FlagsError::BadExitSignal { signal: self.exit_signal });
        }
        Ok(())
    }

    /// Checks what `clone3(2)` checks on top.
    ///
    /// # Errors
    ///
    /// The rule that is broken.
    pub fn check_clone3(&self) -> Result<(), FlagsError> {
        self.check()?;
        for flag in [CloneFlags::THREAD, CloneFlags::PARENT] {
            if self.flags.contains(flag) && self.exit_signal != 0 {
                return Err(FlagsError::ExitSignalWith { signal: self.exit_signal, flag });
            }
        }
        Ok(())
    }
}
