//! Resource limits: `RLIMIT_*`.

use super::stack;
use crate::mm::frames;

/// Soft and hard limit.
pub type Limit = [u64; 2];

/// No limit.
pub const INFINITY: u64 = u64::MAX;

/// Number of resources.
pub const COUNT: usize = 16;

/// Size of the stack.
pub const STACK: usize = 3;
/// Number of the user's processes.
pub const NPROC: usize = 6;
/// Number of open files.
pub const NOFILE: usize = 7;

/// Number of signals that wait.
pub const SIGPENDING: usize = 11;

/// Returns the most tasks there may be, whoever makes them, so that their kernel stacks take an eighth of memory at most
/// (`max_threads`).
#[must_use]
pub fn most_tasks() -> u64 {
    (frames::total() as u64 / (8 * stack::PAGES)).max(20)
}

/// What a process may use, by resource.
#[derive(Clone, Copy, Debug)]
pub struct Limits(pub [Limit; COUNT]);

impl Limits {
    /// What the first process may use. Its tasks and waiting signals depend on memory, as in Linux.
    #[must_use]
    pub fn new() -> Self {
        let mut limits = [[INFINITY; 2]; COUNT];
        limits[NPROC] = [most_tasks() / 2; 2];
        limits[SIGPENDING] = [most_tasks() / 2; 2];
        limits[STACK] = [mm_generic::user::STACK_MAX, INFINITY];
        limits[4] = [0, INFINITY]; // Core files: none are written.
        limits[NOFILE] = [files::DEFAULT_LIMIT as u64, files::MAX_LIMIT as u64];
        Self(limits)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::new()
    }
}
