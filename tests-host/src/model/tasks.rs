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
use kernel_task::attach::{kthread_unuse_mm, kthread_use_mm};
use kernel_task::kernel::TaskKernel;
use kernel_task::mm_list::{Listed, MmList};
use kernel_task::pid::Pid;
use kernel_task::process::{ExitStatus, Process};
use kernel_task::task::{Task, TaskRef};
use kernel_task::tasks::Tasks;
use mm_generic::frames::{Frame, PAGE_SIZE};
use mm_generic::growth::SyncedRange;
use mm_generic::init_mm::InitMm;
use mm_generic::kernel::Kernel;
use mm_generic::kernel_range::KernelRange;
use mm_generic::loaded::LoadedMm;
use mm_generic::mm::{Mm, MmUser};
use mm_generic::object::NoObject;
use mm_generic::publish::NewMm;
use mm_generic::replacement::Replacement;
use mm_generic::walk::Walkers;
use mutants::{Mutant, MutantWalk};

use super::arch::ModelArch;
use super::frames::{ModelFrames, Tiny};
use super::mmu::Mmu;
use super::rcu::ModelRcu;
use super::sight::Sight;

/// The product's scheme, over the tiny geometry.
pub type Product = LateInit<Tiny, ModelFrames>;

/// How the walks of a model find mms.
pub trait WalkThrough: Send + Sync + Sized + 'static {
    /// The product's walkers.
    type Walkers<A: ModelArch>: Walkers<TaskModel<Self, A>>;

    /// Puts them over a task list.
    fn over<A: ModelArch>(tasks: Tasks<TaskModel<Self, A>>) -> Self::Walkers<A>;

    /// The task list.
    fn tasks<A: ModelArch>(walkers: &Self::Walkers<A>) -> &Tasks<TaskModel<Self, A>>;
}

/// Walks go through tasks and CPUs.
pub struct ThroughTasks;

impl WalkThrough for ThroughTasks {
    type Walkers<A: ModelArch> = Tasks<TaskModel<Self, A>>;

    fn over<A: ModelArch>(tasks: Tasks<TaskModel<Self, A>>) -> Self::Walkers<A> {
        tasks
    }

    fn tasks<A: ModelArch>(walkers: &Self::Walkers<A>) -> &Tasks<TaskModel<Self, A>> {
        walkers
    }
}

/// Walks go through the list of mms.
pub struct ThroughList;

impl WalkThrough for ThroughList {
    type Walkers<A: ModelArch> = Listed<TaskModel<Self, A>>;

    fn over<A: ModelArch>(tasks: Tasks<TaskModel<Self, A>>) -> Self::Walkers<A> {
        Listed::new(tasks, MmList::try_new(1, || 0).expect("heap"))
    }

    fn tasks<A: ModelArch>(walkers: &Self::Walkers<A>) -> &Tasks<TaskModel<Self, A>> {
        walkers.tasks()
    }
}

/// A kernel on the product's task layer, whose walks go through `W` and whose PGDs are `A`'s.
pub struct TaskModel<W, A = Product>(std::marker::PhantomData<fn() -> (W, A)>);

// SAFETY: what translates through the PGDs of a model is `Mmu`, which is told what is loaded and what is to be forgotten.
unsafe impl<W: WalkThrough, A: ModelArch> Kernel for TaskModel<W, A> {
    type Arch = A;
    type Frames = ModelFrames;
    type Rcu = ModelRcu;
    type Walkers = MutantWalk<W::Walkers<A>>;
    type Object = NoObject;

    unsafe fn load_pgd(root: Frame) {
        Mmu::load(root);
    }

    fn flush_tlb(_mm: &Mm<Self>, _range: Range<u64>) {}

    fn flush_kernel_tlb(range: KernelRange) {
        Mmu::flush(range);
    }
}

impl<W: WalkThrough, A: ModelArch> TaskKernel for TaskModel<W, A> {
    type Parts = ();

    fn tasks(init_mm: &InitMm<Self>) -> &Tasks<Self> {
        W::tasks(init_mm.walkers().right())
    }

    fn wake_vfork(_child: &Task<Self>) {}

    fn wake_futex(_mm: &Mm<Self>, _addr: u64) {}
}

