//! Hosted kernels that differ in their PGD scheme and in nothing else, and what is done on them.

use std::time::{Duration, Instant};

use arch_x86::geometry::{Geometry, LongMode};
use hosted::cpu::{HostCpu, this_cpu};
use hosted::frames::HostFrames;
use hosted::kernel::Host;
use hosted::mmu::{Access, MmuKind, translate};
use hosted::walk::{ChosenWalk, Walk};
use hosted::world::{Leftovers, OBJECTS, World};
use kernel_exec::exec_mmap::exec_mmap;
use kernel_fork::args::CloneArgs;
use kernel_fork::copy_process::{copy_process, first_process};
use kernel_fork::exit::{exit, reap};
use kernel_task::process::ExitStatus;
use kernel_task::task::TaskRef;
use kernel_task::tasks::Tasks;
use mm_generic::arch::ArchPgd;
use mm_generic::frames::{Frame, Frames, PAGE_SIZE};
use mm_generic::loaded::LoadedMm;
use mm_generic::mm::MmUser;
use mm_generic::prot::Prot;
use mm_generic::publish::NewMm;
use mm_generic::vma::{Backing, Vma, VmaFlags};
use serde::Serialize;

use crate::chosen::{Chosen, Scheme};
use crate::crew::{Span, StartingLine};
use crate::walk::Bench;

/// Slots that are populated from boot on, about as many as Linux has: direct map, vmalloc, vmemmap, the
/// kernel itself and a few small ones.
pub const BOOT_SLOTS: u64 = 10;

/// Growths by one slot that a kernel has room for after boot.
pub const GROWTHS: u64 = (SLOTS / LINE - BOOT_SLOTS.div_ceil(LINE)) * LINE;

/// Slots of a 4-level PGD, and those of them whose entries share a cache line.
const SLOTS: u64 = 256;
const LINE: u64 = 8;

/// Operations before the clock starts: callbacks of the last turn run, and caches and lists of frames become as they stay.
const WARM_UP: u64 = 200;

/// First byte of the programs' one mapping.
const DATA: u64 = 0x10_0000;

type K = Host<Bench>;

/// What a CPU does over and over again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Work {
    /// Forks a small process, switches to it, ends it, switches back and reaps it.
    ForkExit,
    /// The same, and the child execs a small program in between.
    ForkExecExit,
    /// Makes a thread of its own process, and ends it.
    Threads,
}

impl Work {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::ForkExit, Self::ForkExecExit, Self::Threads];

    /// The name in tables and in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ForkExit => "fork-exit",
            Self::ForkExecExit => "fork-exec-exit",
            Self::Threads => "threads",
        }
    }
}

/// What the user half of the first process has, and so has every child of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserHalf {
    /// Nothing: a fork is a PGD and a task.
    Empty,
    /// A mapping of eight pages, one of them touched: three tables and a page to share.
    OnePage,
}

/// A hosted 4-level kernel with one process.
pub struct BenchKernel {
    scheme: Scheme,
    user: UserHalf,
    world: World<Bench>,
    init: TaskRef<K>,
    /// Processes that stay.
    live: Vec<TaskRef<K>>,
    /// Growths by one slot so far.
    growths: u64,
    boot_frames: usize,
}

/// A CPU of a bench kernel, played by the calling thread, with a process that no other CPU has to do with.
struct Cpu<'a> {
    kernel: &'a BenchKernel,
    number: usize,
    loaded: &'static LoadedMm<K>,
    shell: TaskRef<K>,
    /// Last, so that what is dropped before is dropped on a CPU.
    host: HostCpu,
}

