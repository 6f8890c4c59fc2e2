//! A hosted kernel from boot to shutdown, and the account of its frames at the end.

use kernel_sync::ArcCache;
use kernel_task::epoch::EpochDomain;
use kernel_task::task::TaskRef;
use kernel_task::tasks::Tasks;
use mm_generic::arch::ArchPgd;
use mm_generic::frames::{Frame, Frames};
use mm_generic::init_mm::InitMm;

use crate::cpu::{HostCpu, this_cpu};
use crate::frames::{HostFrames, WrittenAfterFree};
use crate::kernel::{Host, Scheme};
use crate::mmu::MmuKind;

/// Mms, tasks and processes whose memory a CPU of a hosted kernel keeps for the next ones: an RCU batch frees up to 64 at once.
pub const OBJECTS: usize = 128;

/// A running hosted kernel.
pub struct World<S: Scheme> {
    init_mm: &'static InitMm<Host<S>>,
    domain: EpochDomain,
    frames: &'static HostFrames,
    frames_before: usize,
}

/// What is left when a kernel has been shut down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leftovers {
    /// Frames that are out although the kernel is gone; negative when some were freed twice.
    pub leaked_frames: i64,
    /// RCU callbacks that never ran.
    pub pending_callbacks: u64,
}

impl<S: Scheme> World<S> {
    /// Boots a kernel in `frames`, which nothing else uses until [`World::shut_down`].
    ///
    /// `frames_before` is how many frames were out before `arch` took its first.
    pub fn boot(
        frames: &'static HostFrames,
        frames_before: usize,
        arch: S::Arch,
        walkers: S::Walkers,
    ) -> Self {
        Self::boot_on(frames, frames_before, InitMm::new(arch, frames, walkers))
    }

    /// Boots a kernel that keeps the memory of mms that have ended for the next ones, [`OBJECTS`] on each CPU.
    ///
    /// # Panics
    ///
    /// Without memory for empty caches.
    pub fn boot_with_caches(
        frames: &'static HostFrames,
        frames_before: usize,
        arch: S::Arch,
        walkers: S::Walkers,
    ) -> Self {
        let cpus = S::tasks(&walkers).cpus();
        let mms = ArcCache::try_new(cpus, OBJECTS, this_cpu).expect("memory for empty caches");
        let init_mm = InitMm::new(arch, frames, walkers).with_mm_cache(mms);
        Self::boot_on(frames, frames_before, init_mm)
    }

    fn boot_on(
        frames: &'static HostFrames,
        frames_before: usize,
        init_mm: InitMm<Host<S>>,
    ) -> Self {
        let init_mm = Box::leak(Box::new(init_mm));
        Self { init_mm, domain: EpochDomain::new(), frames, frames_before }
    }

    /// The kernel's `init_mm`.
    #[must_use]
    pub fn init_mm(&self) -> &'static InitMm<Host<S>> {
        self.init_mm
    }

    /// The kernel's tasks.
    #[must_use]
    pub fn tasks(&self) -> &'static Tasks<Host<S>> {
        S::tasks(self.init_mm.walkers())
    }

    /// The kernel's frames.
    #[must_use]
    pub fn frames(&self) -> &'static HostFrames {
        self.frames
    }

    /// Makes the calling thread a CPU of this kernel.
    #[must_use]
    pub fn cpu_online(&self) -> HostCpu {
        HostCpu::online(&self.domain)
    }

    /// Ends the kernel: every CPU goes to the reference PGD, every task leaves the task list, every
    /// grace period passes, and the kernel half is freed with everything that is mapped there.
    ///
    /// # Panics
    ///
    /// When a task that is on the task list cannot be taken off it.
    ///
    /// # Safety
    ///
    /// No thread is a CPU of this kernel any more, and nobody holds a reference to one of its tasks,
    /// processes or mms.
    pub unsafe fn shut_down(self, kind: MmuKind) -> Leftovers {
        let cpu = self.cpu_online();
        let tasks = self.tasks();
        for number in 0..tasks.cpus() {
            let loaded = tasks.loaded(number).expect("number is below the number of CPUs");
            // SAFETY: no thread is that CPU any more.
            unsafe { loaded.leave_mm(self.init_mm) };
        }
        let mut left: Vec<TaskRef<Host<S>>> = Vec::new();
        let rcu = cpu.rcu().read_lock();
        tasks.pids().for_each(&rcu, &mut |task| {
            left.extend(tasks.pids().get_ref(task.pid(), &rcu));
        });
        drop(rcu);
        for task in left {
            drop(task.take_mm());
            task.process().sever();
            tasks.pids().remove(task.pid()).expect("the task is on the list");
        }
        // A callback may queue another: a task's end is its process's end a grace period later.
        while self.domain.pending() > 0 {
            self.domain.barrier(cpu.rcu()).expect("no section is open here");
        }
        let root = self.init_mm.arch().reference_root();
        // SAFETY: leaked in `boot`; by the caller's promise and the barrier nothing refers to it.
        drop(unsafe { Box::from_raw(core::ptr::from_ref(self.init_mm).cast_mut()) });
        // After the architecture, which may have kept PGDs for later.
        free_kernel_half(self.frames, kind, root);
        let leftovers = Leftovers {
            leaked_frames: self.frames.allocated() as i64 - self.frames_before as i64,
            pending_callbacks: self.domain.pending(),
        };
        drop(cpu);
        leftovers
    }

    /// Looks for frames that were written after they had been freed. To be called while no CPU runs.
    ///
    /// # Errors
    ///
    /// The first such frame.
    pub fn check_free_frames(&self) -> Result<(), WrittenAfterFree> {
        self.frames.check_free_frames()
    }
}

/// Frees the tables and pages of the kernel half below `root`, and `root`, by the manual's numbers.
fn free_kernel_half(frames: &HostFrames, kind: MmuKind, root: Frame) {
    let (levels, entries, boundary) = match kind {
        MmuKind::TwoLevel => (2, 1024, 768),
        MmuKind::Pae => (3, 4, 3),
        MmuKind::FourLevel => (4, 512, 256),
        MmuKind::FiveLevel => (5, 512, 256),
    };
    free_entries(frames, kind, root, levels, boundary..entries);
}

fn free_entries(
    frames: &HostFrames,
    kind: MmuKind,
    table: Frame,
    level: u32,
    entries: std::ops::Range<usize>,
) {
    use kernel_sync::atomic::Ordering;
    for index in entries {
        let entry = match kind {
            MmuKind::TwoLevel => u64::from(frames.table32(table)[index].load(Ordering::Acquire)),
            _ => frames.table64(table)[index].load(Ordering::Acquire),
        };
        let Some(below) = Frame::at(entry & 0x000f_ffff_ffff_f000).filter(|_| entry & 1 != 0)
        else {
            continue;
        };
        if level > 1 {
            let all = if kind == MmuKind::TwoLevel { 1024 } else { 512 };
            free_entries(frames, kind, below, level - 1, 0..all);
        } else {
            // SAFETY: a page of the kernel half, which nobody uses any more.
            unsafe { frames.put(below) };
        }
    }
    // SAFETY: as above, for the table.
    unsafe { frames.put(table) };
}
