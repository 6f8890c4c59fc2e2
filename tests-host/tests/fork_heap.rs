//! The heap runs out at every single allocation of a fork, a clone, an exec, an edit of the VMAs, a growth, a replacement
//! and a reclaim, while another CPU forks, execs, exits and grows.
//!
//! The product promises a typed error, and nothing left behind. Exit, reaping and what RCU makes of them allocate nothing at all, for
//! there is nobody to be told.
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
use std::sync::atomic::{AtomicBool, Ordering};

use arch_x86::X86;
use arch_x86::geometry::LongMode;
use arch_x86::slots::Slots;
use hosted::cpu::HostCpu;
use hosted::frames::HostFrames;
use hosted::kernel::{Host, HostFile, NoError, With};
use hosted::mmu::MmuKind;
use hosted::world::{Leftovers, World};
use kernel_exec::elf::{Class, ElfError, Machine, Target};
use kernel_exec::exec_mmap::exec_mmap;
use kernel_exec::load::{Credentials, LoadError, LoadRequest, Platform, load};
use kernel_exec::stack::{StackError, StackLimits};
use kernel_fork::args::CloneArgs;
use kernel_fork::copy_process::{RunnableTask, copy_process, first_process};
use kernel_fork::error::ForkError;
use kernel_fork::exit::{exit, reap};
use kernel_task::pid::{PidError, PidReservation};
use kernel_task::process::{ExitStatus, JoinError};
use kernel_task::task::TaskRef;
use kernel_task::tasks::Tasks;
use mm_generic::arch::{PgdAllocError, PopulateError};
use mm_generic::frames::{Frames, PAGE_SIZE};
use mm_generic::growth::{GrowError, SyncedRange};
use mm_generic::mm::NewMmError;
use mm_generic::prot::Prot;
use mm_generic::publish::NewMm;
use mm_generic::replacement::{ReplaceError, Replacement};
use mm_generic::user::{Access, FaultError, ForkMmError};
use mm_generic::vma::{Backing, Vma, VmaError, VmaFlags};

/// Number of the allocation that is to fail, from 0, in the environment of a process that is to try it.
const FAILING: &str = "FORK_HEAP_FAILING";

/// With this in the environment an allocation that cannot be refused is put into every attempt, and a test must fail.
const PLANTED: &str = "FAULTS_PLANT";

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
    eprintln!("failing: {}", site(&Backtrace::force_capture().to_string()));
    true
}

/// The innermost line of the product in a backtrace.
fn site(trace: &str) -> &str {
    let crates = ["mm-generic", "arch-x86", "kernel-fork", "kernel-task", "kernel-exec"];
    let lines = trace.lines().filter_map(|line| line.trim_start().strip_prefix("at "));
    let of_product =
        |path: &str| crates.iter().filter_map(|name| path.find(&format!("{name}/src/"))).next();
    lines
        .filter_map(|path| of_product(path).map(|start| &path[start..]))
        .next()
        .unwrap_or("nowhere in the product")
}

type Kernel = Host<With<X86<LongMode, HostFrames>>>;

/// One process of a kernel that makes others, and the account of what it had before.
struct Ground {
    world: World<With<X86<LongMode, HostFrames>>>,
    cpu: HostCpu,
    init: TaskRef<Kernel>,
    /// Mms that fill the first four places of the locked scheme's `pgd_list`: the next one makes it grow.
    spare: [NewMm<Kernel>; 3],
}

/// First address of the kernel half, and bytes that a slot of it maps.
const KERNEL: u64 = 0xffff_8000_0000_0000;
const SLOT: u64 = 512 << 30;

const RW: Prot = Prot::READ.union(Prot::WRITE);

/// Sets the flag when it goes, be it by a panic: the others would else go on for ever.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Pids of a segment of the table, which is allocated when the first pid in it is wanted.
const SEGMENT: u32 = 4096;

