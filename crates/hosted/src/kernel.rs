//! A kernel that runs in a host process: real page tables, threads for CPUs, and tasks that are data.

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;

use kernel_fork::args::CloneArgs;
use kernel_fork::parts::ForkKernel;
use kernel_task::kernel::TaskKernel;
use kernel_task::pid::Pid;
use kernel_task::process::Process;
use kernel_task::task::Task;
use kernel_task::tasks::Tasks;
use mm_generic::arch::ArchPgd;
use mm_generic::frames::{Frame, PAGE_SIZE};
use mm_generic::init_mm::InitMm;
use mm_generic::kernel::Kernel;
use mm_generic::kernel_range::KernelRange;
use mm_generic::mm::Mm;
use mm_generic::object::{Object, ReadError};
use mm_generic::walk::Walkers;

use crate::cpu::{HostRcu, write_cr3};
use crate::frames::HostFrames;
use crate::tlb;

/// What differs from one hosted kernel to the next: the PGD scheme and the walk.
pub trait Scheme: Sized + Send + Sync + 'static {
    /// The architecture.
    type Arch: ArchPgd;

    /// The walkers: `Tasks` itself, or something around it.
    type Walkers: Walkers<Host<Self>>;

    /// The tasks behind the walkers.
    fn tasks(walkers: &Self::Walkers) -> &Tasks<Host<Self>>;
}

/// The scheme of an architecture with the right walk.
pub struct With<A>(PhantomData<fn() -> A>);

impl<A: ArchPgd> Scheme for With<A> {
    type Arch = A;
    type Walkers = Tasks<Host<Self>>;

    fn tasks(walkers: &Tasks<Host<Self>>) -> &Tasks<Host<Self>> {
        walkers
    }
}

/// The hosted kernel.
pub struct Host<S>(PhantomData<fn() -> S>);

/// A file: bytes in the host's memory.
#[derive(Debug, Clone)]
pub struct HostFile(pub Arc<[u8]>);

impl PartialEq for HostFile {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Object for HostFile {
    fn read(
        &self,
        offset: u64,
        len: usize,
        page: &mut [u8; PAGE_SIZE as usize],
    ) -> Result<(), ReadError> {
        let start = usize::try_from(offset).map_err(|_| ReadError { offset })?;
        let bytes = self.0.get(start..start + len).ok_or(ReadError { offset })?;
        page[..len].copy_from_slice(bytes);
        Ok(())
    }
}

// SAFETY: nothing but the page walk of `mmu` translates through the PGDs. It caches nothing; a CPU that remembers top-level entries does
// so in a `KernelTlb`, which forgets them when they are flushed.
unsafe impl<S: Scheme> Kernel for Host<S> {
    type Arch = S::Arch;
    type Frames = HostFrames;
    type Rcu = HostRcu;
    type Walkers = S::Walkers;
    type Object = HostFile;

    unsafe fn load_pgd(root: Frame) {
        write_cr3(root);
    }

    fn flush_tlb(_mm: &Mm<Self>, _range: Range<u64>) {}

    fn flush_kernel_tlb(_range: KernelRange) {
        tlb::flush_all();
    }
}

impl<S: Scheme> TaskKernel for Host<S> {
    type Parts = ();

    fn tasks(init_mm: &InitMm<Self>) -> &Tasks<Self> {
        S::tasks(init_mm.walkers())
    }

    fn wake_vfork(_child: &Task<Self>) {}

    fn wake_futex(_mm: &Mm<Self>, _addr: u64) {}
}

/// Nothing in a hosted kernel's own parts can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoError {}

impl<S: Scheme> ForkKernel for Host<S> {
    type Creds = ();
    type Files = ();
    type Fs = ();
    type Sighand = ();
    type Signal = ();
    type Thread = ();
    type Error = NoError;

    fn copy_creds(_parent: &Task<Self>, _args: &CloneArgs) -> Result<(), NoError> {
        Ok(())
    }

    fn copy_files(_parent: &Task<Self>, _args: &CloneArgs) -> Result<(), NoError> {
        Ok(())
    }

    fn copy_fs(_parent: &Task<Self>, _args: &CloneArgs) -> Result<(), NoError> {
        Ok(())
    }

    fn copy_sighand(_parent: &Task<Self>, _args: &CloneArgs) -> Result<(), NoError> {
        Ok(())
    }

    fn copy_signal(_parent: &Task<Self>, _args: &CloneArgs) -> Result<(), NoError> {
        Ok(())
    }

    fn copy_thread(_parent: &Task<Self>, _args: &CloneArgs, _pid: Pid) -> Result<(), NoError> {
        Ok(())
    }

    fn assemble((): (), (): (), (): (), (): (), (): (), (): ()) {}

    fn notify_parent(_parent: &Process<Self>, _child: &Process<Self>) {}
}
