//! Hosted kernels that differ in their PGD scheme and in nothing else.

use std::time::{Duration, Instant};

use arch_x86::geometry::{Geometry, LongMode};
use arch_x86::slots::Slots;
use hosted::frames::HostFrames;
use hosted::kernel::{Host, With};
use hosted::mmu::MmuKind;
use hosted::world::{Leftovers, World};
use kernel_fork::args::CloneArgs;
use kernel_fork::copy_process::{copy_process, first_process};
use kernel_fork::exit::{exit, reap};
use kernel_sync::Rcu;
use kernel_sync::atomic::Ordering;
use kernel_task::process::ExitStatus;
use kernel_task::task::TaskRef;
use kernel_task::tasks::Tasks;
use mm_generic::arch::{ArchPgd, PgdWalk};
use mm_generic::frames::{Frames, PAGE_SIZE};
use mm_generic::kernel::{Kernel, RcuGuard};
use mm_generic::kernel_range::KernelRange;
use mm_generic::mm::Mm;
use mm_generic::prot::Prot;
use mm_generic::publish::NewMm;
use mm_generic::vma::{Backing, Vma, VmaFlags};
use mm_generic::walk::Walkers;

use crate::crew::StartingLine;

/// Slots that are populated from boot on, about as many as Linux has: direct map, vmalloc, vmemmap, the
/// kernel itself and a few small ones.
pub const BOOT_SLOTS: u64 = 10;

/// Slots of a 4-level PGD.
const SLOTS: u64 = 256;

/// Forks before the clock starts: callbacks of the last turn run, and caches and lists of frames become as they stay.
const WARM_UP: u64 = 200;

/// What the user half of the first process has, and so has every child of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserHalf {
    /// Nothing: a fork is a PGD and a task.
    Empty,
    /// A mapping of eight pages, one of them touched: three tables and a page to share.
    OnePage,
}

type K<A> = Host<With<A>>;

/// A hosted 4-level kernel with one process.
pub struct BenchKernel<A: ArchPgd> {
    world: World<With<A>>,
    init: TaskRef<K<A>>,
    /// Processes that stay.
    live: Vec<TaskRef<K<A>>>,
    /// Growths into slots that no mm has had, since the last [`BenchKernel::empty_slots`].
    growths: u64,
}

impl<A: ArchPgd> BenchKernel<A> {
    /// Boots a kernel with `frames` page frames for `cpus` CPUs.
    ///
    /// # Panics
    ///
    /// When `frames` are too few for the kernel half and the first process.
    #[must_use]
    pub fn boot(
        frames: usize,
        cpus: usize,
        user: UserHalf,
        scheme: fn(Slots<LongMode, HostFrames>) -> A,
    ) -> Self {
        let frames = HostFrames::new(frames).leak();
        let empty = Slots::with_empty_reference(LongMode::FOUR_LEVEL, frames);
        let arch = scheme(empty.expect("frames for the kernel half"));
        let pid_max = u32::try_from(frames.total()).expect("at most 2^20 frames").max(1 << 15);
        let tasks = Tasks::new(pid_max, cpus).expect("memory for the task list");
        let world: World<With<A>> = World::boot(frames, 0, arch, tasks);
        let cpu = world.cpu_online();
        let init_mm = world.init_mm();
        let half = init_mm.arch().kernel_half();
        let len = BOOT_SLOTS * LongMode::FOUR_LEVEL.slot_span();
        let _synced = init_mm.grow(half.first, len).expect("frames for the kernel half");
        let mm = NewMm::new(init_mm).expect("frames for a process");
        if user == UserHalf::OnePage {
            map_one_page(&mm);
        }
        let init = first_process(init_mm, Some(mm), (), 0).expect("room for a process");
        drop(cpu);
        Self { world, init: init.into_task(), live: Vec::new(), growths: 0 }
    }

    /// Forks `forks` processes on CPU number `cpu`, which the calling thread plays meanwhile, ends and reaps each of them, and
    /// returns how long that took from the starting line on.
    ///
    /// The parent is a process that no other CPU has to do with.
    ///
    /// # Panics
    ///
    /// When there is no such CPU.
    pub fn fork_exit(&self, cpu: usize, forks: u64, line: &StartingLine) -> Duration {
        let host = self.world.cpu_online();
        let init_mm = self.world.init_mm();
        let fork = |parent: &TaskRef<K<A>>| {
            copy_process(init_mm, parent, &CloneArgs::FORK, cpu).expect("room enough").into_task()
        };
        let end = |task: &TaskRef<K<A>>, parent: &TaskRef<K<A>>| {
            exit(init_mm, task, ExitStatus::Exited(0), self.init.process());
            reap(init_mm, parent.process(), |child| child.pid() == task.pid())
                .expect("a zombie child");
        };
        let shell = fork(&self.init);
        let work = |forks| {
            for _ in 0..forks {
                let child = fork(&shell);
                end(&child, &shell);
                drop(child);
                host.rcu().quiesce();
            }
        };
        work(WARM_UP);
        line.wait();
        let began = Instant::now();
        work(forks);
        let time = began.elapsed();
        end(&shell, &self.init);
        drop(shell);
        time
    }

