//! What can go wrong with a pid.

use super::number::Pid;

/// Failure of the pid table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PidError {
    /// The limit asked for is outside what a table can serve. A configuration error: fix the caller.
    #[error("pid limit {limit} is outside {min}..={max}")]
    BadLimit {
        /// Limit that was asked for: one above the largest pid.
        limit: u32,
        /// Smallest limit; it leaves room for pid 1 alone.
        min: u32,
        /// Largest limit, [`PID_MAX_LIMIT`](super::PID_MAX_LIMIT).
        max: u32,
    },
    /// A CPU index the table was not made for. A bug of the caller.
    #[error("no batch for cpu {cpu}: the table was made for {cpus} cpus")]
    NoSuchCpu {
        /// Index that was passed.
        cpu: usize,
        /// Number of CPUs that the table was made for.
        cpus: usize,
    },
    /// Every pid below the limit is taken, including those in the batches of other CPUs.
    /// Fork fails with `EAGAIN`; it succeeds again once a task is reaped.
    #[error("all pids below {limit} are taken")]
    Exhausted {
        /// Limit of the table: one above the largest pid.
        limit: u32,
    },
    /// No memory for a part of the table. Fork fails with `ENOMEM`; nothing was changed.
    #[error("no memory for {bytes} bytes of the pid table")]
    NoMemory {
        /// Size of the allocation that failed, in bytes.
        bytes: usize,
    },
    /// No task is published under this pid: it never was, or someone else removed it first.
    #[error("pid {pid} is not published")]
    NotPublished {
        /// Pid that was looked for.
        pid: Pid,
    },
}
