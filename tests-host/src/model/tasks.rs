//! The modelled kernel on the product's own task layer: its task list, fork, exec and exit, and both ways in which walks find mms.

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
use kernel_task::mm_list::{Listed, MmList};
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
use mm_generic::walk::Walkers;

use super::frames::{ModelFrames, TINY_SLOT, Tiny};
use super::kernel::Executions;
use super::rcu::ModelRcu;

/// How the walks of a model find mms.
pub trait WalkThrough: Send + Sync + Sized + 'static {
    /// The product's walkers.
    type Walkers: Walkers<TaskModel<Self>>;

    /// Puts them over a task list.
    fn over(tasks: Tasks<TaskModel<Self>>) -> Self::Walkers;

    /// The task list.
    fn tasks(walkers: &Self::Walkers) -> &Tasks<TaskModel<Self>>;
}

/// Walks go through tasks and CPUs.
pub struct ThroughTasks;

impl WalkThrough for ThroughTasks {
    type Walkers = Tasks<TaskModel<Self>>;

    fn over(tasks: Tasks<TaskModel<Self>>) -> Self::Walkers {
        tasks
    }

    fn tasks(walkers: &Self::Walkers) -> &Tasks<TaskModel<Self>> {
        walkers
    }
}

/// Walks go through the list of mms.
pub struct ThroughList;

impl WalkThrough for ThroughList {
    type Walkers = Listed<TaskModel<Self>>;

    fn over(tasks: Tasks<TaskModel<Self>>) -> Self::Walkers {
        Listed::new(tasks, MmList::try_new(1, || 0).expect("heap"))
    }

    fn tasks(walkers: &Self::Walkers) -> &Tasks<TaskModel<Self>> {
        walkers.tasks()
    }
}

/// A kernel on the product's task layer, whose walks go through `W`.
pub struct TaskModel<W>(std::marker::PhantomData<fn() -> W>);

// SAFETY: nothing translates through the PGDs of a model, so there is nothing to load or flush.
unsafe impl<W: WalkThrough> Kernel for TaskModel<W> {
    type Arch = LateInit<Tiny, ModelFrames>;
    type Frames = ModelFrames;
    type Rcu = ModelRcu;
    type Walkers = W::Walkers;
    type Object = NoObject;

    unsafe fn load_pgd(_root: Frame) {}

    fn flush_tlb(_mm: &Mm<Self>, _range: Range<u64>) {}

    fn flush_kernel_tlb(_range: KernelRange) {}
}

impl<W: WalkThrough> TaskKernel for TaskModel<W> {
    type Parts = ();

    fn tasks(init_mm: &InitMm<Self>) -> &Tasks<Self> {
        W::tasks(init_mm.walkers())
    }

    fn wake_vfork(_child: &Task<Self>) {}

    fn wake_futex(_mm: &Mm<Self>, _addr: u64) {}
}

impl<W: WalkThrough> ForkKernel for TaskModel<W> {
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
pub struct TaskWorld<W: WalkThrough> {
    init_mm: *mut InitMm<TaskModel<W>>,
    frames: *mut ModelFrames,
    /// Set when the growth of slot 0 has returned.
    grown: AtomicBool,
}

// SAFETY: the two pointers are shared references in all but name; `TaskWorld` frees what they point
// to when the last `Arc` of it goes.
unsafe impl<W: WalkThrough> Send for TaskWorld<W> {}
// SAFETY: as above.
unsafe impl<W: WalkThrough> Sync for TaskWorld<W> {}

impl<W: WalkThrough> TaskWorld<W> {
    fn new() -> Self {
        ModelRcu::reset(None);
        let frames = Box::into_raw(Box::new(ModelFrames::new(8)));
        // SAFETY: lives until `TaskWorld` is dropped.
        let static_frames: &'static ModelFrames = unsafe { &*frames };
        let slots = Slots::with_empty_reference(Tiny, static_frames).expect("enough frames");
        let tasks = Tasks::new(6, 2).expect("a small task list");
        let init_mm = InitMm::new(LateInit::new(slots), static_frames, W::over(tasks));
        Self { init_mm: Box::into_raw(Box::new(init_mm)), frames, grown: AtomicBool::new(false) }
    }