impl<W: WalkThrough, A: ModelArch> ForkKernel for TaskModel<W, A> {
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

    fn notify_parent(_: &Process<Self>, _: &Process<Self>) {}
}

/// One execution's kernel: an init process and two CPUs.
pub struct TaskWorld<W: WalkThrough, A: ModelArch = Product> {
    init_mm: *mut InitMm<TaskModel<W, A>>,
    frames: *mut ModelFrames,
    mmu: Arc<Mmu>,
    /// Set when the growth of a slot has returned.
    grown: [AtomicBool; 2],
}

/// A task of a model.
type TaskOf<W, A> = TaskRef<TaskModel<W, A>>;

// SAFETY: the two pointers are shared references in all but name; `TaskWorld` frees what they point
// to when the last `Arc` of it goes.
unsafe impl<W: WalkThrough, A: ModelArch> Send for TaskWorld<W, A> {}
// SAFETY: as above.
unsafe impl<W: WalkThrough, A: ModelArch> Sync for TaskWorld<W, A> {}

impl<W: WalkThrough, A: ModelArch> TaskWorld<W, A> {
    fn new(mutant: Option<Mutant>) -> Self {
        ModelRcu::reset(mutant);
        let frames = Box::into_raw(Box::new(ModelFrames::new(12)));
        // SAFETY: lives until `TaskWorld` is dropped.
        let static_frames: &'static ModelFrames = unsafe { &*frames };
        let slots = Slots::with_empty_reference(Tiny, static_frames).expect("enough frames");
        let tasks = Tasks::new(6, 2).expect("a small task list");
        let walkers = MutantWalk::new(W::over(tasks), mutant);
        let init_mm = InitMm::new(A::over(slots, mutant), static_frames, walkers);
        Self {
            init_mm: Box::into_raw(Box::new(init_mm)),
            frames,
            mmu: Mmu::reset(mutant),
            grown: [AtomicBool::new(false), AtomicBool::new(false)],
        }
    }