impl Ground {
    fn new() -> Self {
        let frames = HostFrames::new(1024).checked().leak();
        let slots = Slots::with_empty_reference(LongMode::FOUR_LEVEL, frames);
        let arch = X86::new(slots.expect("frames enough"));
        let tasks = Tasks::new(2 * SEGMENT, 2).expect("a good limit");
        let world: World<_> = World::boot(frames, 0, arch, tasks);
        let cpu = world.cpu_online();
        let mm = NewMm::new(world.init_mm()).expect("frames enough");
        // So many that an edit has to find room for more.
        for number in 1..=16 {
            let start = number << 20;
            let range = start..start + PAGE_SIZE;
            let vma =
                Vma::new(range, Prot::READ | Prot::WRITE, VmaFlags::empty(), Backing::Anonymous);
            mm.user().mmap(vma.expect("a page")).expect("free addresses");
            mm.user().write_bytes(mm.mm(), start, &[1]).expect("frames enough");
        }
        let init = first_process(world.init_mm(), Some(mm), (), 0).expect("room enough");
        let spare = [(); 3].map(|()| NewMm::new(world.init_mm()).expect("frames enough"));
        Self { world, cpu, init: init.into_task(), spare }
    }

    fn fork(&self, args: &CloneArgs) -> Result<TaskRef<Kernel>, ForkError<NoError>> {
        copy_process(self.world.init_mm(), &self.init, args, 0).map(RunnableTask::into_task)
    }

    /// Ends the kernel and asserts that nothing but init was left: no child, no pid, no frame, no callback.
    fn end(self) {
        let Self { world, cpu, init, spare } = self;
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
        drop((held, init, spare, cpu));
        // SAFETY: no CPU is left, and no reference.
        let left = unsafe { world.shut_down(MmuKind::FourLevel) };
        assert_eq!(left, Leftovers { leaked_frames: 0, pending_callbacks: 0 });
    }

    /// Runs `attempt` while another CPU forks, execs, exits and grows. Its heap does not run out.
    fn in_company<R>(&self, attempt: impl FnOnce() -> R) -> R {
        let (over, begun) = (AtomicBool::new(false), AtomicBool::new(false));
        let (over, begun) = (&over, &begun);
        let world = &self.world;
        let (init_mm, parent) = (world.init_mm(), self.init.process().parent());
        assert!(parent.is_none(), "the first process has none");
        let first = &self.init;
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let cpu = world.cpu_online();
                let loaded = world.tasks().loaded(1).expect("CPU 1");
                // A process of its own, so that the account of the attempt's children is not disturbed.
                let mm = NewMm::new(init_mm).expect("heap enough");
                let parent = first_process(init_mm, Some(mm), (), 1).expect("heap enough");
                let parent = parent.into_task();
                let mut turn = 0_u64;
                while !over.load(Ordering::Acquire) || turn < 2 {
                    // No grace period ends while the attempt stands in a read-side section.
                    if turn >= 2 && world.frames().allocated() > 512 {
                        cpu.rcu().quiesce();
                        std::thread::yield_now();
                        continue;
                    }
                    let child = copy_process(init_mm, &parent, &CloneArgs::FORK, 1);
                    let child = child.expect("heap enough").into_task();
                    let new = NewMm::new(init_mm).expect("heap enough");
                    // SAFETY: this thread plays CPU 1.
                    drop(unsafe { exec_mmap(&child, loaded, new) }.expect("one thread"));
                    let addr = KERNEL + (8 + turn % 32) * SLOT;
                    let range = init_mm.grow(addr, PAGE_SIZE).expect("a free slot");
                    // SAFETY: nobody uses the range, and nothing is mapped in it.
                    unsafe { init_mm.reclaim(range, |_, _| ()) }.expect("heap enough");
                    // SAFETY: this thread plays CPU 1.
                    unsafe { loaded.leave_mm(init_mm) };
                    exit(init_mm, &child, ExitStatus::Exited(0), first.process());
                    drop(child);
                    while reap(init_mm, parent.process(), |_| true).is_some() {}
                    cpu.rcu().quiesce();
                    turn += 1;
                    begun.store(true, Ordering::Release);
                }
                exit(init_mm, &parent, ExitStatus::Exited(0), first.process());
                drop(parent);
                while reap(init_mm, first.process(), |child| child.live_threads() == 0).is_some() {}
            });
            let _ends = Ends(over);
            while !begun.load(Ordering::Acquire) {
                std::hint::spin_loop();
            }
            attempt()
        })
    }

    fn exit(&self, task: &TaskRef<Kernel>) {
        exit(self.world.init_mm(), task, ExitStatus::Exited(0), self.init.process());
    }

    fn reap(&self, child: &TaskRef<Kernel>) {
        self.exit(child);
        if child.is_leader() {
            assert!(reap(self.world.init_mm(), self.init.process(), |_| true).is_some());
        }
    }
}

