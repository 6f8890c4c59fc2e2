//! A guard that no std slips into the product crates: all of them in one static library without std.
//!
//! The library has a panic handler of its own. std has one too, and there can be only one: when any crate
//! that is linked here needs std, this one does not compile (`E0152`, duplicate lang item). That holds
//! for a product crate that forgets `no_std` and for a feature of a crate deep down alike.
//!
//! A crate could still call the C library without std. So the paths of an x86 kernel are instantiated
//! below, and `cargo xtask no-std` looks at what the library leaves undefined: functions that the
//! compiler itself calls (`memcpy`), and the rest of this kernel, whose names begin with `kernel_`.
#![no_std]

use core::alloc::{GlobalAlloc, Layout};
use core::panic::PanicInfo;

use arch_x86::X86;
use arch_x86::geometry::LongMode;
use kernel_exec::elf::{ElfError, LoadPlan, Target};
use kernel_exec::exec_mmap::{ExecMmapError, exec_mmap};
use kernel_fork::args::CloneArgs;
use kernel_fork::copy_process::{RunnableTask, copy_process};
use kernel_fork::error::ForkError;
use kernel_fork::exit::exit;
use kernel_sync::{Callback, Rcu};
use kernel_task::epoch::EpochDomain;
use kernel_task::process::{ExitStatus, ProcessRef};
use kernel_task::task::{Task, TaskRef};
use mm_generic::growth::{GrowError, SyncedRange};
use mm_generic::init_mm::InitMm;
use mm_generic::loaded::LoadedMm;
use mm_generic::mm::MmUser;
use mm_generic::publish::NewMm;
use mm_generic::reclaim::ReclaimError;
use mm_generic::replacement::{ReplaceError, Replacement};
use thiserror as _;
use zero_cost::{Minimal, OutOfParts, OutsideFrames, OutsideRcu};

/// The kernel that is instantiated: 4- and 5-level x86 with the scheme that the feature selects.
pub type Pc = Minimal<X86<LongMode, OutsideFrames>>;

/// `copy_process` for [`Pc`].
///
/// # Errors
///
/// As [`copy_process`].
#[unsafe(no_mangle)]
pub fn guard_fork(
    init_mm: &'static InitMm<Pc>,
    parent: &TaskRef<Pc>,
    args: &CloneArgs,
) -> Result<RunnableTask<Pc>, ForkError<OutOfParts>> {
    copy_process(init_mm, parent, args, 0)
}

/// `exit` for [`Pc`].
#[unsafe(no_mangle)]
pub fn guard_exit(init_mm: &'static InitMm<Pc>, task: &Task<Pc>, reaper: &ProcessRef<Pc>) {
    exit(init_mm, task, ExitStatus::Exited(0), reaper);
}

/// `exec_mmap` for [`Pc`].
///
/// # Errors
///
/// As [`exec_mmap`].
///
/// # Safety
///
/// As for [`exec_mmap`].
#[unsafe(no_mangle)]
pub unsafe fn guard_exec(
    task: &Task<Pc>,
    loaded: &LoadedMm<Pc>,
    mm: NewMm<Pc>,
) -> Result<Option<MmUser<Pc>>, ExecMmapError> {
    // SAFETY: the caller's promise.
    unsafe { exec_mmap(task, loaded, mm) }
}

/// Growth for [`Pc`].
///
/// # Errors
///
/// As [`InitMm::grow`].
#[unsafe(no_mangle)]
pub fn guard_grow(init_mm: &InitMm<Pc>, start: u64, len: u64) -> Result<SyncedRange, GrowError> {
    init_mm.grow(start, len)
}

/// Reclaim for [`Pc`].
///
/// # Errors
///
/// As [`InitMm::reclaim`].
///
/// # Safety
///
/// As for [`InitMm::reclaim`].
#[unsafe(no_mangle)]
pub unsafe fn guard_reclaim(
    init_mm: &'static InitMm<Pc>,
    range: SyncedRange,
) -> Result<(), ReclaimError> {
    // SAFETY: the caller's promise.
    unsafe { init_mm.reclaim(range, |_, _| ()) }
}

/// Replacement for [`Pc`].
///
/// # Errors
///
/// As [`InitMm::replace`].
#[unsafe(no_mangle)]
pub fn guard_replace(
    init_mm: &'static InitMm<Pc>,
    range: &mut SyncedRange,
) -> Result<(), ReplaceError> {
    init_mm.replace(range, range.start(), Replacement::Move)
}

/// ELF loading.
///
/// # Errors
///
/// As [`kernel_exec::elf::parse`].
#[unsafe(no_mangle)]
pub fn guard_parse(file: &[u8], target: &Target) -> Result<LoadPlan, ElfError> {
    kernel_exec::elf::parse(file, target)
}

/// Read-copy update, this kernel's own and the epochs of `kernel-task`.
#[unsafe(no_mangle)]
pub fn guard_rcu(domain: &EpochDomain) -> u64 {
    let _section = OutsideRcu::read_lock();
    let cpu = domain.register();
    if let Ok(callback) = Callback::try_new(|| ()) {
        cpu.call_rcu(callback);
    }
    domain.pending()
}

/// A heap that is always full.
struct NoHeap;

// SAFETY: it hands out nothing.
unsafe impl GlobalAlloc for NoHeap {
    unsafe fn alloc(&self, _layout: Layout) -> *mut u8 {
        core::ptr::null_mut()
    }

    unsafe fn dealloc(&self, _memory: *mut u8, _layout: Layout) {}
}

#[global_allocator]
static HEAP: NoHeap = NoHeap;

#[panic_handler]
fn panic(_info: &PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}

/// Calls the C library, as a dependency with bindings of its own might.
#[cfg(feature = "self-check-c")]
#[unsafe(no_mangle)]
pub fn guard_call_c() -> i32 {
    // SAFETY: as POSIX declares it.
    unsafe extern "C" {
        safe fn getpid() -> i32;
    }
    getpid()
}
