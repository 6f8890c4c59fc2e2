//! A kernel from boot to shutdown, and the account at its end.
//!
//! Each test gets a kernel of its own with one process, init, and one CPU that is the test's thread. When the test
//! returns, it must have ended all processes but init; [`run`] ends init, moves the CPUs off every mm, lets all
//! grace periods pass, and then asserts that nothing is left: no task, no part of one, no frame but the kernel's
//! own, no callback, no write to a freed frame, and every pid can be had.

mod memory;
mod steps;

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use arch_x86::X86;
use arch_x86::geometry::Geometry;
use arch_x86::slots::Slots;
use hosted::cpu::HostCpu;
use hosted::frames::HostFrames;
use hosted::mmu::MmuKind;
use kernel_fork::copy_process::{RunnableTask, first_process};
use kernel_fork::exit;
use kernel_sync::Rcu;
use kernel_task::epoch::EpochDomain;
use kernel_task::pid::{Pid, PidError};
use kernel_task::process::ExitStatus;
use kernel_task::task::TaskRef;
use kernel_task::tasks::Tasks;
use mm_generic::frames::PAGE_SIZE;
use mm_generic::init_mm::InitMm;
use mm_generic::kernel::Kernel;
use mm_generic::prot::Prot;
use mm_generic::publish::NewMm;
use mm_generic::vma::{Backing, Vma, VmaFlags};

use super::arch::Watched;
use super::kernel::{Parts, TestKernel};

pub(crate) const PAGE: u64 = PAGE_SIZE;
pub(crate) const RW: Prot = Prot::READ.union(Prot::WRITE);

/// The one mapping of init and of its children, in bytes.
pub(crate) const DATA: std::ops::Range<u64> = 0x10_0000..0x10_8000;

/// The user address that init has stored a 1 to.
pub(crate) const TOUCHED: u64 = DATA.start;

/// Exit status of whoever has nothing to say.
pub(crate) const OK: ExitStatus = ExitStatus::Exited(0);

pub(crate) type Task<G> = TaskRef<TestKernel<G>>;

/// What a kernel has to work with.
#[derive(Debug, Clone)]
pub(crate) struct Size {
    pub(crate) frames: usize,
    /// One above the largest pid.
    pub(crate) pids: u32,
    pub(crate) cpus: usize,
    /// Slots of the kernel half that each mm keeps for itself.
    pub(crate) private: Vec<usize>,
}

impl Default for Size {
    fn default() -> Self {
        Self { frames: 4096, pids: 512, cpus: 4, private: Vec::new() }
    }
}

pub(crate) struct World<G: Geometry> {
    pub(crate) init_mm: &'static InitMm<TestKernel<G>>,
    pub(crate) frames: &'static HostFrames,
    pub(crate) kind: MmuKind,
    pub(crate) geometry: G,
    pub(crate) size: Size,
    domain: EpochDomain,
    init: Mutex<Option<Task<G>>>,
    parts: &'static AtomicUsize,
    /// Growths so far.
    growths: AtomicU64,
    /// Frames that belong to the kernel half.
    kernel_frames: AtomicUsize,
}

/// What there is beside the kernel itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) tasks: Vec<Pid>,
    pub(crate) parts: usize,
    pub(crate) frames: usize,
}

thread_local! {
    static CPU: RefCell<Option<HostCpu>> = const { RefCell::new(None) };
}

/// Boots a kernel, calls `body`, shuts the kernel down and checks what is left.
pub(crate) fn run<G: Geometry>(
    geometry: G,
    kind: MmuKind,
    size: Size,
    body: impl FnOnce(&'static World<G>),
) {
    let frames = HostFrames::new(size.frames).checked().leak();
    let root = Slots::with_empty_reference(geometry, frames).expect("frames enough").root();
    let slots = Slots::adopt(geometry, frames, root, size.private.clone()).expect("an empty half");
    let tasks = Tasks::new(size.pids, size.cpus).expect("a good limit");
    let init_mm = Box::leak(Box::new(InitMm::new(Watched(X86::new(slots)), frames, tasks)));
    let world: &'static World<G> = Box::leak(Box::new(World {
        init_mm,
        frames,
        kind,
        geometry,
        size,
        domain: EpochDomain::new(),
        init: Mutex::new(None),
        parts: Box::leak(Box::new(AtomicUsize::new(0))),
        growths: AtomicU64::new(0),
        kernel_frames: AtomicUsize::new(frames.allocated()),
    }));
    world.come_online();
    world.make_init();
    body(world);
    world.end();
    CPU.set(None);
}

impl<G: Geometry> World<G> {
    fn make_init(&self) {
        let mm = NewMm::new(self.init_mm).expect("frames enough");
        self.map_data(&mm);
        let init = self.first(Some(mm)).into_task();
        *self.init.lock().unwrap_or_else(PoisonError::into_inner) = Some(init.clone());
        self.load(0, &init);
    }

