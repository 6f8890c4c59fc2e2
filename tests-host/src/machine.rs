//! A hosted kernel that one thread drives, whichever of its CPUs a step happens on.
//!
//! The kernel is the product's: `Tasks`, `copy_process`, `exec_mmap`, `exit`, growth, and one of x86's
//! schemes on one of its geometries. What is asked about its PGDs is asked of the hosted MMU and of the words in
//! the frames.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use arch_x86::geometry::Geometry;
#[cfg(feature = "pgd-init-late")]
use arch_x86::late::LateInit;
use arch_x86::locked::Locked;
use arch_x86::slots::Slots;
use hosted::cpu::{HostCpu, HostRcu};
use hosted::frames::HostFrames;
use hosted::kernel::{Host, Scheme};
use hosted::mmu::{Access, PageFault, translate};
use hosted::world::{Leftovers, World};
use kernel_exec::exec_mmap::{ExecMmapError, exec_mmap};
use kernel_fork::args::CloneArgs;
use kernel_fork::copy_process::{copy_process, first_process};
use kernel_fork::exit::{exit, reap};
use kernel_sync::Rcu;
use kernel_task::attach::{kthread_unuse_mm, kthread_use_mm};
use kernel_task::process::ExitStatus;
use kernel_task::task::TaskRef;
use kernel_task::tasks::Tasks;
use mm_generic::arch::ArchPgd;
use mm_generic::frames::{Frame, Frames, PAGE_SIZE};
use mm_generic::growth::{GrowError, SyncedRange};
use mm_generic::init_mm::InitMm;
use mm_generic::loaded::LoadedMm;
use mm_generic::mm::MmUser;
use mm_generic::prot::Prot;
use mm_generic::publish::NewMm;
use mm_generic::reference::ReferencePgd;
use mm_generic::vma::{Backing, Vma, VmaFlags};
use mm_generic::walk::Walkers;

use crate::interlude::{Interposed, InterposedWalk};
use crate::shape::Shape;

/// CPUs of a machine.
pub const CPUS: usize = 4;

/// First user address of the one mapping that each program has.
pub const DATA: u64 = 0x10_0000;

/// Pages of that mapping. A new program has written to the first.
pub const DATA_PAGES: u64 = 4;

/// One above the largest pid of a machine: few enough that a test can use a pid twice.
pub const PID_MAX: u32 = 64;

/// An x86 scheme that a machine can be made with.
pub trait PgdScheme<G: Geometry>: ArchPgd {
    /// Growths walk tasks and CPUs; otherwise, `pgd_list`.
    const WALKS: bool;

    /// Puts the scheme over `slots`.
    fn over(slots: Slots<G, HostFrames>) -> Self;

    /// The slots and the reference PGD.
    fn slots(&self) -> &Slots<G, HostFrames>;
}

impl<G: Geometry> PgdScheme<G> for Locked<G, HostFrames> {
    const WALKS: bool = false;

    fn over(slots: Slots<G, HostFrames>) -> Self {
        Self::new(slots)
    }

    fn slots(&self) -> &Slots<G, HostFrames> {
        self.slots()
    }
}

#[cfg(feature = "pgd-init-late")]
impl<G: Geometry> PgdScheme<G> for LateInit<G, HostFrames> {
    const WALKS: bool = true;

    fn over(slots: Slots<G, HostFrames>) -> Self {
        Self::new(slots)
    }

    fn slots(&self) -> &Slots<G, HostFrames> {
        self.slots()
    }
}

/// The locked scheme of a machine.
pub type LockedPgds<G> = Locked<G, HostFrames>;

/// The lockless scheme of a machine.
#[cfg(feature = "pgd-init-late")]
pub type LatePgds<G> = LateInit<G, HostFrames>;

/// The hosted kernel's scheme: the architecture `A` and the right walk, with the points of [`crate::interlude`].
pub struct Staged<A>(PhantomData<fn() -> A>);

impl<A: ArchPgd> Scheme for Staged<A> {
    type Arch = Interposed<A>;
    type Walkers = InterposedWalk<Tasks<Host<Self>>>;

    fn tasks(walkers: &Self::Walkers) -> &Tasks<Host<Self>> {
        walkers.inner()
    }
}

/// The kernel of a machine.
pub type MachineKernel<A> = Host<Staged<A>>;

/// A page that a growth has mapped: every address space must show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grown {
    /// Index of its slot.
    pub slot: usize,
    /// Its address.
    pub addr: u64,
    /// What it shows.
    pub frame: Frame,
}

