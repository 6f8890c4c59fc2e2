//! What tasks and CPUs do.

use arch_x86::geometry::Geometry;
use kernel_exec::exec_mmap::{ExecMmapError, exec_mmap};
use kernel_fork::args::CloneArgs;
use kernel_fork::copy_process::{RunnableTask, copy_process};
use kernel_fork::error::ForkError;
use kernel_fork::exit::{self, Reaped};
use kernel_sync::Rcu;
use kernel_task::attach::{AttachError, kthread_use_mm};
use kernel_task::pid::Pid;
use kernel_task::process::ExitStatus;
use mm_generic::kernel::Kernel;
use mm_generic::loaded::LoadedMm;
use mm_generic::mm::MmUser;
use mm_generic::publish::NewMm;

use super::super::kernel::{Refused, TestKernel};
use super::{OK, Task, World};

impl<G: Geometry> World<G> {
    pub(crate) fn loaded(&self, cpu: usize) -> &'static LoadedMm<TestKernel<G>> {
        self.tasks().loaded(cpu).expect("a CPU of this kernel")
    }

    /// Switches CPU number `cpu` to `task`, which has an mm.
    pub(crate) fn load(&self, cpu: usize, task: &Task<G>) {
        let mm = task.mm_to_load().expect("late-initialised").expect("a task with an mm");
        // SAFETY: the thread is the CPU, and the task holds the mm.
        unsafe { self.loaded(cpu).switch_mm(mm) };
    }

    /// Moves CPU number `cpu` to the reference PGD.
    pub(crate) fn leave(&self, cpu: usize) {
        // SAFETY: the thread is the CPU.
        unsafe { self.loaded(cpu).leave_mm(self.init_mm) };
    }

    /// The mm of a task that has one.
    ///
    /// A method, because the compiler cannot infer a kernel from its tasks alone.
    pub(crate) fn mm_of(&self, task: &Task<G>) -> MmUser<TestKernel<G>> {
        task.mm().expect("a task with an mm")
    }

    /// Gives `task`, which runs on CPU 1, the address space `mm`, and returns the old one.
    pub(crate) fn exec(
        &self,
        task: &Task<G>,
        mm: NewMm<TestKernel<G>>,
    ) -> Result<Option<MmUser<TestKernel<G>>>, ExecMmapError> {
        // SAFETY: the calling thread plays CPU 1.
        unsafe { exec_mmap(task, self.loaded(1), mm) }
    }

    /// Attaches `mm` to a kernel thread that runs on CPU 1.
    pub(crate) fn use_mm(
        &self,
        thread: &Task<G>,
        mm: MmUser<TestKernel<G>>,
    ) -> Result<(), AttachError> {
        // SAFETY: the calling thread plays CPU 1.
        unsafe { kthread_use_mm(thread, self.loaded(1), mm) }
    }

    pub(crate) fn try_fork(
        &self,
        parent: &Task<G>,
        args: &CloneArgs,
    ) -> Result<Task<G>, ForkError<Refused>> {
        copy_process(self.init_mm, parent, args, 0).map(RunnableTask::into_task)
    }

    pub(crate) fn fork(&self, parent: &Task<G>, args: &CloneArgs) -> Task<G> {
        self.try_fork(parent, args).expect("room enough")
    }

    /// Ends `task`; its children go to init.
    pub(crate) fn exit(&self, task: &Task<G>, status: ExitStatus) {
        exit::exit(self.init_mm, task, status, self.init().process());
    }

    /// Takes any zombie child of `parent`.
    pub(crate) fn reap(&self, parent: &Task<G>) -> Option<Reaped> {
        exit::reap(self.init_mm, parent.process(), |_| true)
    }

    /// Ends a process of one thread and takes it off the task list.
    pub(crate) fn end_child(&self, parent: &Task<G>, child: &Task<G>) {
        self.exit(child, OK);
        let reaped =
            exit::reap(self.init_mm, parent.process(), |zombie| zombie.pid() == child.pid());
        assert!(reaped.is_some(), "{} is a zombie child of {}", child.pid(), parent.pid());
    }

    /// Tells whether walkers find a task under `pid`.
    pub(crate) fn is_listed(&self, pid: Pid) -> bool {
        let rcu = <TestKernel<G> as Kernel>::Rcu::read_lock();
        self.tasks().pids().get(pid, &rcu).is_some()
    }
}
