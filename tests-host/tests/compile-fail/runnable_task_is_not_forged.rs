//! A `RunnableTask` comes from `copy_process` and `first_process`, which have called the hook.
use kernel_fork::copy_process::RunnableTask;
use kernel_task::kernel::TaskKernel;
use kernel_task::task::TaskRef;

fn forge<K: TaskKernel>(task: TaskRef<K>) -> RunnableTask<K> {
    RunnableTask(task)
}

fn main() {}