    /// The kernel's `init_mm`.
    #[must_use]
    pub fn init_mm(&self) -> &'static InitMm<TaskModel<W, A>> {
        // SAFETY: lives until `TaskWorld` is dropped; the models drop everything of theirs before.
        unsafe { &*self.init_mm }
    }

    /// The task list and the CPUs.
    #[must_use]
    pub fn tasks(&self) -> &'static Tasks<TaskModel<W, A>> {
        TaskModel::tasks(self.init_mm())
    }

    /// Makes the first process, on CPU 0.
    #[must_use]
    pub fn first(&self) -> TaskOf<W, A> {
        let mm = NewMm::new(self.init_mm()).expect("enough frames");
        first_process(self.init_mm(), Some(mm), (), 0).expect("a free pid").into_task()
    }

    /// Makes a kernel thread, on CPU 1.
    #[must_use]
    pub fn kthread(&self) -> TaskOf<W, A> {
        first_process(self.init_mm(), None, (), 1).expect("a free pid").into_task()
    }

    /// Forks `parent`.
    #[must_use]
    pub fn fork(&self, parent: &TaskOf<W, A>, args: &CloneArgs) -> TaskOf<W, A> {
        copy_process(self.init_mm(), parent, args, 0).expect("room enough").into_task()
    }

    /// Switches CPU number `cpu` to `task`, which must have an mm.
    pub fn load(&self, cpu: usize, task: &TaskOf<W, A>) {
        let mm = task.mm_to_load().expect("late-initialised").expect("a user task");
        // SAFETY: each model drives a CPU from one thread; the task holds the mm.
        unsafe { self.loaded(cpu).switch_mm(mm) };
    }

    /// Execs `task` on CPU number `cpu`; returns the old mm.
    pub fn exec(&self, cpu: usize, task: &TaskOf<W, A>) -> Option<MmUser<TaskModel<W, A>>> {
        let mm = NewMm::new(self.init_mm()).expect("enough frames");
        // SAFETY: as in `load`.
        unsafe { exec_mmap(task, self.loaded(cpu), mm) }.expect("a user task with one thread")
    }

    /// Attaches `mm` to `kthread` on CPU number `cpu`.
    pub fn attach(&self, cpu: usize, kthread: &TaskOf<W, A>, mm: MmUser<TaskModel<W, A>>) {
        // SAFETY: as in `load`.
        unsafe { kthread_use_mm(kthread, self.loaded(cpu), mm) }.expect("a free kernel thread");
    }

    /// Detaches the mm of `kthread`; its CPU goes on with it, lazily.
    pub fn detach(&self, kthread: &TaskOf<W, A>) {
        drop(kthread_unuse_mm(kthread).expect("a kernel thread with an mm"));
    }

    /// Ends `task`.
    pub fn exit(&self, task: &TaskOf<W, A>, reaper: &TaskOf<W, A>) {
        exit(self.init_mm(), task, ExitStatus::Exited(0), reaper.process());
    }

    /// Reaps one zombie child of `parent`.
    pub fn reap(&self, parent: &TaskOf<W, A>) -> bool {
        reap(self.init_mm(), parent.process(), |_| true).is_some()
    }

    /// Takes CPU number `cpu` to the reference PGD.
    pub fn leave(&self, cpu: usize) {
        // SAFETY: as in `load`.
        unsafe { self.loaded(cpu).leave_mm(self.init_mm()) };
    }

    /// What CPU number `cpu` has loaded, for code that runs on it from here on.
    fn loaded(&self, cpu: usize) -> &'static LoadedMm<TaskModel<W, A>> {
        Mmu::run_on(cpu);
        self.tasks().loaded(cpu).expect("a CPU")
    }

    /// Grows the kernel by the first page of slot 0, checks what every CPU shows there, and says so.
    pub fn grow(&self) -> SyncedRange {
        self.grow_page(0)
    }

    /// As [`TaskWorld::grow`], by page number `page` of the slot.
    pub fn grow_page(&self, page: u64) -> SyncedRange {
        let start = self.init_mm().arch().kernel_half().first + page * PAGE_SIZE;
        let range = self.init_mm().grow(start, PAGE_SIZE).expect("a page of the kernel half");
        self.sight().verify(0);
        self.grown[0].store(true, Ordering::Release);
        range
    }

    /// Gives `range` of slot 0 back, and checks that no CPU shows the entry that went with it.
    pub fn reclaim(&self, range: SyncedRange) {
        self.grown[0].store(false, Ordering::Release);
        let old = self.sight().reference(0);
        // SAFETY: nobody uses the addresses of a range that is not `grown`.
        unsafe { self.init_mm().reclaim(range, |_, _| {}) }.expect("heap enough");
        if let Some(old) = old {
            self.sight().verify_gone(0, old);
        }
    }

    /// Moves the table of slot 0, of which `range` is the only one, and checks that no CPU shows the former one.
    pub fn replace(&self, range: &mut SyncedRange) {
        let old = self.sight().reference(0).expect("the range has a share in it");
        let start = range.start();
        self.init_mm().replace(range, start, Replacement::Move).expect("the sole owner");
        self.sight().verify_gone(0, old);
    }

    /// Uses slot 0 on CPU number `cpu`, if its growth has returned; and translates it, as a CPU may at any time.
    pub fn touch(&self, cpu: usize) {
        self.sight().touch(cpu, &self.grown);
    }

    /// Translates an address of each slot on CPU number `cpu`, as speculation may at any time.
    pub fn glance(&self, cpu: usize) {
        self.sight().glance(cpu);
    }

    /// Asserts that every CPU shows what the reference holds, after everything else has ended.
    pub fn verify_all(&self) {
        self.sight().verify_all();
    }

    fn sight(&self) -> Sight<'_, A> {
        // SAFETY: lives until `TaskWorld` is dropped.
        let frames = unsafe { &*self.frames };
        Sight { arch: self.init_mm().arch(), frames, mmu: &self.mmu }
    }
}

impl<W: WalkThrough, A: ModelArch> Drop for TaskWorld<W, A> {
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
        let tables = self.sight().tables();
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
pub fn explore_tasks<W: WalkThrough, A: ModelArch>(
    preemptions: usize,
    mutant: Option<Mutant>,
    body: impl Fn(&Arc<TaskWorld<W, A>>) + Send + Sync + 'static,
) {
    kernel_sync::explore(Some(preemptions), move || {
        let world = Arc::new(TaskWorld::<W, A>::new(mutant));
        body(&world);
    });
}
