//! The heap runs out at every single allocation of a fork, a clone and an exec.
//!
//! The product promises a typed error, and nothing left behind, wherever it allocates with `try_reserve` or
//! `RcuArc::try_new`. It does not everywhere: a B-tree's nodes and what RCU keeps of a callback come from
//! `alloc`, which aborts. This test finds out which allocations are which, and fails when one becomes
//! infallible that is not on the list of [`INFALLIBLE`].
//!
//! An abort ends the process. So each allocation gets a process of its own, this binary with one test and the number of
//! the allocation in [`FAILING`], whose end the parent judges.
#![cfg(not(loom))]

use std::alloc::{GlobalAlloc, Layout, System};
use std::backtrace::Backtrace;
use std::cell::Cell;
use std::env;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};
use std::sync::Arc;

use arch_x86::X86;
use arch_x86::geometry::LongMode;
use arch_x86::slots::Slots;
use hosted::cpu::HostCpu;
use hosted::frames::HostFrames;
use hosted::kernel::{Host, HostFile, NoError, With};
use hosted::mmu::MmuKind;
use hosted::world::{Leftovers, World};
use kernel_exec::elf::{Class, ElfError, Machine, Target};
use kernel_exec::load::{Credentials, LoadError, LoadRequest, Platform, load};
use kernel_exec::stack::{StackError, StackLimits};
use kernel_fork::args::CloneArgs;
use kernel_fork::copy_process::{copy_process, first_process};
use kernel_fork::error::ForkError;
use kernel_fork::exit::{exit, reap};
use kernel_task::pid::{PidError, PidReservation};
use kernel_task::process::{ExitStatus, JoinError};
use kernel_task::task::TaskRef;
use kernel_task::tasks::Tasks;
use mm_generic::arch::PgdAllocError;
use mm_generic::frames::PAGE_SIZE;
use mm_generic::mm::NewMmError;
use mm_generic::prot::Prot;
use mm_generic::publish::NewMm;
use mm_generic::vma::{Backing, Vma, VmaFlags};

/// Number of the allocation that is to fail, from 0, in the environment of a process that is to try it.
const FAILING: &str = "FORK_HEAP_FAILING";

/// Where the product allocates through `alloc` and an exhausted heap aborts: the VMAs of a fork's child and of any
/// edit, and the batch that RCU callbacks are put into.
const INFALLIBLE: [&str; 3] = ["VmaSet<B>::fork_copy", "VmaSet<B>::splice", "EpochCpu::call_rcu"];

/// The system's allocator, with one allocation that fails.
struct FailingOnce;

thread_local! {
    /// Allocations of this thread that still succeed, while one is to fail.
    static LEFT: Cell<Option<u64>> = const { Cell::new(None) };
}

#[global_allocator]
static ALLOCATOR: FailingOnce = FailingOnce;

// SAFETY: what is not refused, `System` does.
unsafe impl GlobalAlloc for FailingOnce {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if strikes() {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's promise is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is the same.
        unsafe { System.dealloc(memory, layout) };
    }
}

/// Counts an allocation, and tells whether it is the one that fails. Says where that is.
fn strikes() -> bool {
    let left = LEFT.try_with(Cell::get).ok().flatten();
    let Some(left) = left else { return false };
    if left > 0 {
        LEFT.set(Some(left - 1));
        return false;
    }
    LEFT.set(None);
    let trace = Backtrace::force_capture().to_string();
    let product = ["mm_generic::", "kernel_task::", "kernel_fork::", "kernel_exec::", "arch_x86::"];
    let site = trace
        .lines()
        .filter_map(|line| line.split_once(": ").map(|(_, name)| name))
        .find(|name| product.iter().any(|path| name.contains(path)));
    eprintln!("failing: {}", site.unwrap_or("nowhere in the product"));
    true
}

type Kernel = Host<With<X86<LongMode, HostFrames>>>;

/// One process of a kernel that makes others, and the account of what it had before.
struct Ground {
    world: World<With<X86<LongMode, HostFrames>>>,
    cpu: HostCpu,
    init: TaskRef<Kernel>,
}

/// Pids of a segment of the table, which is allocated when the first pid in it is wanted.
const SEGMENT: u32 = 4096;

impl Ground {
    fn new() -> Self {
        let frames = HostFrames::new(1024).checked().leak();
        let slots = Slots::with_empty_reference(LongMode::FOUR_LEVEL, frames);
        let arch = X86::new(slots.expect("frames enough"));
        let tasks = Tasks::new(2 * SEGMENT, 1).expect("a good limit");
        let world: World<_> = World::boot(frames, 0, arch, tasks);
        let cpu = world.cpu_online();
        let mm = NewMm::new(world.init_mm()).expect("frames enough");
        // More VMAs than a node of the B-tree has room for, so that the copy of the set allocates several.
        for number in 1..=16 {
            let start = number << 20;
            let range = start..start + PAGE_SIZE;
            let vma = Vma::new(range, Prot::READ | Prot::WRITE, VmaFlags::empty(), Backing::Anonymous);
            mm.user().mmap(vma.expect("a page")).expect("free addresses");
            mm.user().write_bytes(mm.mm(), start, &[1]).expect("frames enough");
        }
        let init = first_process(world.init_mm(), Some(mm), (), 0).expect("room enough");
        Self { world, cpu, init: init.into_task() }
    }

