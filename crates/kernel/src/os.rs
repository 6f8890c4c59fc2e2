//! The kernel as the PGD crates see it: one type, [`Os`], and the kernel's own address space.
//!
//! What `Os` promises them stands in `translation.rs`.

use crate::cpu::area::cpu_index;
use crate::mm::kernel_tables::KernelTables;
use crate::mm::page_frames::PAGE_FRAMES;
use crate::scheme;
use alloc::vec::Vec;
use arch_x86::geometry::{LongMode, UnknownLevels};
use arch_x86::slots::{SetupError, Slots};
use kernel_sync::ArcCache;
use kernel_task::pid::PID_MAX_DEFAULT;
use kernel_task::tasks::{Tasks, TasksError};
use mm_generic::frames::Frame;
use mm_generic::init_mm::InitMm;
use mm_generic::loaded::LoadedMm;
use spin::Once;
use thiserror::Error;

/// The reference kernel.
#[derive(Debug)]
pub enum Os {}

/// A task of this kernel.
pub type Task = kernel_task::task::Task<Os>;

/// A counted reference to a task.
pub type TaskRef = kernel_task::task::TaskRef<Os>;

/// A process of this kernel.
pub type Process = kernel_task::process::Process<Os>;

/// A counted reference to a process.
pub type ProcessRef = kernel_task::process::ProcessRef<Os>;

static INIT_MM: Once<InitMm<Os>> = Once::new();

/// The PGD crates cannot be plugged in.
#[derive(Clone, Copy, Debug, Error)]
pub enum InstallError {
    /// The tables have neither four nor five levels.
    #[error(transparent)]
    Levels(#[from] UnknownLevels),
    /// The root is not the address of a frame.
    #[error("the root of the kernel's tables, {root:#x}, is no frame")]
    Root {
        /// Physical address of the root.
        root: u64,
    },
    /// The tables cannot be the reference PGD.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The task list cannot be made.
    #[error(transparent)]
    Tasks(#[from] TasksError),
}

/// Adopts `tables` as the reference PGD, for `cpus` processors that all have it loaded. From here on
/// the kernel half grows through [`InitMm::grow`] alone.
///
/// # Errors
///
/// [`InstallError`]; to be treated as fatal.
pub fn install(tables: KernelTables, cpus: usize) -> Result<(), InstallError> {
    let geometry = LongMode::new(tables.levels() as usize)?;
    let root = Frame::at(tables.root()).ok_or(InstallError::Root { root: tables.root() })?;
    let arch = scheme::arch(Slots::adopt(geometry, &PAGE_FRAMES, root, Vec::new())?);
    let tasks = Tasks::new(PID_MAX_DEFAULT, cpus)?;
    let tasks = tasks.with_caches(OBJECTS, cpu_index).map_err(TasksError::from)?;
    let mms = ArcCache::try_new(cpus, OBJECTS, cpu_index).map_err(TasksError::from)?;
    let walkers = scheme::walkers(tasks).map_err(TasksError::from)?;
    INIT_MM.call_once(|| InitMm::new(arch, &PAGE_FRAMES, walkers).with_mm_cache(mms));
    Ok(())
}

/// Mms, tasks and processes whose memory each processor keeps for the next ones: a batch of RCU callbacks frees up to 64 at once.
const OBJECTS: usize = 128;

/// Gives the memory of mms, tasks and processes that have ended back to the heap: for when it is short.
pub fn shrink() {
    init_mm().mm_cache().map(ArcCache::shrink);
    tasks().shrink();
}

/// Returns the kernel's own address space.
///
/// # Panics
///
/// Before [`install`].
#[inline]
#[must_use]
pub fn init_mm() -> &'static InitMm<Os> {
    INIT_MM.get().expect("installed before the first task")
}

/// Returns the kernel's tasks and processors.
#[inline]
#[must_use]
pub fn tasks() -> &'static Tasks<Os> {
    scheme::tasks(init_mm().walkers())
}

/// Returns what this processor has loaded.
///
/// # Panics
///
/// Never: `install` was told how many processors there are.
#[inline]
#[must_use]
pub fn loaded_here() -> &'static LoadedMm<Os> {
    tasks().loaded(cpu_index()).expect("every processor has its place")
}
