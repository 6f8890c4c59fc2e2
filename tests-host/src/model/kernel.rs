//! The modelled kernel, and how a model is explored.

use std::ops::Range;
use std::sync::Arc;

use arch_x86::slots::Slots;
use kernel_sync::Mutex;
use kernel_sync::atomic::{AtomicBool, Ordering};
use mm_generic::arch::ArchPgd;
use mm_generic::frames::Frame;
use mm_generic::init_mm::InitMm;
use mm_generic::kernel::{Kernel, RcuGuard};
use mm_generic::kernel_range::KernelRange;
use mm_generic::loaded::LoadedMm;
use mm_generic::mm::{Mm, MmUser};
use mm_generic::object::NoObject;
use mm_generic::publish::{PublicationPoint, SharedMm, publish_again};
use mm_generic::reference::Stamp;
use mm_generic::walk::Walkers;
use mutants::{Mutant, MutantArch, MutantWalk};

use super::frames::{ModelFrames, TINY_SLOT, Tiny};
use super::rcu::ModelRcu;

/// An architecture that a model can be explored with: the product's own, or a mutant of it.
pub trait ModelArch: ArchPgd {
    /// Puts the architecture over an empty reference PGD.
    fn over(slots: Slots<Tiny, ModelFrames>, mutant: Option<Mutant>) -> Self;

    /// The slots.
    fn slots(&self) -> &Slots<Tiny, ModelFrames>;
}

#[cfg(feature = "pgd-init-late")]
impl ModelArch for arch_x86::late::LateInit<Tiny, ModelFrames> {
    fn over(slots: Slots<Tiny, ModelFrames>, mutant: Option<Mutant>) -> Self {
        assert_eq!(mutant, None, "the product has no mutants in it");
        Self::new(slots)
    }

    fn slots(&self) -> &Slots<Tiny, ModelFrames> {
        self.slots()
    }
}

impl ModelArch for arch_x86::locked::Locked<Tiny, ModelFrames> {
    fn over(slots: Slots<Tiny, ModelFrames>, mutant: Option<Mutant>) -> Self {
        assert_eq!(mutant, None, "the product has no mutants in it");
        Self::new(slots)
    }

    fn slots(&self) -> &Slots<Tiny, ModelFrames> {
        self.slots()
    }
}

impl ModelArch for MutantArch<Tiny, ModelFrames> {
    fn over(slots: Slots<Tiny, ModelFrames>, mutant: Option<Mutant>) -> Self {
        Self::new(slots, mutant)
    }

    fn slots(&self) -> &Slots<Tiny, ModelFrames> {
        self.slots()
    }
}

/// The kernel under exploration.
pub struct Model<A>(std::marker::PhantomData<fn() -> A>);

// SAFETY: nothing translates through the PGDs of a model, so there is nothing to load or flush.
unsafe impl<A: ModelArch> Kernel for Model<A> {
    type Arch = A;
    type Frames = ModelFrames;
    type Rcu = ModelRcu;
    type Walkers = MutantWalk<ModelTasks<A>>;
    type Object = NoObject;

    unsafe fn load_pgd(_root: Frame) {}

    fn flush_tlb(_mm: &Mm<Self>, _range: Range<u64>) {}

    fn flush_kernel_tlb(_range: KernelRange) {}
}

/// One place of the task list, and the task in it.
pub struct ModelTask<A: ModelArch> {
    listed: AtomicBool,
    mm: Mutex<Option<MmUser<Model<A>>>>,
}

/// The tasks and CPUs of the model.
pub struct ModelTasks<A: ModelArch> {
    /// Two places of the task list.
    pub tasks: [ModelTask<A>; 2],
    /// What two CPUs have loaded.
    pub cpus: [LoadedMm<Model<A>>; 2],
}

// SAFETY: as for the product's own `Tasks`, whose shape this is: list, task lock, CPUs.
unsafe impl<A: ModelArch> Walkers<Model<A>> for ModelTasks<A> {
    type Place = ();

    fn place(&'static self) -> Result<(), kernel_sync::OutOfHeap> {
        Ok(())
    }

    fn for_each_published(&self, _rcu: &RcuGuard<Model<A>>, visit: &mut dyn FnMut(&Mm<Model<A>>)) {
        for task in &self.tasks {
            if task.listed.load(Ordering::Acquire)
                && let Some(mm) = &*task.mm.lock()
            {
                visit(mm);
            }
        }
    }

