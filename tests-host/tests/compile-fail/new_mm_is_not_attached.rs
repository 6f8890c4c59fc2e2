//! An mm that no task ever had cannot be given to a kernel thread behind the back of its publication.
use kernel_task::attach::kthread_use_mm;
use kernel_task::kernel::TaskKernel;
use kernel_task::task::Task;
use mm_generic::loaded::LoadedMm;
use mm_generic::publish::NewMm;

unsafe fn attach<K: TaskKernel>(kthread: &Task<K>, cpu: &LoadedMm<K>, mm: NewMm<K>) {
    let _ = unsafe { kthread_use_mm(kthread, cpu, mm) };
}

fn main() {}