impl BenchKernel {
    /// Boots a kernel with `frames` page frames for `cpus` CPUs. `walk` is how its growths find mms, where `scheme` asks.
    ///
    /// # Panics
    ///
    /// When `frames` are too few for the kernel half and the first process.
    #[must_use]
    pub fn boot(scheme: Scheme, walk: Walk, frames: usize, cpus: usize, user: UserHalf) -> Self {
        let frames = HostFrames::new(frames).leak();
        let arch = Chosen::new(scheme, frames, cpus);
        let pid_max = u32::try_from(frames.total()).expect("at most 2^20 frames").max(1 << 15);
        let tasks = Tasks::new(pid_max, cpus).expect("memory for the task list");
        let tasks = tasks.with_caches(OBJECTS, this_cpu).expect("memory for empty caches");
        let world: World<Bench> =
            World::boot_with_caches(frames, 0, arch, ChosenWalk::new(walk, tasks));
        let cpu = world.cpu_online();
        let init_mm = world.init_mm();
        let half = init_mm.arch().kernel_half();
        let len = BOOT_SLOTS * LongMode::FOUR_LEVEL.slot_span();
        let _synced = init_mm.grow(half.first, len).expect("frames for the kernel half");
        let boot_frames = frames.allocated();
        let mm = NewMm::new(init_mm).expect("frames for a process");
        if user == UserHalf::OnePage {
            map_one_page(&mm);
        }
        let init = first_process(init_mm, Some(mm), (), 0).expect("room for a process").into_task();
        drop(cpu);
        Self { scheme, user, world, init, live: Vec::new(), growths: 0, boot_frames }
    }

    /// The scheme.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Frames that the kernel half took at boot, for as many slots as Linux has in use.
    #[must_use]
    pub fn boot_frames(&self) -> usize {
        self.boot_frames
    }

    /// PGDs that the scheme keeps for later at the moment.
    #[must_use]
    pub fn kept_pgds(&self) -> usize {
        self.world.init_mm().arch().cached()
    }

    /// Frames that are allocated at the moment. To be asked while no CPU is at work.
    #[must_use]
    pub fn frames_in_use(&self) -> usize {
        self.world.frames().allocated()
    }

    /// Does `work` for `ops` times on CPU number `cpu`, which the calling thread plays meanwhile, and returns when that was, from
    /// the starting line on.
    ///
    /// # Panics
    ///
    /// When there is no such CPU.
    pub fn work(&self, work: Work, cpu: usize, ops: u64, line: &StartingLine) -> Span {
        let cpu = Cpu::online(self, cpu);
        (0..WARM_UP.min(ops)).for_each(|_| cpu.step(work));
        line.wait();
        let span = Span::of(|| (0..ops).for_each(|_| cpu.step(work)));
        cpu.offline();
        span
    }

    /// Does `work` on CPU number `cpu`, once for each call of what `turn` is given, until `turn` returns false.
    pub fn lives(&self, work: Work, cpu: usize, mut turn: impl FnMut(&dyn Fn()) -> bool) {
        let cpu = Cpu::online(self, cpu);
        while turn(&|| cpu.step(work)) {}
        cpu.offline();
    }

    /// Forks and exits on CPU number `cpu` for as long as `goes_on` says, and hands each fork's time to `time`.
    pub fn fork_and_time(
        &self,
        cpu: usize,
        mut goes_on: impl FnMut() -> bool,
        mut time: impl FnMut(Duration),
    ) {
        let cpu = Cpu::online(self, cpu);
        while goes_on() {
            let began = Instant::now();
            let child = cpu.fork();
            time(began.elapsed());
            cpu.end(&child);
            drop(child);
            cpu.host.rcu().quiesce();
        }
        cpu.offline();
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
    }

    /// Grows the kernel by one slot that no mm has, and returns how long that took; `None` when all slots are used up.
    ///
    /// One growth after the other goes to a line of its own in each PGD, as growths that are far apart
    /// in time do.
    ///
    /// # Panics
    ///
    /// When the kernel has too few frames for its own tables.
    pub fn grow(&self, growth: u64) -> Option<Duration> {
        let addr = self.addr_of(growth)?;
        let _cpu = self.world.cpu_online();
        let init_mm = self.world.init_mm();
        let began = Instant::now();
        let _synced = init_mm.grow(addr, PAGE_SIZE).expect("frames for the kernel half");
        Some(began.elapsed())
    }