    fn for_each_loaded(&self, rcu: &RcuGuard<Model<A>>, visit: &mut dyn FnMut(&Mm<Model<A>>)) {
        for cpu in &self.cpus {
            if let Some(mm) = cpu.get(rcu) {
                visit(mm);
            }
        }
    }
}

impl<A: ModelArch> ModelTask<A> {
    fn new() -> Self {
        Self { listed: AtomicBool::new(false), mm: Mutex::new(None) }
    }

    /// A share in the task's mm.
    ///
    /// # Panics
    ///
    /// When the task has none.
    pub fn mm(&self) -> MmUser<Model<A>> {
        self.mm.lock().clone().expect("a task with an mm")
    }

    /// Lets the mm go, as exit does.
    pub fn take_mm(&self) -> Option<MmUser<Model<A>>> {
        self.mm.lock().take()
    }
}

/// Publication as fork does it: the mm first, then the place on the list.
pub(super) struct Fork<'a, A: ModelArch>(&'a ModelTask<A>);

// SAFETY: a release store puts the task, with its mm, where `ModelTasks` looks.
unsafe impl<A: ModelArch> PublicationPoint<Model<A>> for Fork<'_, A> {
    type Published = ();

    fn publish(self, mm: MmUser<Model<A>>) {
        *self.0.mm.lock() = Some(mm);
        self.0.listed.store(true, Ordering::Release);
    }
}

/// Publication as exec does it: a listed task gets another mm.
pub(super) struct Exec<'a, A: ModelArch>(&'a ModelTask<A>);

// SAFETY: stored under the task lock, which `ModelTasks` takes for each listed task.
unsafe impl<A: ModelArch> PublicationPoint<Model<A>> for Exec<'_, A> {
    type Published = Option<MmUser<Model<A>>>;

    fn publish(self, mm: MmUser<Model<A>>) -> Option<MmUser<Model<A>>> {
        self.0.mm.lock().replace(mm)
    }
}

/// One execution's kernel.
pub struct World<A: ModelArch> {
    init_mm: *mut InitMm<Model<A>>,
    frames: *mut ModelFrames,
    /// Set when the growth of a slot has returned.
    pub grown: [AtomicBool; 2],
}

// SAFETY: the two pointers are shared references in all but name; `World` frees what they point to
// when the last `Arc` of it goes.
unsafe impl<A: ModelArch> Send for World<A> {}
// SAFETY: as above.
unsafe impl<A: ModelArch> Sync for World<A> {}

impl<A: ModelArch> World<A> {
    fn new(mutant: Option<Mutant>) -> Self {
        ModelRcu::reset(mutant);
        let frames = Box::into_raw(Box::new(ModelFrames::new(8)));
        // SAFETY: lives until `World` is dropped.
        let slots = Slots::with_empty_reference(Tiny, unsafe { &*frames }).expect("enough frames");
        let tasks = ModelTasks {
            tasks: [ModelTask::new(), ModelTask::new()],
            cpus: [LoadedMm::new(), LoadedMm::new()],
        };
        // SAFETY: lives until `World` is dropped.
        let static_frames: &'static ModelFrames = unsafe { &*frames };
        let init_mm =
            InitMm::new(A::over(slots, mutant), static_frames, MutantWalk::new(tasks, mutant));
        Self {
            init_mm: Box::into_raw(Box::new(init_mm)),
            frames,
            grown: [AtomicBool::new(false), AtomicBool::new(false)],
        }
    }

