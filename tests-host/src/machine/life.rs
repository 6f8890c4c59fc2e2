//! What tasks and CPUs do on a machine: fork, exec, exit, switch, attach.

use arch_x86::geometry::Geometry;
use kernel_exec::exec_mmap::{ExecMmapError, exec_mmap};
use kernel_fork::args::CloneArgs;
use kernel_fork::copy_process::{copy_process, first_process};
use kernel_fork::exit::{exit, reap};
use kernel_task::attach::{kthread_unuse_mm, kthread_use_mm};
use kernel_task::process::ExitStatus;
use kernel_task::task::TaskRef;
use mm_generic::arch::ArchPgd;
use mm_generic::frames::PAGE_SIZE;
use mm_generic::init_mm::InitMm;
use mm_generic::loaded::LoadedMm;
use mm_generic::mm::MmUser;
use mm_generic::prot::Prot;
use mm_generic::publish::NewMm;
use mm_generic::vma::{Backing, Vma, VmaFlags};

use super::scheme::{MachineKernel, PgdScheme};
use super::{DATA, DATA_PAGES, Machine};

/// Makes an address space with one mapping and one page.
pub(super) fn program<A: ArchPgd>(
    init_mm: &'static InitMm<MachineKernel<A>>,
) -> NewMm<MachineKernel<A>> {
    let mm = NewMm::new(init_mm).expect("frames enough");
    let range = DATA..DATA + DATA_PAGES * PAGE_SIZE;
    let rights = Prot::READ | Prot::WRITE;
    let vma = Vma::new(range, rights, VmaFlags::empty(), Backing::Anonymous).expect("whole pages");
    let mut user = mm.user();
    user.mmap(vma).expect("an empty user half");
    user.write_bytes(mm.mm(), DATA, b"\x01").expect("frames enough");
    drop(user);
    mm
}

impl<G: Geometry, A: PgdScheme<G>> Machine<G, A> {
    /// Makes a child of `parent`, which runs on CPU 0.
    ///
    /// # Panics
    ///
    /// When the machine is full.
    pub fn clone_of(
        &self,
        parent: &TaskRef<MachineKernel<A>>,
        args: &CloneArgs,
    ) -> TaskRef<MachineKernel<A>> {
        copy_process(self.init_mm(), parent, args, 0).expect("room enough").into_task()
    }

    /// Forks the first process.
    pub fn fork(&self) -> TaskRef<MachineKernel<A>> {
        self.clone_of(&self.init, &CloneArgs::FORK)
    }

    /// Makes a kernel thread.
    ///
    /// # Panics
    ///
    /// When the machine is full.
    pub fn kthread(&self) -> TaskRef<MachineKernel<A>> {
        first_process(self.init_mm(), None, (), 0).expect("room enough").into_task()
    }

    /// Gives `task`, which runs on CPU number `cpu`, a new program.
    ///
    /// # Panics
    ///
    /// When the task cannot exec, or the machine is full.
    pub fn exec(&self, cpu: usize, task: &TaskRef<MachineKernel<A>>) {
        self.try_exec(cpu, task).expect("a user task with one thread");
    }

    /// Gives `task`, which runs on CPU number `cpu`, a new program, if it may have one.
    ///
    /// # Errors
    ///
    /// As [`exec_mmap`].
    ///
    /// # Panics
    ///
    /// When the machine is full.
    pub fn try_exec(
        &self,
        cpu: usize,
        task: &TaskRef<MachineKernel<A>>,
    ) -> Result<(), ExecMmapError> {
        let mm = program(self.init_mm());
        // SAFETY: one thread plays the CPU at a time, and it runs nothing else meanwhile.
        unsafe { exec_mmap(task, self.loaded(cpu), mm) }.map(drop)
    }

    /// Ends `task`, and reaps whatever zombie there is.
    pub fn exit(&self, task: &TaskRef<MachineKernel<A>>) {
        let parent = task.process().parent();
        exit(self.init_mm(), task, ExitStatus::Exited(0), self.init.process());
        for parent in parent.iter().chain([self.init.process()]) {
            while reap(self.init_mm(), parent, |_| true).is_some() {}
        }
    }

    /// An address space that has neither a task nor a CPU: its only holder is a driver.
    ///
    /// # Panics
    ///
    /// Never: a child that was just forked has an mm.
    pub fn orphan(&self) -> MmUser<MachineKernel<A>> {
        let child = self.fork();
        let mm = child.mm().expect("a user task");
        self.exit(&child);
        mm
    }

    /// What CPU number `cpu` has loaded.
    ///
    /// # Panics
    ///
    /// When there is no such CPU.
    pub fn loaded(&self, cpu: usize) -> &'static LoadedMm<MachineKernel<A>> {
        self.tasks().loaded(cpu).expect("a CPU of this machine")
    }

    /// Switches CPU number `cpu` to a user task.
    ///
    /// # Panics
    ///
    /// When the task has no mm, or one that is not ready.
    pub fn switch(&self, cpu: usize, task: &TaskRef<MachineKernel<A>>) {
        let mm = task.mm_to_load().expect("late-initialised").expect("a user task");
        // SAFETY: one thread plays the CPU at a time; the task holds the mm.
        unsafe { self.loaded(cpu).switch_mm(mm) };
    }

    /// Switches CPU number `cpu` to the reference PGD.
    pub fn leave(&self, cpu: usize) {
        // SAFETY: one thread plays the CPU at a time.
        unsafe { self.loaded(cpu).leave_mm(self.init_mm()) };
    }

    /// Makes `kthread`, which runs on CPU number `cpu`, work in `mm`.
    ///
    /// # Panics
    ///
    /// When `kthread` is no kernel thread or works in an mm already.
    pub fn attach(
        &self,
        cpu: usize,
        kthread: &TaskRef<MachineKernel<A>>,
        mm: MmUser<MachineKernel<A>>,
    ) {
        // SAFETY: one thread plays the CPU at a time.
        unsafe { kthread_use_mm(kthread, self.loaded(cpu), mm) }.expect("a free kernel thread");
    }

    /// Ends what [`Machine::attach`] began.
    ///
    /// # Panics
    ///
    /// When `kthread` works in no mm.
    pub fn detach(&self, kthread: &TaskRef<MachineKernel<A>>) -> MmUser<MachineKernel<A>> {
        kthread_unuse_mm(kthread).expect("attached before")
    }
}