    /// Grows by the next `growths` slots, fewer when they are used up, and returns how long each took.
    pub fn grow_next(&mut self, growths: u64) -> Vec<Duration> {
        let from = self.growths;
        self.growths += growths;
        (from..self.growths).map_while(|growth| self.grow(growth)).collect()
    }

    /// First address of the slot of growth number `growth`.
    fn addr_of(&self, growth: u64) -> Option<u64> {
        let lines = GROWTHS / LINE;
        let (line, place) = (growth % lines, growth / lines);
        let slot = BOOT_SLOTS.next_multiple_of(LINE) + line * LINE + place;
        let half = self.world.init_mm().arch().kernel_half();
        (growth < GROWTHS).then(|| half.first + slot * LongMode::FOUR_LEVEL.slot_span())
    }

    /// Grows by a page of the slot of growth number `growth` and maps a frame there; returns address and frame.
    ///
    /// # Panics
    ///
    /// When the slots or the frames are used up, or the page is mapped already.
    pub fn grow_and_map(&self, growth: u64) -> (u64, Frame) {
        let addr = self.addr_of(growth).expect("a slot is left");
        let init_mm = self.world.init_mm();
        let range = init_mm.grow(addr, PAGE_SIZE).expect("frames for the kernel half");
        let frame = self.world.frames().alloc().expect("frames enough");
        init_mm.map_kernel(&range, addr, frame, Prot::READ | Prot::WRITE).expect("mapped once");
        (addr, frame)
    }

    /// Makes the calling thread a CPU that grows the kernel and runs no process.
    #[must_use]
    pub fn grower(&self) -> HostCpu {
        self.world.cpu_online()
    }

    /// Loads a new process's PGD as a kernel would that has forgotten [`Chosen::before_load`], and calls `look` as
    /// [`BenchKernel::storm`] does. For tests.
    pub fn without_hook(&self, look: impl FnOnce(&dyn Fn(u64) -> Option<u64>)) {
        let cpu = Cpu::online(self, 0);
        let child = cpu.fork();
        cpu.host.before_load(|_root| ());
        cpu.load(&child);
        let frames = self.world.frames();
        look(&|addr| {
            translate(frames, MmuKind::FourLevel, cpu.host.cr3(), addr, Access::KERNEL_READ).ok()
        });
        cpu.end(&child);
        drop(child);
        cpu.offline();
    }

    /// Works on CPU number `cpu` until `goes_on` says no. After each step, and within, `look` is called with a
    /// function that resolves a kernel address through what the CPU has loaded, as its MMU would.
    pub fn storm(
        &self,
        cpu: usize,
        mut goes_on: impl FnMut() -> bool,
        mut look: impl FnMut(&dyn Fn(u64) -> Option<u64>),
    ) {
        let cpu = Cpu::online(self, cpu);
        let frames = self.world.frames();
        let resolve = |addr| {
            translate(frames, MmuKind::FourLevel, cpu.host.cr3(), addr, Access::KERNEL_READ).ok()
        };
        while goes_on() {
            let child = cpu.fork();
            look(&resolve);
            cpu.load(&child);
            look(&resolve);
            let old = cpu.exec(&child);
            look(&resolve);
            drop(old);
            cpu.end(&child);
            // On a dead process's PGD.
            look(&resolve);
            drop(child);
            cpu.load(&cpu.shell);
            look(&resolve);
            cpu.host.rcu().quiesce();
        }
        cpu.offline();
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
        let frames = world.frames();
        // SAFETY: no thread is a CPU of this kernel any more, and the references to its tasks are dropped.
        let leftovers = unsafe { world.shut_down(MmuKind::FourLevel) };
        assert_eq!(leftovers, Leftovers { leaked_frames: 0, pending_callbacks: 0 });
        frames.check_free_frames().expect("nobody wrote to a frame that was free");
    }
}

