//! The smallest kernel that `copy_process` can fork a task of.

use core::marker::PhantomData;
use core::ops::Range;

use kernel_fork::args::CloneArgs;
use kernel_fork::parts::ForkKernel;
use kernel_task::kernel::TaskKernel;
use kernel_task::pid::Pid;
use kernel_task::process::Process;
use kernel_task::task::Task;
use kernel_task::tasks::Tasks;
use mm_generic::arch::ArchPgd;
use mm_generic::frames::Frame;
use mm_generic::init_mm::InitMm;
use mm_generic::kernel::Kernel;
use mm_generic::kernel_range::KernelRange;
use mm_generic::mm::Mm;
use mm_generic::object::NoObject;

use crate::outside::{self, OutsideFrames, OutsideRcu};

/// A kernel of architecture `A` that adds nothing to a task.
pub struct Minimal<A>(PhantomData<fn() -> A>);

// SAFETY: nothing of this crate is run.
unsafe impl<A: ArchPgd> Kernel for Minimal<A> {
    type Arch = A;
    type Frames = OutsideFrames;
    type Rcu = OutsideRcu;
    type Walkers = Tasks<Self>;
    type Object = NoObject;

    unsafe fn load_pgd(root: Frame) {
        outside::kernel_load_root(root);
    }

    fn flush_tlb(mm: &Mm<Self>, range: Range<u64>) {
        outside::kernel_flush_tlb(mm.root(), range);
    }

    fn flush_kernel_tlb(range: KernelRange) {
        outside::kernel_flush_kernel_tlb(range);
    }
}

impl<A: ArchPgd> TaskKernel for Minimal<A> {
    type Parts = ();

    fn tasks(init_mm: &InitMm<Self>) -> &Tasks<Self> {
        init_mm.walkers()
    }

    fn wake_vfork(child: &Task<Self>) {
        outside::kernel_wake(child.pid().get().into());
    }

    fn wake_futex(_mm: &Mm<Self>, addr: u64) {
        outside::kernel_wake(addr);
    }
}

/// The error of a kernel whose parts of a task cannot fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutOfParts {}

impl<A: ArchPgd> ForkKernel for Minimal<A> {
    type Creds = ();
    type Files = ();
    type Fs = ();
    type Sighand = ();
    type Signal = ();
    type Thread = ();
    type Error = OutOfParts;

    fn copy_creds(_parent: &Task<Self>, _args: &CloneArgs) -> Result<(), OutOfParts> {
        Ok(())
    }

    fn copy_files(_parent: &Task<Self>, _args: &CloneArgs) -> Result<(), OutOfParts> {
        Ok(())
    }

    fn copy_fs(_parent: &Task<Self>, _args: &CloneArgs) -> Result<(), OutOfParts> {
        Ok(())
    }

    fn copy_sighand(_parent: &Task<Self>, _args: &CloneArgs) -> Result<(), OutOfParts> {
        Ok(())
    }

    fn copy_signal(_parent: &Task<Self>, _args: &CloneArgs) -> Result<(), OutOfParts> {
        Ok(())
    }

    fn copy_thread(_parent: &Task<Self>, _args: &CloneArgs, _pid: Pid) -> Result<(), OutOfParts> {
        Ok(())
    }

    fn assemble((): (), (): (), (): (), (): (), (): (), (): ()) {}

    fn notify_parent(_parent: &Process<Self>, _child: &Process<Self>) {}
}