    fn fork(&self, args: &CloneArgs) -> Result<TaskRef<Kernel>, ForkError<NoError>> {
        copy_process(self.world.init_mm(), &self.init, args, 0).map(|made| made.into_task())
    }

    /// Ends the kernel and asserts that nothing but init was left: no child, no pid, no frame, no callback.
    fn end(self) {
        let Self { world, cpu, init } = self;
        assert!(!init.process().has_child(|_| true), "a child is left");
        assert_eq!(init.process().live_threads(), 1, "a thread is left");
        assert_eq!(init.mm().expect("init has an mm").users(), 2, "init's share and this one");
        let pids = world.tasks().pids();
        let mut held: Vec<PidReservation<'_, _, _>> = Vec::new();
        let error = loop {
            match pids.alloc(0) {
                Ok(reservation) => held.push(reservation),
                Err(error) => break error,
            }
        };
        assert_eq!(error, PidError::Exhausted { limit: 2 * SEGMENT });
        assert_eq!(held.len(), 2 * SEGMENT as usize - 2, "all pids but 0 and init's can be had");
        drop((held, init, cpu));
        // SAFETY: no CPU is left, and no reference.
        let left = unsafe { world.shut_down(MmuKind::FourLevel) };
        assert_eq!(left, Leftovers { leaked_frames: 0, pending_callbacks: 0 });
    }

    fn reap(&self, child: &TaskRef<Kernel>) {
        let init = self.init.process();
        exit(self.world.init_mm(), child, ExitStatus::Exited(0), init);
        if child.is_leader() {
            assert!(reap(self.world.init_mm(), init, |_| true).is_some());
        }
    }
}

/// Calls `attempt` with the allocation failing that the environment names; `None` if it needs fewer.
fn with_failure<T>(attempt: impl FnOnce() -> T) -> (T, bool) {
    let failing = env::var(FAILING).expect("in a process that is to try it");
    LEFT.set(Some(failing.parse().expect("a number")));
    let value = attempt();
    let all_succeeded = LEFT.take().is_some();
    (value, all_succeeded)
}

/// What became of one allocation's failure.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// There is no such allocation.
    NotReached,
    /// A typed error.
    Typed(String),
    /// The process was aborted.
    Aborted(String),
}

fn judge(output: &Output) -> Outcome {
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let site = stderr.lines().find_map(|line| line.strip_prefix("failing: ")).map(str::to_owned);
    match (output.status.success(), site) {
        (true, None) => Outcome::NotReached,
        (true, Some(site)) => Outcome::Typed(site),
        (false, Some(site)) if output.status.signal() == Some(6) => {
            assert!(stderr.contains("memory allocation of"), "{stderr}");
            Outcome::Aborted(site)
        }
        _ => panic!("{}\n{}\n{stderr}", output.status, String::from_utf8_lossy(&output.stdout)),
    }
}

/// In the process that the test is started in: starts one for each allocation. In those: calls `attempt`, which asserts
/// that a failure is typed.
fn for_each_allocation(typed_at_least: usize, attempt: impl FnOnce()) {
    if env::var_os(FAILING).is_some() {
        attempt();
        return;
    }
    let test = std::thread::current().name().expect("a test's thread has its name").to_owned();
    let mut typed = Vec::new();
    let mut aborted = Vec::new();
    for failing in 0.. {
        let output = Command::new(env::current_exe().expect("this binary"))
            .args(["--exact", &test, "--nocapture"])
            .env(FAILING, failing.to_string())
            .env("RUST_BACKTRACE", "0")
            .output()
            .expect("a process more");
        match judge(&output) {
            Outcome::NotReached => break,
            Outcome::Typed(site) => typed.push(site),
            Outcome::Aborted(site) => aborted.push(site),
        }
    }
    println!("{test}\n  typed: {typed:#?}\n  aborted: {aborted:#?}");
    assert!(typed.len() >= typed_at_least, "{typed:?}");
    for site in aborted {
        assert!(INFALLIBLE.iter().any(|known| site.contains(known)), "new and infallible: {site}");
    }
}

/// Attempts a fork, and checks the error and what is left.
fn attempt_fork(args: &CloneArgs, is_expected: fn(&ForkError<NoError>) -> bool) {
    let ground = Ground::new();
    let (made, all_succeeded) = with_failure(|| ground.fork(args));
    match made {
        Ok(child) => {
            assert!(all_succeeded, "an allocation failed and nobody said so");
            ground.reap(&child);
        }
        Err(error) => assert!(is_expected(&error), "{error}"),
    }
    ground.end();
}

#[test]
fn a_fork() {
    for_each_allocation(3, || {
        attempt_fork(&CloneArgs::FORK, |error| {
            matches!(
                error,
                ForkError::NewMm(
                    NewMmError::OutOfHeap(_) | NewMmError::Pgd(PgdAllocError::OutOfHeap(_))
                ) | ForkError::OutOfHeap(_)
            )
        });
    });
}
