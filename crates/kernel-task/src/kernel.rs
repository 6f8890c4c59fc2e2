//! What the task layer asks of a kernel beyond mm-generic.

use mm_generic::init_mm::InitMm;
use mm_generic::kernel::Kernel;
use mm_generic::mm::Mm;

use crate::task::Task;
use crate::tasks::Tasks;

/// A kernel that uses this task layer.
pub trait TaskKernel: Kernel {
    /// What the kernel adds to a task: registers, files, signal handlers, credentials.
    type Parts: Send + Sync + 'static;

    /// The kernel's tasks. As a rule they are its walkers: `init_mm.walkers()`.
    fn tasks(init_mm: &InitMm<Self>) -> &Tasks<Self>;

    /// Wakes whoever waits for `child` to let its mm go (`CLONE_VFORK`); [`Task::has_released_mm`] is true by now.
    fn wake_vfork(child: &Task<Self>);

    /// Wakes one waiter of the futex at user address `addr` of `mm` (`CLONE_CHILD_CLEARTID`).
    fn wake_futex(mm: &Mm<Self>, addr: u64);
}
