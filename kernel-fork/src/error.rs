//! Why a fork failed. Whatever it says, nothing of the child is left.

use kernel_sync::OutOfHeap;
use kernel_task::pid::{Pid, PidError};
use kernel_task::process::JoinError;
use mm_generic::mm::NewMmError;
use mm_generic::publish::NotReady;
use mm_generic::user::ForkMmError;
use thiserror::Error;

use crate::flags::FlagsError;

/// A fork that failed, with the kernel's own error `E` for its parts of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ForkError<E> {
    /// The arguments break a rule of `clone(2)` (`EINVAL`).
    #[error(transparent)]
    Flags(#[from] FlagsError),
    /// No pid (`EAGAIN`).
    #[error(transparent)]
    Pid(#[from] PidError),
    /// No PGD, or no heap for the mm (`ENOMEM`).
    #[error(transparent)]
    NewMm(#[from] NewMmError),
    /// The user half could not be copied (`ENOMEM`).
    #[error(transparent)]
    CopyMm(#[from] ForkMmError),
    /// No heap for the task or the process (`ENOMEM`).
    #[error(transparent)]
    OutOfHeap(#[from] OutOfHeap),
    /// The process takes no more threads, or its list cannot grow.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// The parent has no mm to copy or share.
    #[error("task {pid} has no mm to fork")]
    NoMm {
        /// The parent.
        pid: Pid,
    },
    /// The parent's mm cannot be shared yet: the parent is being forked itself (`EAGAIN`).
    #[error(transparent)]
    NotReady(#[from] NotReady),
    /// The kernel could not copy a part of its own.
    #[error("a part of the task could not be copied")]
    Parts(E),
}