    /// Forks processes until `mms` of them live at once, the first one included.
    ///
    /// # Panics
    ///
    /// When the kernel has too few frames for that many.
    pub fn fill_up_to(&mut self, mms: u64) {
        let _cpu = self.world.cpu_online();
        let init_mm = self.world.init_mm();
        while (self.live.len() as u64) < mms - 1 {
            let child = copy_process(init_mm, &self.init, &CloneArgs::FORK, 0);
            self.live.push(child.expect("room enough").into_task());
        }
        self.empty_slots();
    }

    /// Grows the kernel `growths` times by one slot that no mm has, and returns how long the syncs took.
    ///
    /// One growth after the other goes to a line of its own in each PGD, as growths that are far apart
    /// in time do.
    ///
    /// # Panics
    ///
    /// When the kernel has too few frames for its own tables.
    pub fn grow(&mut self, growths: u64) -> Duration {
        /// Slots whose entries share a cache line.
        const LINE: u64 = 8;
        let _cpu = self.world.cpu_online();
        let init_mm = self.world.init_mm();
        let mut time = Duration::ZERO;
        for _ in 0..growths {
            let free = SLOTS / LINE - BOOT_SLOTS.div_ceil(LINE);
            if self.growths == free * LINE {
                self.empty_slots();
            }
            let (line, place) = (self.growths % free, self.growths / free);
            let range = self.slot(BOOT_SLOTS.next_multiple_of(LINE) + line * LINE + place);
            init_mm.arch().populate_kernel(range).expect("frames for the kernel half");
            let rcu = <K<A> as Kernel>::Rcu::read_lock();
            let walk = EveryMm { walkers: self.world.tasks(), rcu: &rcu };
            let began = Instant::now();
            init_mm.arch().sync_global_pgds(range, &walk, &mut || ());
            time += began.elapsed();
            self.growths += 1;
        }
        time
    }

    /// Takes from every mm the slots that growths have brought it, so that they can bring them again.
    ///
    /// A kernel cannot do that, and runs out of slots. No CPU runs on these mms.
    fn empty_slots(&mut self) {
        let rcu = <K<A> as Kernel>::Rcu::read_lock();
        let (arch, frames) = (self.world.init_mm().arch(), self.world.frames());
        let walk = EveryMm::<A> { walkers: self.world.tasks(), rcu: &rcu };
        walk.for_each_pgd(&mut |pgd| {
            let grown = LongMode::BOUNDARY + BOOT_SLOTS as usize;
            for entry in &frames.table64(arch.root(pgd))[grown..] {
                entry.store(0, Ordering::Relaxed);
            }
        });
        self.growths = 0;
    }

    /// Ends the kernel, and sees whether it did right what was measured.
    ///
    /// # Panics
    ///
    /// When a frame leaked or a callback is pending.
    pub fn shut_down(self) {
        let Self { world, init, live, .. } = self;
        let cpu = world.cpu_online();
        drop((init, live));
        drop(cpu);
        // SAFETY: no thread is a CPU of this kernel any more, and the references to its tasks are dropped.
        let leftovers = unsafe { world.shut_down(MmuKind::FourLevel) };
        assert_eq!(leftovers, Leftovers { leaked_frames: 0, pending_callbacks: 0 });
    }

    fn slot(&self, slot: u64) -> KernelRange {
        let half = self.world.init_mm().arch().kernel_half();
        let span = LongMode::FOUR_LEVEL.slot_span();
        half.range(half.first + slot * span, span).expect("a slot of the kernel half")
    }
}

/// The walk that a growth makes, for calling `sync_global_pgds` alone.
struct EveryMm<'a, A: ArchPgd> {
    walkers: &'a Tasks<K<A>>,
    rcu: &'a RcuGuard<K<A>>,
}

// SAFETY: `Tasks` finds every mm, in these two steps and in this order.
unsafe impl<A: ArchPgd> PgdWalk<A::Pgd> for EveryMm<'_, A> {
    fn for_each_pgd(&self, visit: &mut dyn FnMut(&A::Pgd)) {
        self.walkers.for_each_published(self.rcu, &mut |mm: &Mm<K<A>>| visit(mm.pgd()));
        self.walkers.for_each_loaded(self.rcu, &mut |mm: &Mm<K<A>>| visit(mm.pgd()));
    }
}

fn map_one_page<A: ArchPgd>(mm: &NewMm<K<A>>) {
    const START: u64 = 0x10_0000;
    let range = START..START + 8 * PAGE_SIZE;
    let rights = Prot::READ | Prot::WRITE;
    let vma = Vma::new(range, rights, VmaFlags::empty(), Backing::Anonymous).expect("whole pages");
    let mut user = mm.user();
    user.mmap(vma).expect("an empty user half");
    user.write_bytes(mm.mm(), START, b"bench").expect("frames enough");
}