/// Calls `attempt` with the allocation failing that the environment names; tells whether it got by with fewer.
fn with_failure<T>(attempt: impl FnOnce() -> T) -> (T, bool) {
    let failing = env::var(FAILING).expect("in a process that is to try it");
    LEFT.set(Some(failing.parse().expect("a number")));
    if env::var(PLANTED).is_ok_and(|name| name == "infallible-allocation") {
        drop(std::hint::black_box(Box::new([0_u8; 100])));
    }
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
    println!("covered {} allocations from the heap refused", typed.len() + aborted.len());
    assert!(typed.len() >= typed_at_least, "{typed:?}");
    assert!(aborted.is_empty(), "infallible: {aborted:?}");
}

/// Calls `attempt` with the allocation failing that the environment names, and drops what it made. Returns
/// whether it made anything, and asserts that a failure was not kept secret and that the error is expected.
fn expect<T, E: std::error::Error>(
    attempt: impl FnOnce() -> Result<T, E>,
    is_expected: fn(&E) -> bool,
) -> Option<T> {
    let (made, all_succeeded) = with_failure(attempt);
    match made {
        Ok(made) => {
            assert!(all_succeeded, "an allocation failed and nobody said so");
            Some(made)
        }
        Err(error) => {
            assert!(is_expected(&error), "{error}");
            None
        }
    }
}

fn is_lack_of_mm(error: &NewMmError) -> bool {
    matches!(error, NewMmError::OutOfHeap(_) | NewMmError::Pgd(PgdAllocError::OutOfHeap(_)))
}

fn is_lack_of_heap(error: &ForkError<NoError>) -> bool {
    match error {
        ForkError::NewMm(error) => is_lack_of_mm(error),
        ForkError::Pid(error) => matches!(error, PidError::NoMemory { .. }),
        ForkError::Join(error) => matches!(error, JoinError::OutOfHeap(_)),
        ForkError::OutOfHeap(_) | ForkError::CopyMm(ForkMmError::OutOfHeap(_)) => true,
        _ => false,
    }
}

fn is_lack_for_vmas(error: &VmaError) -> bool {
    matches!(error, VmaError::OutOfHeap(_))
}

fn attempt_fork(args: &CloneArgs) {
    let ground = Ground::new();
    if let Some(child) = ground.in_company(|| expect(|| ground.fork(args), is_lack_of_heap)) {
        ground.reap(&child);
    }
    ground.end();
}

#[test]
fn a_fork() {
    // The mm, the process, the task; the locked scheme's list of PGDs.
    let typed = if cfg!(feature = "pgd-init-late") { 3 } else { 4 };
    for_each_allocation(typed, || attempt_fork(&CloneArgs::FORK));
}

#[test]
fn a_process_on_its_parents_mm() {
    // The process, the task.
    for_each_allocation(2, || attempt_fork(&CloneArgs::VFORK));
}

#[test]
fn a_thread() {
    // The task, its place in the process.
    for_each_allocation(2, || attempt_fork(&CloneArgs::THREAD));
}

/// The pid is the first of its segment of the table.
#[test]
fn a_pid_in_a_new_segment() {
    for_each_allocation(3, || {
        let ground = Ground::new();
        let pids = ground.world.tasks().pids();
        let mut held = Vec::new();
        loop {
            let reservation = pids.alloc(0).expect("two segments");
            if reservation.pid().get() == SEGMENT - 1 {
                break held.push(reservation);
            }
            held.push(reservation);
        }
        if let Some(child) = expect(|| ground.fork(&CloneArgs::VFORK), is_lack_of_heap) {
            assert_eq!(child.pid().get(), SEGMENT);
            ground.reap(&child);
        }
        drop(held);
        ground.end();
    });
}

#[test]
fn a_kernel_thread() {
    for_each_allocation(2, || {
        let ground = Ground::new();
        let make = || first_process(ground.world.init_mm(), None, (), 0);
        if let Some(thread) = expect(make, is_lack_of_heap) {
            ground.exit(&thread.into_task());
        }
        ground.end();
    });
}

#[test]
fn a_first_process() {
    for_each_allocation(2, || {
        let ground = Ground::new();
        let mm = NewMm::new(ground.world.init_mm()).expect("frames enough");
        let make = || first_process(ground.world.init_mm(), Some(mm), (), 0);
        if let Some(first) = expect(make, is_lack_of_heap) {
            ground.exit(&first.into_task());
        }
        ground.end();
    });
}

