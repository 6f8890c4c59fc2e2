//! The modelled kernel, and how a model is explored.

use std::ops::Range;
use std::sync::Arc;

use arch_x86::slots::Slots;
use kernel_sync::Mutex;
use kernel_sync::atomic::{AtomicBool, Ordering};
use mm_generic::frames::{Frame, PAGE_SIZE};
use mm_generic::growth::SyncedRange;
use mm_generic::init_mm::InitMm;
use mm_generic::kernel::{Kernel, RcuGuard};
use mm_generic::kernel_range::KernelRange;
use mm_generic::loaded::LoadedMm;
use mm_generic::mm::{Mm, MmUser};
use mm_generic::object::NoObject;
use mm_generic::prot::Prot;
use mm_generic::publish::{PublicationPoint, SharedMm, publish_again};
use mm_generic::replacement::{ReplaceError, Replacement};
use mm_generic::walk::Walkers;
use mutants::{Mutant, MutantWalk};

use super::arch::ModelArch;
use super::frames::{ModelFrames, TINY_SLOT, Tiny};
use super::mmu::Mmu;
use super::rcu::ModelRcu;
use super::sight::Sight;

/// The kernel under exploration.
pub struct Model<A>(std::marker::PhantomData<fn() -> A>);

// SAFETY: what translates through the PGDs of a model is `Mmu`; `World` tells it what is loaded.
unsafe impl<A: ModelArch> Kernel for Model<A> {
    type Arch = A;
    type Frames = ModelFrames;
    type Rcu = ModelRcu;
    type Walkers = MutantWalk<ModelTasks<A>>;
    type Object = NoObject;

    unsafe fn load_pgd(root: Frame) {
        Mmu::load(root);
    }

    fn flush_tlb(_mm: &Mm<Self>, _range: Range<u64>) {}

    fn flush_kernel_tlb(range: KernelRange) {
        Mmu::flush(range);
    }
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

    /// A share in the task's mm, if it has one.
    pub fn try_mm(&self) -> Option<MmUser<Model<A>>> {
        self.mm.lock().clone()
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
    mmu: Arc<Mmu>,
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
        let frames = Box::into_raw(Box::new(ModelFrames::new(12)));
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
            mmu: Mmu::reset(mutant),
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

    /// As [`World::fork`], with `meanwhile` between the making of the mm and its publication.
    pub fn fork_around(
        &self,
        task: usize,
        meanwhile: impl FnOnce(),
    ) -> mm_generic::publish::ReadyMm<Model<A>> {
        let mm = mm_generic::publish::NewMm::new(self.init_mm()).expect("enough frames");
        meanwhile();
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
        Mmu::run_on(cpu);
        // SAFETY: each model drives a CPU from one thread; tasks hold what is loaded.
        unsafe { self.cpu(cpu).switch_mm(mm) };
    }

    /// Takes a CPU to the reference PGD.
    pub fn leave(&self, cpu: usize) {
        Mmu::run_on(cpu);
        // SAFETY: as in `load`.
        unsafe { self.cpu(cpu).leave_mm(self.init_mm()) };
    }

    /// Grows the kernel by the first page of slot number `slot`, checks what every CPU shows there, and says so.
    pub fn grow(&self, slot: usize) -> SyncedRange {
        self.grow_page(slot, 0)
    }

    /// As [`World::grow`], by page number `page` of the slot.
    pub fn grow_page(&self, slot: usize, page: u64) -> SyncedRange {
        let first = self.init_mm().arch().kernel_half().first;
        let start = first + slot as u64 * TINY_SLOT + page * PAGE_SIZE;
        let range = self.init_mm().grow(start, PAGE_SIZE).expect("a page of the kernel half");
        self.verify(slot);
        self.grown[slot].store(true, Ordering::Release);
        range
    }

    /// Maps all pages of slot number `slot` such that its table can become a large page.
    pub fn map_all(&self, slot: usize, range: &SyncedRange) {
        let pages = (0..TINY_SLOT / PAGE_SIZE).map(|page| page * PAGE_SIZE);
        for offset in pages {
            let frame = Frame::at((slot as u64 + 8) * TINY_SLOT + offset).expect("aligned");
            let addr = range.start() + offset;
            self.init_mm().map_kernel(range, addr, frame, Prot::READ).expect("nothing there");
        }
    }

    /// Grows the kernel by the whole of slot number `slot`.
    pub fn grow_whole(&self, slot: usize) -> SyncedRange {
        let start = self.init_mm().arch().kernel_half().first + slot as u64 * TINY_SLOT;
        let range = self.init_mm().grow(start, TINY_SLOT).expect("a slot of the kernel half");
        self.grown[slot].store(true, Ordering::Release);
        range
    }

    /// Gives `range` of slot number `slot` back, and checks that no CPU shows the entry that went with it, if one did.
    pub fn reclaim(&self, slot: usize, range: SyncedRange) {
        self.grown[slot].store(false, Ordering::Release);
        let old = self.sight().reference(slot);
        // SAFETY: nobody uses the addresses of a range that is not `grown`.
        unsafe { self.init_mm().reclaim(range, |_, _| {}) }.expect("heap enough");
        if let Some(old) = old {
            self.sight().verify_gone(slot, old);
        }
    }

    /// Gives back a `range` that is not the only one in slot number `slot`; the entry may stay.
    pub fn reclaim_share(&self, slot: usize, range: SyncedRange) {
        self.grown[slot].store(false, Ordering::Release);
        // SAFETY: as in `reclaim`.
        unsafe { self.init_mm().reclaim(range, |_, _| {}) }.expect("heap enough");
    }

    /// Replaces the entry of slot number `slot`, and checks that no CPU shows the former one.
    ///
    /// # Errors
    ///
    /// As [`InitMm::replace`].
    pub fn replace(
        &self,
        slot: usize,
        range: &mut SyncedRange,
        how: Replacement,
    ) -> Result<(), ReplaceError> {
        let old = self.sight().reference(slot).expect("the range has a share in it");
        let start = range.start();
        self.init_mm().replace(range, start, how)?;
        self.sight().verify_gone(slot, old);
        Ok(())
    }

    /// As [`Sight::touch`].
    pub fn touch(&self, cpu: usize) {
        self.sight().touch(cpu, &self.grown);
    }

    /// As [`Sight::glance`].
    pub fn glance(&self, cpu: usize) {
        self.sight().glance(cpu);
    }

    /// As [`Sight::verify`].
    pub fn verify(&self, slot: usize) {
        self.sight().verify(slot);
    }

    /// As [`Sight::verify_all`].
    pub fn verify_all(&self) {
        self.sight().verify_all();
    }

    fn sight(&self) -> Sight<'_, A> {
        // SAFETY: lives until `World` is dropped.
        let frames = unsafe { &*self.frames };
        Sight { arch: self.init_mm().arch(), frames, mmu: &self.mmu }
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
            self.leave(cpu);
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

/// Explores a model in all interleavings up to `preemptions` preemptive switches (`None`: all of them).
///
/// `body` gets a fresh kernel in each; it joins the threads it spawns.
pub fn explore<A: ModelArch>(
    preemptions: Option<usize>,
    mutant: Option<Mutant>,
    body: impl Fn(&Arc<World<A>>) + Send + Sync + 'static,
) {
    kernel_sync::explore(preemptions, move || {
        let world = Arc::new(World::<A>::new(mutant));
        body(&world);
    });
}
