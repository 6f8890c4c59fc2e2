//! The task that a publication returns is no runnable task: a run queue that takes `RunnableTask` cannot get it before the late init.
use kernel_fork::copy_process::RunnableTask;
use kernel_task::insert::Insertion;
use kernel_task::kernel::TaskKernel;
use mm_generic::publish::NewMm;

fn wake_too_early<K: TaskKernel>(
    run_queue: fn(RunnableTask<K>),
    insertion: Insertion<'_, K>,
    mm: NewMm<K>,
) {
    let (published, task) = mm.publish(insertion);
    run_queue(task);
    published.init_late();
}

fn main() {}