/// What an exit frees it hands to RCU, and neither of the two allocates, nor does what RCU does with it.
#[test]
fn an_exit() {
    for_each_allocation(0, || {
        let ground = Ground::new();
        // More than one batch of callbacks; some have an mm of their own.
        let args = |number| if number % 8 == 0 { CloneArgs::FORK } else { CloneArgs::VFORK };
        let children: Vec<_> =
            (0..70).map(|number| ground.fork(&args(number)).expect("room enough")).collect();
        let exit_all = || {
            for child in children {
                ground.reap(&child);
                ground.cpu.rcu().quiesce();
            }
            let before = ground.world.frames().allocated();
            // Queued, sealed, handed over, run.
            (0..3).for_each(|_| ground.cpu.rcu().flush());
            assert!(ground.world.frames().allocated() < before, "an mm has been freed");
        };
        let ((), all_succeeded) = with_failure(exit_all);
        assert!(all_succeeded, "an allocation failed and nobody said so");
        ground.end();
    });
}

/// An Elf64 executable of one page: headers, and a text of one byte.
fn executable() -> Vec<u8> {
    const VADDR: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    // e_type, e_machine, e_version, e_entry, e_phoff, e_shoff, e_flags, the sizes.
    for half in [2_u16, 62] {
        file.extend(half.to_le_bytes());
    }
    file.extend(1_u32.to_le_bytes());
    for word in [VADDR + HEADERS, 64, 0] {
        file.extend(word.to_le_bytes());
    }
    file.extend(0_u32.to_le_bytes());
    for half in [64_u16, 56, 1, 0, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    // p_type, p_flags, p_offset, p_vaddr, p_paddr, p_filesz, p_memsz, p_align.
    for half in [1_u32, 5] {
        file.extend(half.to_le_bytes());
    }
    for word in [0, VADDR, VADDR, HEADERS + 1, HEADERS + 1, PAGE_SIZE] {
        file.extend(word.to_le_bytes());
    }
    file.push(0xcc);
    file
}

#[test]
fn an_exec() {
    // The load plan, the stack image, the mm; the locked scheme's list of PGDs.
    let typed = if cfg!(feature = "pgd-init-late") { 3 } else { 4 };
    for_each_allocation(typed, || {
        let ground = Ground::new();
        let bytes = executable();
        let file = HostFile(Arc::from(bytes.as_slice()));
        let stack_top = (1 << 47) - PAGE_SIZE;
        let target = Target {
            class: Class::Elf64,
            machine: Machine::X86_64,
            user: 0x1_0000..stack_top - (16 << 20),
            pie_base: 0x5555_5555_4000,
        };
        let request = LoadRequest {
            target: &target,
            stack_top,
            stack_limits: StackLimits::linux(8 << 20),
            argv: &[b"sample"],
            envp: &[b"HOME=/"],
            execfn: b"/sample",
            credentials: Credentials::default(),
            platform: Platform { name: b"x86_64", hwcap: 0, clktck: 100 },
            random: [7; 16],
            vdso: None,
        };
        let attempt = || load(ground.world.init_mm(), &file, &bytes, &request);
        let image = expect(attempt, |error| match error {
            LoadError::Elf(error) => matches!(error, ElfError::OutOfMemory { .. }),
            LoadError::Stack(error) => matches!(error, StackError::OutOfMemory { .. }),
            LoadError::NewMm(error) => is_lack_of_mm(error),
            LoadError::MapSegment(error) | LoadError::MapStack(error) => is_lack_for_vmas(error),
            _ => false,
        });
        drop(image);
        ground.end();
    });
}

fn vma(first: u64, pages: u64) -> Vma<HostFile> {
    let range = first..first + pages * PAGE_SIZE;
    Vma::new(range, RW, VmaFlags::empty(), Backing::Anonymous).expect("whole pages")
}

/// An edit of the first process's VMAs, which are 16 single pages a MiB apart from each other, and are as they were when it is refused.
fn attempt_edit(edit: impl FnOnce(&Ground) -> Result<(), VmaError>) {
    let ground = Ground::new();
    let picture = || {
        let mm = ground.init.mm().expect("a user task");
        let user = mm.user();
        user.vmas().iter().map(|vma| (vma.range(), vma.prot())).collect::<Vec<_>>()
    };
    let before = picture();
    if ground.in_company(|| expect(|| edit(&ground), is_lack_for_vmas)).is_none() {
        assert_eq!(picture(), before, "a refused edit left traces");
    }
    ground.end();
}

#[test]
fn an_mmap() {
    for_each_allocation(1, || {
        attempt_edit(|ground| ground.init.mm().expect("a task").user().mmap(vma(40 << 20, 3)));
    });
}

#[test]
fn an_mmap_over_others() {
    for_each_allocation(2, || {
        attempt_edit(|ground| {
            let mm = ground.init.mm().expect("a user task");
            mm.user().mmap_fixed(&mm, vma(2 << 20, 1 << 10))
        });
    });
}

#[test]
fn a_munmap() {
    for_each_allocation(1, || {
        attempt_edit(|ground| {
            let mm = ground.init.mm().expect("a user task");
            mm.user().munmap(&mm, 1 << 20..5 << 20)
        });
    });
}

#[test]
fn an_mprotect() {
    for_each_allocation(2, || {
        attempt_edit(|ground| {
            let mm = ground.init.mm().expect("a user task");
            mm.user().mprotect(&mm, 1 << 20..(1 << 20) + PAGE_SIZE, Prot::READ)
        });
    });
}

#[test]
fn a_brk() {
    for_each_allocation(1, || {
        attempt_edit(|ground| {
            let mm = ground.init.mm().expect("a user task");
            let end = (1 << 20) + PAGE_SIZE;
            mm.user().brk(&mm, end, end + 7 * PAGE_SIZE)
        });
    });
}

#[test]
fn a_stack_that_grows() {
    for_each_allocation(1, || {
        let ground = Ground::new();
        let mm = ground.init.mm().expect("a user task");
        let top = 64 << 20;
        let stack = top - PAGE_SIZE..top;
        let stack = Vma::new(stack, RW, VmaFlags::GROWS_DOWN, Backing::Anonymous);
        mm.user().mmap(stack.expect("a page")).expect("free addresses");
        let touch = || mm.user().fault(&mm, top - 3 * PAGE_SIZE, Access::Write).map(drop);
        expect(touch, |error| matches!(error, FaultError::OutOfHeap { .. }));
        drop(mm);
        ground.end();
    });
}

/// A range of one page in slot 3, with the page mapped.
fn mapped(ground: &Ground) -> SyncedRange {
    let init_mm = ground.world.init_mm();
    let addr = KERNEL + 3 * SLOT;
    let range = init_mm.grow(addr, PAGE_SIZE).expect("a free slot");
    let frame = ground.world.frames().alloc().expect("frames enough");
    init_mm.map_kernel(&range, addr, frame, RW).expect("a free page");
    range
}

fn give_back(ground: &Ground, range: SyncedRange) {
    let frames = ground.world.frames();
    // SAFETY: nobody uses the range; each frame is handed over once and was allocated for it.
    unsafe { ground.world.init_mm().reclaim(range, |_, frame| frames.put(frame)) }
        .expect("heap enough");
}

#[test]
fn a_growth() {
    for_each_allocation(1, || {
        let ground = Ground::new();
        let grow = || ground.world.init_mm().grow(KERNEL + 2 * SLOT, 3 * SLOT);
        let is_lack =
            |error: &GrowError| matches!(error, GrowError::Populate(PopulateError::OutOfHeap(_)));
        if let Some(range) = ground.in_company(|| expect(grow, is_lack)) {
            give_back(&ground, range);
        }
        ground.end();
    });
}

#[test]
fn a_replacement() {
    for_each_allocation(2, || {
        let ground = Ground::new();
        let mut range = mapped(&ground);
        let addr = range.start();
        let replace = || ground.world.init_mm().replace(&mut range, addr, Replacement::Move);
        let is_lack = |error: &ReplaceError| matches!(error, ReplaceError::OutOfHeap(_));
        ground.in_company(|| expect(replace, is_lack));
        give_back(&ground, range);
        ground.end();
    });
}

#[test]
fn a_reclaim() {
    for_each_allocation(2, || {
        let ground = Ground::new();
        let range = mapped(&ground);
        let frames = ground.world.frames();
        let init_mm = ground.world.init_mm();
        let (result, all_succeeded) = ground.in_company(|| {
            // SAFETY: nobody uses the range; each frame is handed over once and was allocated for it.
            with_failure(|| unsafe { init_mm.reclaim(range, |_, frame| frames.put(frame)) })
        });
        match result {
            Ok(()) => assert!(all_succeeded, "an allocation failed and nobody said so"),
            Err(error) => {
                assert!(matches!(error.source, ReplaceError::OutOfHeap(_)), "{error}");
                give_back(&ground, error.range);
            }
        }
        ground.end();
    });
}