    /// The kernel's `init_mm`.
    #[must_use]
    pub fn init_mm(&self) -> &'static InitMm<Model<A>> {
        // SAFETY: lives until `World` is dropped; the models drop everything of theirs before.
        unsafe { &*self.init_mm }
    }

    /// Task number `task`.
    #[must_use]
    pub fn task(&self, task: usize) -> &'static ModelTask<A> {
        &self.init_mm().walkers().right().tasks[task]
    }

    /// What CPU number `cpu` has loaded.
    #[must_use]
    pub fn cpu(&self, cpu: usize) -> &'static LoadedMm<Model<A>> {
        &self.init_mm().walkers().right().cpus[cpu]
    }

    /// Makes an mm and publishes it as fork does.
    pub fn fork(&self, task: usize) -> mm_generic::publish::ReadyMm<Model<A>> {
        let mm = mm_generic::publish::NewMm::new(self.init_mm()).expect("enough frames");
        mm.publish(Fork(self.task(task))).0.init_late()
    }

    /// Makes an mm and gives it to a listed task as exec does; returns the old one.
    pub fn exec(
        &self,
        task: usize,
    ) -> (mm_generic::publish::ReadyMm<Model<A>>, Option<MmUser<Model<A>>>) {
        let mm = mm_generic::publish::NewMm::new(self.init_mm()).expect("enough frames");
        let (published, old) = mm.publish(Exec(self.task(task)));
        (published.init_late(), old)
    }

    /// Lists task number `task` without mm: a kernel thread.
    pub fn list(&self, task: usize) {
        self.task(task).listed.store(true, Ordering::Release);
    }

    /// Attaches `mm` to a listed task, as `kthread_use_mm` does.
    pub fn attach(
        &self,
        task: usize,
        mm: MmUser<Model<A>>,
    ) -> mm_generic::publish::ReadyMm<Model<A>> {
        let mm = SharedMm::of(mm).expect("its late init has ended");
        publish_again(mm, Exec(self.task(task))).0.init_late()
    }

    /// Publishes `mm` through one more task, as a fork with `CLONE_VM` does.
    pub fn fork_shared(
        &self,
        task: usize,
        mm: MmUser<Model<A>>,
    ) -> mm_generic::publish::ReadyMm<Model<A>> {
        let mm = SharedMm::of(mm).expect("its late init has ended");
        publish_again(mm, Fork(self.task(task))).0.init_late()
    }

    /// Loads `mm` on a CPU.
    pub fn load(&self, cpu: usize, mm: mm_generic::publish::ReadyMm<Model<A>>) {
        // SAFETY: each model drives a CPU from one thread; tasks hold what is loaded.
        unsafe { self.cpu(cpu).switch_mm(mm) };
    }

    /// Grows the kernel by slot number `slot`, and says so.
    pub fn grow(&self, slot: usize) {
        let start = self.init_mm().arch().kernel_half().first + slot as u64 * TINY_SLOT;
        let range = self.init_mm().grow(start, TINY_SLOT).expect("a slot of the kernel half");
        assert_eq!(range.start(), start);
        self.grown[slot].store(true, Ordering::Release);
    }

    /// Uses the addresses of every slot whose growth has returned, through what a CPU has loaded.
    pub fn touch(&self, cpu: usize) {
        let rcu = <ModelRcu as kernel_sync::Rcu>::read_lock();
        let Some(mm) = self.cpu(cpu).get(&rcu) else { return };
        for slot in 0..2 {
            if self.grown[slot].load(Ordering::Acquire) {
                self.check_slot(mm, slot);
            }
        }
    }

    /// Checks that `mm` holds what the reference holds in every slot whose growth has returned.
    pub fn check(&self, mm: &Mm<Model<A>>) {
        for slot in 0..2 {
            if self.grown[slot].load(Ordering::Acquire) {
                self.check_slot(mm, slot);
            }
        }
    }

    fn check_slot(&self, mm: &Mm<Model<A>>, slot: usize) {
        let slots = self.init_mm().arch().slots();
        // SAFETY: `mm` keeps its root alive.
        let entry = unsafe { slots.entry_of(mm.root(), slot) };
        assert_ne!(entry, 0, "slot {slot} was handed out and is missing in an mm");
        assert_eq!(entry, slots.reference().entry(slot), "slot {slot} differs from the reference");
    }

    /// The reference's generation.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        self.init_mm().arch().slots().reference().stamp()
    }
}

impl<A: ModelArch> Drop for World<A> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        for task in 0..2 {
            drop(self.task(task).take_mm());
        }
        for cpu in 0..2 {
            // SAFETY: the threads of the model are gone.
            unsafe { self.cpu(cpu).leave_mm(self.init_mm()) };
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

/// Explores a model in all interleavings up to `preemptions` preemptive switches (`None`: all of them).
///
/// `body` gets a fresh kernel in each; it joins the threads it spawns.
pub fn explore<A: ModelArch>(
    preemptions: Option<usize>,
    mutant: Option<Mutant>,
    body: impl Fn(&Arc<World<A>>) + Send + Sync + 'static,
) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    builder.max_branches = 100_000;
    let executions = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = Arc::clone(&executions);
    builder.check(move || {
        counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let world = Arc::new(World::<A>::new(mutant));
        body(&world);
    });
    println!("{} executions", executions.load(std::sync::atomic::Ordering::Relaxed));
}
