//! Resource limits: `RLIMIT_*`.

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

/// What a process may use, by resource.
#[derive(Clone, Copy, Debug)]
pub struct Limits(pub [Limit; COUNT]);

impl Limits {
    /// What the first process may use.
    #[must_use]
    pub const fn new() -> Self {
        let mut limits = [[INFINITY; 2]; COUNT];
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
