//! Why an initial stack cannot be built, with the numbers that say so.

use core::fmt;

/// Which string of the stack an error is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StackString {
    /// `argv` of this index.
    Arg(usize),
    /// `envp` of this index.
    Env(usize),
    /// [`AuxValues::execfn`](super::AuxValues::execfn).
    ExecFn,
    /// [`AuxValues::platform`](super::AuxValues::platform).
    Platform,
}

impl fmt::Display for StackString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StackString::Arg(index) => write!(f, "argv[{index}]"),
            StackString::Env(index) => write!(f, "envp[{index}]"),
            StackString::ExecFn => f.write_str("execfn"),
            StackString::Platform => f.write_str("platform"),
        }
    }
}

/// Why a stack cannot be built. A kernel answers the first two with `E2BIG`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StackError {
    /// The image is larger than [`StackLimits::max_bytes`](super::StackLimits::max_bytes), or than
    /// the addresses below `stack_top`.
    #[error("the initial stack needs {need} bytes, the limit is {limit}")]
    TooBig {
        /// Bytes from `sp` to `stack_top`.
        need: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// One string is longer than [`StackLimits::max_string`](super::StackLimits::max_string).
    #[error("{which} has {len} bytes with its NUL, the limit is {limit}")]
    StringTooLong {
        /// The string.
        which: StackString,
        /// Its length in bytes with the NUL.
        len: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// A string contains a NUL: the program would see it cut short.
    #[error("{which} has a NUL at byte {position}")]
    InteriorNul {
        /// The string.
        which: StackString,
        /// Offset of the first NUL.
        position: usize,
    },
    /// `stack_top` is not page-aligned, or above the addresses of the class.
    #[error("a stack cannot end at {stack_top:#x}")]
    BadTop {
        /// The address given.
        stack_top: u64,
    },
    /// An auxiliary value does not fit a 4-byte word.
    #[error("auxiliary value {tag} is {value:#x}, too wide for a 32-bit program")]
    ValueTooWide {
        /// Tag of the pair (`AT_*`).
        tag: u64,
        /// Value given.
        value: u64,
    },
    /// The kernel has no memory for the image.
    #[error("no memory for {bytes} bytes of initial stack")]
    OutOfMemory {
        /// Bytes asked for.
        bytes: usize,
    },
}