thread_local! {
    /// The CPU that this thread is from the boot of a machine on.
    static BOOT_CPU: RefCell<Option<Rc<HostCpu>>> = const { RefCell::new(None) };
}

/// A machine that can be booted, any number of times, in the same frames.
pub struct Boot<G, A> {
    geometry: G,
    shape: Shape,
    frames: &'static HostFrames,
    private: Vec<usize>,
    scheme: PhantomData<fn() -> A>,
}

/// A running machine.
pub struct Machine<G: Geometry, A: PgdScheme<G>> {
    world: World<Staged<A>>,
    shape: Shape,
    init: TaskRef<MachineKernel<A>>,
    grown: Mutex<Vec<Grown>>,
    /// Page within a slot that no growth has used in any.
    next_page: AtomicU64,
    geometry: PhantomData<fn() -> G>,
}

impl<G: Geometry, A: PgdScheme<G>> Boot<G, A> {
    /// A machine of `geometry`, which `shape` describes.
    pub fn new(geometry: G, shape: Shape) -> Self {
        let frames = HostFrames::new(2048).checked().leak();
        Self { geometry, shape, frames, private: Vec::new(), scheme: PhantomData }
    }

    /// The same machine, where each mm keeps `slots` for itself.
    #[must_use]
    pub fn with_private(&self, slots: &[usize]) -> Self {
        Self { private: slots.to_vec(), ..*self }
    }

    /// The same machine in other frames.
    #[must_use]
    pub fn again(&self) -> Self {
        Self { private: self.private.clone(), ..Self::new(self.geometry, self.shape) }
    }

    /// The frames that its kernels run in.
    #[must_use]
    pub fn frames(&self) -> &'static HostFrames {
        self.frames
    }

    /// The geometry.
    #[must_use]
    pub fn geometry(&self) -> G {
        self.geometry
    }

    /// What the machine's geometry looks like.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Boots the machine with this thread as one of its CPUs, runs `test`, and shuts it down.
    ///
    /// # Panics
    ///
    /// When an mm lacks a page of a finished growth in the end, when frames are leaked or were
    /// written after they had been freed, and when `test` panics.
    pub fn run(&self, test: impl FnOnce(&Machine<G, A>)) {
        let frames = self.frames;
        let frames_before = frames.allocated();
        let root = Slots::with_empty_reference(self.geometry, frames)
            .expect("a frame for the root")
            .root();
        let slots = Slots::adopt(self.geometry, frames, root, self.private.clone())
            .expect("an empty reference, and private slots that exist");
        let tasks = Tasks::new(PID_MAX, CPUS).expect("memory for a small task list");
        let arch = Interposed::new(A::over(slots));
        let world: World<Staged<A>> =
            World::boot(frames, frames_before, arch, InterposedWalk::new(tasks));
        let cpu = Rc::new(world.cpu_online());
        let outer = BOOT_CPU.replace(Some(Rc::clone(&cpu)));
        let mm = program(world.init_mm());
        let init =
            first_process(world.init_mm(), Some(mm), (), 0).expect("room enough").into_task();
        let machine = Machine {
            world,
            shape: self.shape,
            init,
            grown: Mutex::default(),
            next_page: AtomicU64::new(0),
            geometry: PhantomData,
        };
        let tested = catch_unwind(AssertUnwindSafe(|| {
            test(&machine);
            machine.assert_complete();
        }));
        BOOT_CPU.set(outer);
        if let Err(panic) = tested {
            // Its kernel is in no state to be shut down; a panic on the way would hide this one.
            std::mem::forget((machine, cpu));
            resume_unwind(panic);
        }
        let Machine { world, init, .. } = machine;
        drop(init);
        drop::<Rc<HostCpu>>(cpu);
        // SAFETY: the machine's only lasting CPU has gone offline, threads of tests are scoped, and a
        // test has no place to keep references in.
        let left = unsafe { world.shut_down(self.shape.kind) };
        assert_eq!(left, Leftovers { leaked_frames: 0, pending_callbacks: 0 });
        frames.check_free_frames().expect("freed frames stay zero");
    }
}

/// Lets the epochs go by that a task's last reference takes, and then the one of an mm that the task held.
fn flush(cpu: &HostCpu) {
    for _ in 0..16 {
        cpu.rcu().flush();
    }
}

