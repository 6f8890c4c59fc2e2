//! The modelled kernel on the product's own task layer: its task list, fork, exec and exit.

use std::ops::Range;
use std::sync::Arc;

use arch_x86::late::LateInit;
use arch_x86::slots::Slots;
use kernel_exec::exec_mmap::exec_mmap;
use kernel_fork::args::CloneArgs;
use kernel_fork::copy_process::{copy_process, first_process};
use kernel_fork::exit::{exit, reap};
use kernel_fork::parts::ForkKernel;
use kernel_sync::Rcu;
use kernel_sync::atomic::{AtomicBool, Ordering};
use kernel_task::attach::kthread_use_mm;
use kernel_task::kernel::TaskKernel;
use kernel_task::pid::Pid;
use kernel_task::process::{ExitStatus, Process};
use kernel_task::task::{Task, TaskRef};
use kernel_task::tasks::Tasks;
use mm_generic::arch::ArchPgd;
use mm_generic::frames::Frame;
use mm_generic::init_mm::InitMm;
use mm_generic::kernel::Kernel;
use mm_generic::kernel_range::KernelRange;
use mm_generic::mm::{Mm, MmUser};
use mm_generic::object::NoObject;
use mm_generic::publish::NewMm;

use super::frames::{ModelFrames, TINY_SLOT, Tiny};
use super::kernel::Executions;
use super::rcu::ModelRcu;

/// A kernel whose walkers are the product's `Tasks`.
pub struct TaskModel;

// SAFETY: nothing translates through the PGDs of a model, so there is nothing to load or flush.
unsafe impl Kernel for TaskModel {
    type Arch = LateInit<Tiny, ModelFrames>;
    type Frames = ModelFrames;
    type Rcu = ModelRcu;
    type Walkers = Tasks<Self>;
    type Object = NoObject;

    unsafe fn load_pgd(_root: Frame) {}

    fn flush_tlb(_mm: &Mm<Self>, _range: Range<u64>) {}

    fn flush_kernel_tlb(_range: KernelRange) {}
}

impl TaskKernel for TaskModel {
    type Parts = ();

    fn tasks(init_mm: &InitMm<Self>) -> &Tasks<Self> {
        init_mm.walkers()
    }

    fn wake_vfork(_child: &Task<Self>) {}

    fn wake_futex(_mm: &Mm<Self>, _addr: u64) {}
}

impl ForkKernel for TaskModel {
    type Creds = ();
    type Files = ();
    type Fs = ();
    type Sighand = ();
    type Signal = ();
    type Thread = ();
    type Error = std::convert::Infallible;

    fn copy_creds(_: &Task<Self>, _: &CloneArgs) -> Result<(), Self::Error> {
        Ok(())
    }

    fn copy_files(_: &Task<Self>, _: &CloneArgs) -> Result<(), Self::Error> {
        Ok(())
    }

    fn copy_fs(_: &Task<Self>, _: &CloneArgs) -> Result<(), Self::Error> {
        Ok(())
    }

    fn copy_sighand(_: &Task<Self>, _: &CloneArgs) -> Result<(), Self::Error> {
        Ok(())
    }

    fn copy_signal(_: &Task<Self>, _: &CloneArgs) -> Result<(), Self::Error> {
        Ok(())
    }

    fn copy_thread(_: &Task<Self>, _: &CloneArgs, _: Pid) -> Result<(), Self::Error> {
        Ok(())
    }

    fn assemble((): (), (): (), (): (), (): (), (): (), (): ()) {}

    fn notify_parent(_: &Process<Self>, _: &Process<Self>) -> bool {
        false
    }
}

/// One execution's kernel: an init process and two CPUs.
pub struct TaskWorld {
    init_mm: *mut InitMm<TaskModel>,
    frames: *mut ModelFrames,
    /// Set when the growth of slot 0 has returned.
    grown: AtomicBool,
}

// SAFETY: the two pointers are shared references in all but name; `TaskWorld` frees what they point
// to when the last `Arc` of it goes.
unsafe impl Send for TaskWorld {}
// SAFETY: as above.
unsafe impl Sync for TaskWorld {}

impl TaskWorld {
    fn new() -> Self {
        ModelRcu::reset(None);
        let frames = Box::into_raw(Box::new(ModelFrames::new(8)));
        // SAFETY: lives until `TaskWorld` is dropped.
        let static_frames: &'static ModelFrames = unsafe { &*frames };
        let slots = Slots::with_empty_reference(Tiny, static_frames).expect("enough frames");
        let tasks = Tasks::new(6, 2).expect("a small task list");
        let init_mm = InitMm::new(LateInit::new(slots), static_frames, tasks);
        Self { init_mm: Box::into_raw(Box::new(init_mm)), frames, grown: AtomicBool::new(false) }
    }

