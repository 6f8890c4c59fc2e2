//! **lock-free birth and death**: a fork, an exec and an exit write nothing that all CPUs share for the PGD's sake.
//!
//! No time is measured. Everything that a PGD scheme owns is made in pages of its own: `init_mm` with the
//! architecture in it, all heap memory that their making takes, and the reference PGD's table. Then the host's MMU
//! forbids writes to these pages, and processes are forked, run, exec and exit, until their mms are
//! freed at the end of a grace period. Each write would be a fault, and faults are counted. A line that nobody
//! writes stays in every CPU's cache, however many there are, so one CPU is enough to see it.
//!
//! `init_mm` holds the pid cursor as well, which is written once in 64 forks. The test stays within one batch
//! of pids: what it forbids, it forbids to the task layer too.
//!
//! Not watched is what no PGD scheme has: the frame source, RCU, the tables of pids, and the mms' own memory.

// The hosted kernel is not built for the model checker. Protections and signals are Linux's.
#![cfg(all(not(loom), target_os = "linux"))]

mod heap;
mod watch;

use std::ops::Range;

use arch_x86::geometry::{Geometry, LongMode, PaePrivate, PaeShared, TwoLevel};
use arch_x86::late::LateInit;
use arch_x86::locked::Locked;
use arch_x86::slots::Slots;
use hosted::cpu::HostCpu;
use hosted::frames::HostFrames;
use hosted::kernel::{Host, With};
use kernel_exec::exec_mmap::exec_mmap;
use kernel_fork::args::CloneArgs;
use kernel_fork::copy_process::{copy_process, first_process};
use kernel_fork::exit::{exit, reap};
use kernel_task::epoch::EpochDomain;
use kernel_task::process::ExitStatus;
use kernel_task::task::TaskRef;
use kernel_task::tasks::Tasks;
use mm_generic::arch::ArchPgd;
use mm_generic::frames::{Frames, PAGE_SIZE};
use mm_generic::init_mm::InitMm;
use mm_generic::prot::Prot;
use mm_generic::publish::NewMm;
use mm_generic::vma::{Backing, Vma, VmaFlags};

use watch::Watch;

type K<A> = Host<With<A>>;

/// Lives that are watched. With the first process they fit one batch of 64 pids.
const LIVES: usize = 50;

/// First byte of a program's one mapping.
const DATA: u64 = 0x10_0000;

/// A hosted kernel whose shared PGD state lies in pages of its own.
struct Watched<A: ArchPgd> {
    init_mm: &'static InitMm<K<A>>,
    init: TaskRef<K<A>>,
    domain: EpochDomain,
    cpu: HostCpu,
    /// Addresses of the shared state, whole pages.
    shared: Vec<Range<usize>>,
    slot_span: u64,
}

impl<A: ArchPgd> Watched<A> {
    fn boot<G: Geometry>(geometry: G, scheme: fn(Slots<G, HostFrames>) -> A) -> Self {
        let frames = HostFrames::new(4096).leak();
        let tasks = Tasks::new(4096, 1).expect("memory for a small task list");
        let domain = EpochDomain::new();
        let cpu = HostCpu::online(&domain);
        // The frame source makes this thread's list at its first frame. That is not the scheme's.
        let first = frames.alloc().expect("frames enough");
        // SAFETY: it went nowhere.
        unsafe { frames.put(first) };

        let mut reference = 0..0;
        let (init_mm, of_heap): (&InitMm<K<A>>, _) = heap::in_own_pages(|| {
            let slots = Slots::with_empty_reference(geometry, frames).expect("frames enough");
            // For PAE with private PMDs this is the PMD, which is where the slots are.
            // SAFETY: the reference lives, and nothing is stored.
            let table = unsafe { slots.of(slots.root()) }.as_ptr().addr();
            reference = page_of(table);
            &*Box::leak(Box::new(InitMm::new(scheme(slots), frames, tasks)))
        });
        let root = frames.bytes(init_mm.arch().reference_root()).addr().get();
        let shared = vec![of_heap, reference, page_of(root)];

        let half = init_mm.arch().kernel_half();
        let slot_span = geometry.slot_span();
        let _synced = init_mm
            .grow(half.first, slot_span * 3.min(geometry.slots() as u64))
            .expect("frames enough");
        let mm = NewMm::new(init_mm).expect("frames enough");
        program(&mm);
        let init = first_process(init_mm, Some(mm), (), 0).expect("room enough").into_task();
        Self { init_mm, init, domain, cpu, shared, slot_span }
    }