/// Makes an address space with one mapping and one page.
fn program<A: ArchPgd>(init_mm: &'static InitMm<MachineKernel<A>>) -> NewMm<MachineKernel<A>> {
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
    /// What the geometry looks like.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The frames.
    pub fn frames(&self) -> &'static HostFrames {
        self.world.frames()
    }

    /// The kernel's `init_mm`.
    pub fn init_mm(&self) -> &'static InitMm<MachineKernel<A>> {
        self.world.init_mm()
    }

    /// The tasks.
    pub fn tasks(&self) -> &'static Tasks<MachineKernel<A>> {
        self.world.tasks()
    }

    /// The architecture's slots.
    pub fn slots(&self) -> &'static Slots<G, HostFrames> {
        self.init_mm().arch().inner().slots()
    }

    /// The reference PGD.
    pub fn reference(&self) -> &'static ReferencePgd<G::Word> {
        self.slots().reference()
    }

    /// The first process; orphans go to it.
    pub fn init(&self) -> &TaskRef<MachineKernel<A>> {
        &self.init
    }

    /// Makes the calling thread one more CPU.
    pub fn cpu_online(&self) -> HostCpu {
        self.world.cpu_online()
    }

    /// Runs `body` on another CPU, which then frees all that no read-side section can find any more.
    ///
    /// With a section open on this CPU, that is nothing that the section could have found.
    pub fn on_another_cpu(&self, body: impl FnOnce()) {
        let other = self.cpu_online();
        body();
        flush(&other);
    }

    /// Frees what has been let go. Not in a read-side section.
    pub fn rcu_barrier(&self) {
        BOOT_CPU.with_borrow(|cpu| cpu.as_deref().into_iter().for_each(flush));
    }

    // What tasks do.

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

    // What CPUs do.

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

    // What growths do.

    /// Grows the kernel by a page that is new in each of `slots`, in one range, and maps a frame at each of these pages.
    ///
    /// # Panics
    ///
    /// When the machine is full.
    pub fn grow(&self, slots: Range<usize>) -> Vec<Grown> {
        let page = self.next_page.fetch_add(1, Ordering::Relaxed);
        let range = self.try_grow_page(slots.clone(), page).expect("slots of the kernel half");
        let mapped: Vec<_> = slots
            .map(|slot| {
                let addr = self.shape.addr(slot) + page * PAGE_SIZE;
                let frame = self.frames().alloc().expect("frames enough");
                self.init_mm()
                    .map_kernel(&range, addr, frame, Prot::READ | Prot::WRITE)
                    .expect("a page that nothing is mapped at");
                Grown { slot, addr, frame }
            })
            .collect();
        self.lock_grown().extend(&mapped);
        mapped
    }

    /// Grows the kernel by `slots` and maps nothing.
    ///
    /// # Errors
    ///
    /// As [`InitMm::grow`].
    pub fn try_grow(&self, slots: Range<usize>) -> Result<SyncedRange, GrowError> {
        self.try_grow_page(slots, 0)
    }

    fn try_grow_page(&self, slots: Range<usize>, page: u64) -> Result<SyncedRange, GrowError> {
        let start = self.shape.addr(slots.start) + page * PAGE_SIZE;
        let spans = (slots.len() as u64).saturating_sub(1);
        self.init_mm().grow(start, spans * self.shape.span + PAGE_SIZE)
    }

    /// Pages of all finished growths.
    pub fn grown(&self) -> Vec<Grown> {
        self.lock_grown().clone()
    }

    /// Forgets a page that a test has taken out of the kernel half.
    pub fn forget(&self, addr: u64) {
        self.lock_grown().retain(|grown| grown.addr != addr);
    }

    fn lock_grown(&self) -> MutexGuard<'_, Vec<Grown>> {
        self.grown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // What is asked about PGDs.

    /// What a load at `addr` finds through the PGD at `root`, in kernel mode.
    ///
    /// # Errors
    ///
    /// The page fault that it raises.
    pub fn translate(&self, root: Frame, addr: u64) -> Result<u64, PageFault> {
        translate(self.frames(), self.shape.kind, root.phys(), addr, Access::KERNEL_READ)
    }

    /// The words of the slots of the PGD at `root`.
    pub fn slots_of(&self, root: Frame) -> Vec<u64> {
        self.shape.slots_of(self.frames(), root)
    }

    /// The words of the reference's slots.
    pub fn reference_slots(&self) -> Vec<u64> {
        self.slots_of(self.init_mm().arch().reference_root())
    }

    /// The words of the user half of the top-level table at `root`.
    pub fn user_of(&self, root: Frame) -> Vec<u64> {
        self.shape.user_of(self.frames(), root)
    }

    /// The root that CPU number `cpu` has loaded, unless it is the reference's.
    pub fn loaded_root(&self, cpu: usize) -> Option<Frame> {
        let rcu = HostRcu::read_lock();
        self.loaded(cpu).get(&rcu).map(mm_generic::mm::Mm::root)
    }

    /// Roots of all mms that a task has or a CPU has loaded.
    pub fn roots(&self) -> Vec<Frame> {
        let rcu = HostRcu::read_lock();
        let mut roots = Vec::new();
        self.tasks().for_each_published(&rcu, &mut |mm| roots.push(mm.root()));
        self.tasks().for_each_loaded(&rcu, &mut |mm| roots.push(mm.root()));
        roots
    }

    /// Asserts that the PGD at `root` shows the pages of every finished growth.
    ///
    /// # Panics
    ///
    /// When it does not.
    pub fn assert_shows_everything(&self, root: Frame) {
        for Grown { slot, addr, frame } in self.grown() {
            assert_eq!(
                self.translate(root, addr),
                Ok(frame.phys()),
                "slot {slot} in the PGD at {:#x}",
                root.phys()
            );
        }
    }

    /// Asserts that every mm that a task has or a CPU has loaded, and the reference, shows the pages of every finished
    /// growth.
    ///
    /// # Panics
    ///
    /// When one does not.
    pub fn assert_complete(&self) {
        for root in self.roots().into_iter().chain([self.init_mm().arch().reference_root()]) {
            self.assert_shows_everything(root);
        }
    }
}