    /// The kernel's `init_mm`.
    #[must_use]
    pub fn init_mm(&self) -> &'static InitMm<TaskModel> {
        // SAFETY: lives until `TaskWorld` is dropped; the models drop everything of theirs before.
        unsafe { &*self.init_mm }
    }

    /// Makes the first process, on CPU 0.
    #[must_use]
    pub fn first(&self) -> TaskRef<TaskModel> {
        let mm = NewMm::new(self.init_mm()).expect("enough frames");
        first_process(self.init_mm(), Some(mm), (), 0).expect("a free pid").into_task()
    }

    /// Makes a kernel thread, on CPU 1.
    #[must_use]
    pub fn kthread(&self) -> TaskRef<TaskModel> {
        first_process(self.init_mm(), None, (), 1).expect("a free pid").into_task()
    }

    /// Forks `parent`.
    #[must_use]
    pub fn fork(&self, parent: &TaskRef<TaskModel>, args: &CloneArgs) -> TaskRef<TaskModel> {
        copy_process(self.init_mm(), parent, args, 0).expect("room enough").into_task()
    }

    /// Switches CPU number `cpu` to `task`, which must have an mm.
    pub fn load(&self, cpu: usize, task: &TaskRef<TaskModel>) {
        let mm = task.mm_to_load().expect("late-initialised").expect("a user task");
        let loaded = self.init_mm().walkers().loaded(cpu).expect("a CPU");
        // SAFETY: each model drives a CPU from one thread; the task holds the mm.
        unsafe { loaded.switch_mm(mm) };
    }

    /// Execs `task` on CPU number `cpu`; returns the old mm.
    pub fn exec(&self, cpu: usize, task: &TaskRef<TaskModel>) -> Option<MmUser<TaskModel>> {
        let mm = NewMm::new(self.init_mm()).expect("enough frames");
        let loaded = self.init_mm().walkers().loaded(cpu).expect("a CPU");
        // SAFETY: as in `load`.
        unsafe { exec_mmap(task, loaded, mm) }.expect("a user task with one thread")
    }

    /// Attaches `mm` to `kthread` on CPU number `cpu`.
    pub fn attach(&self, cpu: usize, kthread: &TaskRef<TaskModel>, mm: MmUser<TaskModel>) {
        let loaded = self.init_mm().walkers().loaded(cpu).expect("a CPU");
        // SAFETY: as in `load`.
        unsafe { kthread_use_mm(kthread, loaded, mm) }.expect("a free kernel thread");
    }

    /// Ends `task`.
    pub fn exit(&self, task: &TaskRef<TaskModel>, reaper: &TaskRef<TaskModel>) {
        exit(self.init_mm(), task, ExitStatus::Exited(0), reaper.process());
    }

    /// Reaps one zombie child of `parent`.
    pub fn reap(&self, parent: &TaskRef<TaskModel>) -> bool {
        reap(self.init_mm(), parent.process(), |_| true).is_some()
    }

    /// Takes CPU number `cpu` to the reference PGD.
    pub fn leave(&self, cpu: usize) {
        let loaded = self.init_mm().walkers().loaded(cpu).expect("a CPU");
        // SAFETY: as in `load`.
        unsafe { loaded.leave_mm(self.init_mm()) };
    }

    /// Grows the kernel by slot 0, and says so.
    pub fn grow(&self) {
        let start = self.init_mm().arch().kernel_half().first;
        let range = self.init_mm().grow(start, TINY_SLOT).expect("a slot of the kernel half");
        assert_eq!(range.start(), start);
        self.grown.store(true, Ordering::Release);
    }

    /// Uses slot 0 through what CPU number `cpu` has loaded, if its growth has returned.
    pub fn touch(&self, cpu: usize) {
        let rcu = ModelRcu::read_lock();
        let loaded = self.init_mm().walkers().loaded(cpu).expect("a CPU");
        let Some(mm) = loaded.get(&rcu) else { return };
        if self.grown.load(Ordering::Acquire) {
            let slots = self.init_mm().arch().slots();
            // SAFETY: `mm` keeps its root alive.
            let entry = unsafe { slots.entry_of(mm.root(), 0) };
            assert_ne!(entry, 0, "the slot was handed out and is missing in an mm");
        }
    }
}

impl Drop for TaskWorld {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let tasks = self.init_mm().walkers();
        for cpu in 0..tasks.cpus() {
            self.leave(cpu);
        }
        let mut left = Vec::new();
        let rcu = ModelRcu::read_lock();
        tasks.pids().for_each(&rcu, &mut |task| {
            left.extend(tasks.pids().get_ref(task.pid(), &rcu));
        });
        drop(rcu);
        for task in left {
            drop(task.take_mm());
            task.process().sever();
            tasks.pids().remove(task.pid()).expect("on the list");
        }
        let tables = self.init_mm().arch().slots().reference().populated();
        // SAFETY: made by `Box::into_raw`; every mm, which referred to it, is gone.
        drop(unsafe { Box::from_raw(self.init_mm) });
        // SAFETY: made by `Box::into_raw`; `init_mm`, which referred to it, is gone.
        let frames = unsafe { Box::from_raw(self.frames) };
        assert_eq!(
            frames.live(),
            1 + tables,
            "the reference's root and tables are all that is left"
        );
    }
}

/// Explores a model on the product's task layer; as [`super::explore`].
pub fn explore_tasks(preemptions: usize, body: impl Fn(&Arc<TaskWorld>) + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 100_000;
    let executions = Arc::new(Executions::default());
    let counter = Arc::clone(&executions);
    builder.check(move || {
        counter.begin();
        let world = Arc::new(TaskWorld::new());
        body(&world);
    });
    println!("{executions} executions");
}
