//! What the hook costs an architecture that does not need it: nothing, and here is what that is proved on.
//!
//! [`SeparateRoot`] is an architecture with a kernel root of its own (arm64's TTBR1). It leaves
//! `pgd_init_late` and `pgd_attach` as they are. Below are all the places where a new or a borrowed mm is published,
//! instantiated for a kernel of that architecture: fork, exec and attach. `cargo xtask zero-cost` compiles
//! them with the feature `pgd-init-late`, without it, and from sources that have never heard of the
//! hook, and compares the machine code.
//!
//! The rest of the kernel (`outside.rs`) is declared and not defined, so that the optimiser cannot see
//! through it and fold away what it would have to keep in a real kernel.
#![no_std]

extern crate alloc;

mod kernel;
mod outside;
mod separate_root;

use kernel_exec::exec_mmap::{ExecMmapError, exec_mmap};
use kernel_fork::args::CloneArgs;
use kernel_fork::copy_process::{RunnableTask, copy_process};
use kernel_fork::error::ForkError;
use kernel_task::attach::{AttachError, kthread_use_mm};
use kernel_task::task::{Task, TaskMm, TaskRef};
use mm_generic::init_mm::InitMm;
use mm_generic::loaded::LoadedMm;
use mm_generic::mm::{Mm, MmUser};
use mm_generic::publish::{NewMm, ReadyMm, SharedMm, publish_again};

pub use kernel::{Minimal, OutOfParts};
pub use outside::{OutsideFrames, OutsideGuard, OutsideRcu};
pub use separate_root::{SeparateRoot, UserTables};

/// The kernel that the paths are compiled for.
pub type Arm = Minimal<SeparateRoot>;

/// Forks an mm by hand, as a kernel with its own task structure does: new, copied, published, ready.
///
/// # Errors
///
/// [`ForkError::NewMm`], [`ForkError::CopyMm`].
#[unsafe(no_mangle)]
pub fn fork_path(
    init_mm: &'static InitMm<Arm>,
    parent: &Mm<Arm>,
    child: &Task<Arm>,
) -> Result<ReadyMm<Arm>, ForkError<OutOfParts>> {
    let mm = NewMm::new(init_mm)?;
    mm.copy_user_half(parent)?;
    let (published, _none) = mm.publish(TaskMm(child));
    Ok(published.init_late())
}

/// Publishes an mm that is in use through one more task.
#[unsafe(no_mangle)]
pub fn attach_path(mm: SharedMm<Arm>, task: &Task<Arm>) -> ReadyMm<Arm> {
    let (attached, _none) = publish_again(mm, TaskMm(task));
    attached.init_late()
}

/// Forks a task: all of `copy_process`, which has one publication of each kind.
///
/// # Errors
///
/// As [`copy_process`].
#[unsafe(no_mangle)]
pub fn copy_process_path(
    init_mm: &'static InitMm<Arm>,
    parent: &TaskRef<Arm>,
    args: &CloneArgs,
    cpu: usize,
) -> Result<RunnableTask<Arm>, ForkError<OutOfParts>> {
    copy_process(init_mm, parent, args, cpu)
}

/// Gives the running task a new mm.
///
/// # Errors
///
/// As [`exec_mmap`].
///
/// # Safety
///
/// As for [`exec_mmap`].
#[unsafe(no_mangle)]
pub unsafe fn exec_path(
    task: &Task<Arm>,
    loaded: &LoadedMm<Arm>,
    mm: NewMm<Arm>,
) -> Result<Option<MmUser<Arm>>, ExecMmapError> {
    // SAFETY: the caller's promise.
    unsafe { exec_mmap(task, loaded, mm) }
}

/// Makes a kernel thread work in a user's address space.
///
/// # Errors
///
/// As [`kthread_use_mm`].
///
/// # Safety
///
/// As for [`kthread_use_mm`].
#[unsafe(no_mangle)]
pub unsafe fn use_mm_path(
    task: &Task<Arm>,
    loaded: &LoadedMm<Arm>,
    mm: MmUser<Arm>,
) -> Result<(), AttachError> {
    // SAFETY: the caller's promise.
    unsafe { kthread_use_mm(task, loaded, mm) }
}