impl<'a> Cpu<'a> {
    fn online(kernel: &'a BenchKernel, number: usize) -> Self {
        let host = kernel.world.cpu_online();
        let init_mm = kernel.world.init_mm();
        host.before_load(move |root| init_mm.arch().before_load(number, root));
        let loaded = kernel.world.tasks().loaded(number).expect("a CPU of this kernel");
        let shell = copy_process(init_mm, &kernel.init, &CloneArgs::FORK, number);
        let shell = shell.expect("room enough").into_task();
        let cpu = Self { kernel, number, loaded, shell, host };
        cpu.load(&cpu.shell);
        if kernel.user == UserHalf::OnePage {
            // A page of its own: the count of one that all shells share would be a line that all forks write.
            let mm = cpu.shell.mm().expect("a user task");
            mm.user().write_bytes(&mm, DATA, b"shell").expect("frames enough");
        }
        cpu
    }

    fn offline(self) {
        let init_mm = self.kernel.world.init_mm();
        // SAFETY: this thread is the CPU.
        unsafe { self.loaded.leave_mm(init_mm) };
        let init = self.kernel.init.process();
        exit(init_mm, &self.shell, ExitStatus::Exited(0), init);
        reap(init_mm, init, |child| child.pid() == self.shell.pid()).expect("a zombie child");
    }

    #[inline]
    fn step(&self, work: Work) {
        match work {
            Work::ForkExit | Work::ForkExecExit => {
                let child = self.fork();
                self.load(&child);
                if work == Work::ForkExecExit {
                    drop(self.exec(&child));
                }
                self.end(&child);
                drop(child);
                self.load(&self.shell);
            }
            Work::Threads => {
                let thread = self.copy(&CloneArgs::THREAD);
                exit(
                    self.kernel.world.init_mm(),
                    &thread,
                    ExitStatus::Exited(0),
                    self.kernel.init.process(),
                );
            }
        }
        self.host.rcu().quiesce();
    }

    fn fork(&self) -> TaskRef<K> {
        self.copy(&CloneArgs::FORK)
    }

    fn copy(&self, args: &CloneArgs) -> TaskRef<K> {
        let init_mm = self.kernel.world.init_mm();
        copy_process(init_mm, &self.shell, args, self.number).expect("room enough").into_task()
    }

    fn load(&self, task: &TaskRef<K>) {
        let mm = task.mm_to_load().expect("late-initialised").expect("a user task");
        // SAFETY: this thread is the CPU, and the task holds the mm.
        unsafe { self.loaded.switch_mm(mm) };
    }

    fn exec(&self, task: &TaskRef<K>) -> MmUser<K> {
        let mm = NewMm::new(self.kernel.world.init_mm()).expect("frames enough");
        map_one_page(&mm);
        // SAFETY: the task runs on this CPU, which this thread is.
        unsafe { exec_mmap(task, self.loaded, mm) }
            .expect("a user task with one thread")
            .expect("it had an mm")
    }

    /// Ends `task`, a child of the shell, and reaps it. The CPU goes on with the PGD that it has loaded.
    fn end(&self, task: &TaskRef<K>) {
        let init_mm = self.kernel.world.init_mm();
        exit(init_mm, task, ExitStatus::Exited(0), self.kernel.init.process());
        reap(init_mm, self.shell.process(), |child| child.pid() == task.pid())
            .expect("a zombie child");
    }
}

fn map_one_page(mm: &NewMm<K>) {
    let range = DATA..DATA + 8 * PAGE_SIZE;
    let rights = Prot::READ | Prot::WRITE;
    let vma = Vma::new(range, rights, VmaFlags::empty(), Backing::Anonymous).expect("whole pages");
    let mut user = mm.user();
    user.mmap(vma).expect("an empty user half");
    user.write_bytes(mm.mm(), DATA, b"bench").expect("frames enough");
}