    /// Maps [`DATA`] and stores a 1 to its first byte.
    pub(crate) fn map_data(&self, mm: &NewMm<TestKernel<G>>) {
        let vma = Vma::new(DATA, RW, VmaFlags::empty(), Backing::Anonymous).expect("whole pages");
        mm.user().mmap(vma).expect("an empty user half");
        mm.user().write_bytes(mm.mm(), TOUCHED, &[1]).expect("frames enough");
    }

    /// A process without parent: user with `mm`, kernel thread without.
    pub(crate) fn first(&self, mm: Option<NewMm<TestKernel<G>>>) -> RunnableTask<TestKernel<G>> {
        first_process(self.init_mm, mm, Parts::new(self.parts), 0).expect("room enough")
    }

    pub(crate) fn kernel_thread(&self) -> Task<G> {
        self.first(None).into_task()
    }

    fn end(&self) {
        let init = self.init.lock().unwrap_or_else(PoisonError::into_inner).take();
        let init = init.expect("made at boot");
        exit::exit(self.init_mm, &init, OK, init.process());
        drop(init);
        for cpu in 0..self.size.cpus {
            self.leave(cpu);
        }
        let Account { tasks, parts, frames } = self.account();
        assert_eq!((tasks, parts), (Vec::new(), 0), "tasks and parts that are left");
        let kernel_frames = self.kernel_frames.load(Ordering::Relaxed);
        assert_eq!(frames, kernel_frames, "frames that are left, and those of the kernel half");
        self.frames.check_free_frames().expect("nothing was written after it was freed");
        assert_eq!(self.free_pids(), self.size.pids as usize - 1, "pids that can be had");
    }

    /// How many pids can be had before the table is exhausted.
    pub(crate) fn free_pids(&self) -> usize {
        let mut held = Vec::new();
        loop {
            match self.tasks().pids().alloc(0) {
                Ok(reservation) => held.push(reservation),
                Err(PidError::Exhausted { .. }) => return held.len(),
                Err(error) => panic!("{error}"),
            }
        }
    }

    pub(crate) fn tasks(&self) -> &'static Tasks<TestKernel<G>> {
        self.init_mm.walkers()
    }

    pub(crate) fn init(&self) -> Task<G> {
        let init = self.init.lock().unwrap_or_else(PoisonError::into_inner);
        init.clone().expect("made at boot")
    }

    /// Makes the calling thread a CPU until it ends.
    fn come_online(&self) {
        CPU.set(Some(HostCpu::online(&self.domain)));
    }

    /// Calls `f` on a CPU that the calling thread plays.
    pub(crate) fn on_cpu<T>(&self, f: impl FnOnce() -> T) -> T {
        self.come_online();
        let value = f();
        CPU.set(None);
        value
    }

    /// Runs RCU callbacks whose time has come, as a CPU does that returns to user mode.
    pub(crate) fn quiesce(&self) {
        CPU.with_borrow(|cpu| cpu.as_ref().expect("a CPU").rcu().quiesce());
    }

    /// Waits until every callback has run. Other CPUs are offline, or quiesce.
    pub(crate) fn settle(&self) {
        CPU.with_borrow(|cpu| {
            let rcu = cpu.as_ref().expect("a CPU").rcu();
            // A callback may queue another: the last reference to a task drops that to its process.
            while self.domain.pending() > 0 {
                self.domain.barrier(rcu).expect("no section is open here");
            }
        });
    }

    /// What there is once every grace period has passed.
    pub(crate) fn account(&self) -> Account {
        self.settle();
        let mut tasks = Vec::new();
        let rcu = <TestKernel<G> as Kernel>::Rcu::read_lock();
        self.tasks().pids().for_each(&rcu, &mut |task| tasks.push(task.pid()));
        Account {
            tasks,
            parts: self.parts.load(Ordering::Relaxed),
            frames: self.frames.allocated(),
        }
    }
}

/// A kernel with 4-level tables, for what does not depend on their shape.
pub(crate) fn on_four_levels(
    size: Size,
    body: impl FnOnce(&'static World<arch_x86::geometry::LongMode>),
) {
    run(arch_x86::geometry::LongMode::FOUR_LEVEL, MmuKind::FourLevel, size, body);
}

/// Makes a test of each function named, for each geometry.
macro_rules! on_every_geometry {
    ($($test:ident),* $(,)?) => {
        $(mod $test {
            use arch_x86::geometry::{LongMode, PaePrivate, PaeShared, TwoLevel};
            use hosted::mmu::MmuKind;
            use crate::world::{Size, run};

            #[test]
            fn two_level() {
                run(TwoLevel, MmuKind::TwoLevel, Size::default(), super::$test);
            }

            #[test]
            fn pae_shared() {
                run(PaeShared, MmuKind::Pae, Size::default(), super::$test);
            }

            #[test]
            fn pae_private() {
                run(PaePrivate, MmuKind::Pae, Size::default(), super::$test);
            }

            #[test]
            fn four_level() {
                run(LongMode::FOUR_LEVEL, MmuKind::FourLevel, Size::default(), super::$test);
            }

            #[test]
            fn five_level() {
                run(LongMode::FIVE_LEVEL, MmuKind::FiveLevel, Size::default(), super::$test);
            }
        })*
    };
}
pub(crate) use on_every_geometry;