    /// The kernel's `init_mm`.
    #[must_use]
    pub fn init_mm(&self) -> &'static InitMm<TaskModel<W>> {
        // SAFETY: lives until `TaskWorld` is dropped; the models drop everything of theirs before.
        unsafe { &*self.init_mm }
    }

    /// The task list and the CPUs.
    #[must_use]
    pub fn tasks(&self) -> &'static Tasks<TaskModel<W>> {
        W::tasks(self.init_mm().walkers())
    }

    /// Makes the first process, on CPU 0.
    #[must_use]
    pub fn first(&self) -> TaskRef<TaskModel<W>> {
        let mm = NewMm::new(self.init_mm()).expect("enough frames");
        first_process(self.init_mm(), Some(mm), (), 0).expect("a free pid").into_task()
    }

    /// Makes a kernel thread, on CPU 1.
    #[must_use]
    pub fn kthread(&self) -> TaskRef<TaskModel<W>> {
        first_process(self.init_mm(), None, (), 1).expect("a free pid").into_task()
    }

    /// Forks `parent`.
    #[must_use]
    pub fn fork(&self, parent: &TaskRef<TaskModel<W>>, args: &CloneArgs) -> TaskRef<TaskModel<W>> {
        copy_process(self.init_mm(), parent, args, 0).expect("room enough").into_task()
    }

    /// Switches CPU number `cpu` to `task`, which must have an mm.
    pub fn load(&self, cpu: usize, task: &TaskRef<TaskModel<W>>) {
        let mm = task.mm_to_load().expect("late-initialised").expect("a user task");
        let loaded = self.tasks().loaded(cpu).expect("a CPU");
        // SAFETY: each model drives a CPU from one thread; the task holds the mm.
        unsafe { loaded.switch_mm(mm) };
    }

    /// Execs `task` on CPU number `cpu`; returns the old mm.
    pub fn exec(&self, cpu: usize, task: &TaskRef<TaskModel<W>>) -> Option<MmUser<TaskModel<W>>> {
        let mm = NewMm::new(self.init_mm()).expect("enough frames");
        let loaded = self.tasks().loaded(cpu).expect("a CPU");
        // SAFETY: as in `load`.
        unsafe { exec_mmap(task, loaded, mm) }.expect("a user task with one thread")
    }

    /// Attaches `mm` to `kthread` on CPU number `cpu`.
    pub fn attach(&self, cpu: usize, kthread: &TaskRef<TaskModel<W>>, mm: MmUser<TaskModel<W>>) {
        let loaded = self.tasks().loaded(cpu).expect("a CPU");
        // SAFETY: as in `load`.
        unsafe { kthread_use_mm(kthread, loaded, mm) }.expect("a free kernel thread");
    }

    /// Ends `task`.
    pub fn exit(&self, task: &TaskRef<TaskModel<W>>, reaper: &TaskRef<TaskModel<W>>) {
        exit(self.init_mm(), task, ExitStatus::Exited(0), reaper.process());
    }

    /// Reaps one zombie child of `parent`.
    pub fn reap(&self, parent: &TaskRef<TaskModel<W>>) -> bool {
        reap(self.init_mm(), parent.process(), |_| true).is_some()
    }

    /// Takes CPU number `cpu` to the reference PGD.
    pub fn leave(&self, cpu: usize) {
        let loaded = self.tasks().loaded(cpu).expect("a CPU");
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
        let loaded = self.tasks().loaded(cpu).expect("a CPU");
        let Some(mm) = loaded.get(&rcu) else { return };
        if self.grown.load(Ordering::Acquire) {
            let slots = self.init_mm().arch().slots();
            // SAFETY: `mm` keeps its root alive.
            let entry = unsafe { slots.entry_of(mm.root(), 0) };
            assert_ne!(entry, 0, "the slot was handed out and is missing in an mm");
        }
    }
}

impl<W: WalkThrough> Drop for TaskWorld<W> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let tasks = self.tasks();
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
pub fn explore_tasks<W: WalkThrough>(
    preemptions: usize,
    body: impl Fn(&Arc<TaskWorld<W>>) + Send + Sync + 'static,
) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 100_000;
    let executions = Arc::new(Executions::default());
    let counter = Arc::clone(&executions);
    builder.check(move || {
        counter.begin();
        let world = Arc::new(TaskWorld::<W>::new());
        body(&world);
    });
    println!("{executions} executions");
}