/// Makes a test of each function named, for each geometry and each scheme.
///
/// The function takes a running [`Machine`], or, behind `boots`, a [`Boot`] to run as many as it likes. Behind `late`,
/// only the lockless scheme runs it.
#[macro_export]
macro_rules! on_every_machine {
    ($($test:ident),* $(,)?) => {
        $($crate::on_every_machine! { @test $test, (run): locked, late })*
    };
    (late: $($test:ident),* $(,)?) => {
        $($crate::on_every_machine! { @test $test, (run): late })*
    };
    (boots: $($test:ident),* $(,)?) => {
        $($crate::on_every_machine! { @test $test, (boot): locked, late })*
    };
    (late boots: $($test:ident),* $(,)?) => {
        $($crate::on_every_machine! { @test $test, (boot): late })*
    };
    (@test $test:ident, $how:tt: $($scheme:ident),*) => {
        mod $test {
            $($crate::on_every_machine! { @$scheme $test, $how })*
        }
    };
    (@locked $test:ident, $how:tt) => {
        mod locked {
            $crate::on_every_machine! { @scheme $test, LockedPgds, $how }
        }
    };
    (@late $test:ident, $how:tt) => {
        #[cfg(feature = "pgd-init-late")]
        mod late {
            $crate::on_every_machine! { @scheme $test, LatePgds, $how }
        }
    };
    (@scheme $test:ident, $scheme:ident, $how:tt) => {
        use arch_x86::geometry::{LongMode, PaePrivate, PaeShared, TwoLevel};
        use super::super::$test as test;
        use $crate::machine::{$scheme as Pgds, Boot};
        use $crate::shape::Shape;
        $crate::on_every_machine! { @geometry $how: two_level, TwoLevel, TwoLevel, TWO_LEVEL }
        $crate::on_every_machine! { @geometry $how: pae_shared, PaeShared, PaeShared, PAE_SHARED }
        $crate::on_every_machine! { @geometry $how: pae_private, PaePrivate, PaePrivate, PAE_PRIVATE }
        $crate::on_every_machine! { @geometry $how: four_level, LongMode, LongMode::FOUR_LEVEL, FOUR_LEVEL }
        $crate::on_every_machine! { @geometry $how: five_level, LongMode, LongMode::FIVE_LEVEL, FIVE_LEVEL }
    };
    (@geometry (run): $name:ident, $type:ty, $value:expr, $shape:ident) => {
        #[test]
        fn $name() {
            Boot::<$type, Pgds<$type>>::new($value, Shape::$shape).run(test);
        }
    };
    (@geometry (boot): $name:ident, $type:ty, $value:expr, $shape:ident) => {
        #[test]
        fn $name() {
            test(&Boot::<$type, Pgds<$type>>::new($value, Shape::$shape));
        }
    };
}
