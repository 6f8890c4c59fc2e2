//! The process number as a type: never zero, never above what Linux allows.

use core::fmt;
use core::num::NonZeroU32;

/// One above the largest pid any table can hand out: 2^22, Linux's `PID_MAX_LIMIT` on 64 bits.
pub const PID_MAX_LIMIT: u32 = 4 * 1024 * 1024;

/// One above the largest pid of a table unless the kernel asks for more: Linux's `PID_MAX_DEFAULT`.
pub const PID_MAX_DEFAULT: u32 = 32_768;

/// First pid handed out after the numbers wrapped: Linux's `RESERVED_PIDS`.
///
/// The numbers below are those of the daemons that boot started. They are kept out of circulation
/// after the first lap so that a stale pid file does not name a stranger.
pub const RESERVED_PIDS: u32 = 300;

/// Process number in `1..PID_MAX_LIMIT`. Zero means "no process" and "the idle task" in the field,
/// so it is not a value of this type.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pid(NonZeroU32);

impl Pid {
    /// The first process: a fresh table hands it out first.
    pub const INIT: Self = Self(NonZeroU32::MIN);

    /// Makes a pid of a raw number; `None` for zero and for [`PID_MAX_LIMIT`] or more.
    #[must_use]
    pub const fn new(raw: u32) -> Option<Self> {
        match NonZeroU32::new(raw) {
            Some(number) if raw < PID_MAX_LIMIT => Some(Self(number)),
            _ => None,
        }
    }

    /// Returns the raw number, as a system call would return it.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

impl From<Pid> for u32 {
    fn from(pid: Pid) -> Self {
        pid.get()
    }
}

impl fmt::Debug for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pid({})", self.0)
    }
}

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