    /// Forks a process, runs it, lets it write, exec and exit, and reaps it.
    fn live(&self) {
        let init_mm = self.init_mm;
        let loaded = init_mm.walkers().loaded(0).expect("a CPU of this kernel");
        let child = copy_process(init_mm, &self.init, &CloneArgs::FORK, 0);
        let child = child.expect("room enough").into_task();
        let mm = child.mm_to_load().expect("late-initialised").expect("a user task");
        // SAFETY: this thread is the CPU, and the child holds the mm.
        unsafe { loaded.switch_mm(mm) };
        let mm = child.mm().expect("it has not exited");
        mm.user().write_bytes(&mm, DATA, b"child").expect("frames enough");
        drop(mm);
        let mm = NewMm::new(init_mm).expect("frames enough");
        program(&mm);
        // SAFETY: the child runs on this CPU, which this thread is.
        drop(unsafe { exec_mmap(&child, loaded, mm) }.expect("a user task with one thread"));
        exit(init_mm, &child, ExitStatus::Exited(0), self.init.process());
        reap(init_mm, self.init.process(), |_| true).expect("a zombie child");
        drop(child);
        self.cpu.rcu().quiesce();
    }

    /// Frees what has ended: the CPU lets the last PGD go, and every grace period passes.
    fn settle(&self) {
        let loaded = self.init_mm.walkers().loaded(0).expect("a CPU of this kernel");
        // SAFETY: this thread is the CPU.
        unsafe { loaded.leave_mm(self.init_mm) };
        self.domain.barrier(self.cpu.rcu()).expect("no section is open here");
    }

    /// Lives through `lives` lives under watch, and returns in how many of them shared state was written.
    fn lives_that_write(&self, lives: usize) -> usize {
        let allocated = self.init_mm.frames().allocated();
        let mut writers = 0;
        for _ in 0..lives {
            let watch = Watch::over(&self.shared);
            self.live();
            writers += usize::from(watch.end().is_some());
        }
        let watch = Watch::over(&self.shared);
        self.settle();
        writers += usize::from(watch.end().is_some());
        assert_eq!(self.init_mm.frames().allocated(), allocated, "every PGD was freed under watch");
        writers
    }
}

fn page_of(addr: usize) -> Range<usize> {
    let page = PAGE_SIZE as usize;
    let start = addr - addr % page;
    start..start + page
}

fn program<A: ArchPgd>(mm: &NewMm<K<A>>) {
    let range = DATA..DATA + 8 * PAGE_SIZE;
    let rights = Prot::READ | Prot::WRITE;
    let vma = Vma::new(range, rights, VmaFlags::empty(), Backing::Anonymous).expect("whole pages");
    let mut user = mm.user();
    user.mmap(vma).expect("an empty user half");
    user.write_bytes(mm.mm(), DATA, b"watched").expect("frames enough");
}

fn late_lives_write_nothing<G: Geometry>(geometry: G) {
    let kernel = Watched::boot(geometry, LateInit::new);
    assert_eq!(kernel.lives_that_write(LIVES), 0, "{geometry:?}");

    // The watch is over the right pages: what grows the kernel, writes there.
    let watch = Watch::over(&kernel.shared);
    let half = kernel.init_mm.arch().kernel_half();
    let grown = kernel.init_mm.grow(half.last - kernel.slot_span + 1, PAGE_SIZE);
    let _synced = grown.expect("frames enough");
    assert!(watch.end().is_some(), "{geometry:?}");
}

#[test]
fn births_and_deaths_write_nothing_that_is_shared_for_the_pgd() {
    late_lives_write_nothing(TwoLevel);
    late_lives_write_nothing(PaeShared);
    late_lives_write_nothing(PaePrivate);
    late_lives_write_nothing(LongMode::FOUR_LEVEL);
    late_lives_write_nothing(LongMode::FIVE_LEVEL);
}

/// What the test above would see if something was written: the scheme that has a lock.
#[test]
fn under_the_locked_scheme_every_life_does() {
    let kernel = Watched::boot(LongMode::FOUR_LEVEL, Locked::new);
    // And so does the end of the last PGD, after its grace period.
    assert_eq!(kernel.lives_that_write(LIVES), LIVES + 1);
}
