//! A kernel with its own task structure takes `mm-generic` and `arch-x86` alone.
//!
//! This kernel has a process table of fixed size, as Unix v6 had. It tells mm-generic where an mm
//! becomes visible (`PublicationPoint`: a place in the table), how a growth finds every mm (`Walkers`: the table, then
//! the CPUs), and gives it what any kernel has: frames, RCU, a way to load CR3 (`Kernel`). It gets
//! fork, exit and growth without a lock between them; without the feature, the same with one.
//!
//! `cargo run -p tests-host --example own_tasks [--no-default-features]`

use std::array;
use std::cell::Cell;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Mutex as HostMutex;

use arch_x86::X86;
use arch_x86::geometry::{Geometry, LongMode};
use arch_x86::slots::Slots;
use hosted::frames::HostFrames;
use hosted::mmu::{Access, MmuKind, translate};
use kernel_sync::atomic::{AtomicU64, Ordering};
use kernel_sync::{Callback, CallbackQueue, Mutex, Rcu, cpu_relax};
use mm_generic::frames::{Frame, Frames, PAGE_SIZE};
use mm_generic::init_mm::InitMm;
use mm_generic::kernel::{Kernel, RcuGuard};
use mm_generic::kernel_range::KernelRange;
use mm_generic::loaded::LoadedMm;
use mm_generic::mm::{Mm, MmUser};
use mm_generic::object::NoObject;
use mm_generic::prot::Prot;
use mm_generic::publish::{NewMm, PublicationPoint, ReadyMm};
use mm_generic::vma::{Backing, Vma, VmaFlags};
use mm_generic::walk::Walkers;

// ---- The task structure: a table of processes, and what each CPU has loaded. ----

struct Proc {
    /// `None` in a free place, and from exit on.
    mm: Mutex<Option<MmUser<Os>>>,
}

struct ProcTable {
    procs: [Proc; 8],
    cpus: [LoadedMm<Os>; 2],
}

// SAFETY:
// * a published mm is in the table, and the walk looks at every place, under the lock that `exit` takes;
// * a process lets its mm go after its CPU has stored the `LoadedMm`, and the CPUs are visited last;
// * no lock is held from one visit to the next.
unsafe impl Walkers<Os> for ProcTable {
    type Place = ();

    fn place(&'static self) -> Result<(), kernel_sync::OutOfHeap> {
        Ok(())
    }

    fn for_each_published(&self, _rcu: &RcuGuard<Os>, visit: &mut dyn FnMut(&Mm<Os>)) {
        for proc in &self.procs {
            if let Some(mm) = &*proc.mm.lock() {
                visit(mm);
            }
        }
    }

    fn for_each_loaded(&self, rcu: &RcuGuard<Os>, visit: &mut dyn FnMut(&Mm<Os>)) {
        self.cpus.iter().filter_map(|cpu| cpu.get(rcu)).for_each(visit);
    }
}

struct Place<'a>(&'a Proc);

// SAFETY: the unlock is a release, and `ProcTable` finds the mm there until `exit`.
unsafe impl PublicationPoint<Os> for Place<'_> {
    type Published = ();

    fn publish(self, mm: MmUser<Os>) {
        *self.0.mm.lock() = Some(mm);
    }
}

// ---- Fork, schedule and exit, each as long as it has to be. ----

fn fork(os: &'static InitMm<Os>, parent: &Proc, child: &Proc) {
    let mm = NewMm::new(os).expect("frames for a PGD");
    let parent = parent.mm.lock().clone().expect("a parent that is alive");
    mm.copy_user_half(&parent).expect("frames for the tables");
    // Visible first, complete second, and only then may a scheduler see the child: no other order compiles.
    let (published, ()) = mm.publish(Place(child));
    let _runnable: ReadyMm<Os> = published.init_late();
}

fn run(os: &'static InitMm<Os>, cpu: usize, proc: &Proc) {
    let ready = proc.mm.lock().as_ref().map(ReadyMm::of).expect("alive").expect("late-initialised");
    // SAFETY: each thread of this program uses the one CPU that it plays, and nobody preempts it.
    unsafe { os.walkers().cpus[cpu].switch_mm(ready) };
}

/// The CPU goes on with the PGD that it has loaded.
fn exit(proc: &Proc) {
    let mm = proc.mm.lock().take();
    // Not under the lock: the last share tears the user half down.
    drop(mm);
}

/// Adds a page in a top-level slot that is new, and returns its address.
fn grow(os: &InitMm<Os>, slot: u64) -> u64 {
    let geometry = LongMode::FOUR_LEVEL;
    let addr = geometry.kernel_half().first + slot * geometry.slot_span();
    let range = os.grow(addr, PAGE_SIZE).expect("a range of the kernel half");
    let frame = os.frames().alloc().expect("a frame");
    os.map_kernel(&range, addr, frame, Prot::READ | Prot::WRITE).expect("nothing is there yet");
    addr
}

/// Asks the MMU of the CPU that this thread plays, which shares no code with arch-x86.
fn is_mapped(os: &InitMm<Os>, addr: u64) -> bool {
    translate(os.frames(), MmuKind::FourLevel, CR3.get(), addr, Access::KERNEL_WRITE).is_ok()
}

// ---- What any kernel has: CR3, RCU; and page frames, here those of a host process. ----

enum Os {}

thread_local! { static CR3: Cell<u64> = const { Cell::new(0) } }

// SAFETY: CR3 is what `translate` goes by, and it caches no translation.
unsafe impl Kernel for Os {
    type Arch = X86<LongMode, HostFrames>;
    type Frames = HostFrames;
    type Rcu = CountedSections;
    type Walkers = ProcTable;
    type Object = NoObject;

    unsafe fn load_pgd(root: Frame) {
        CR3.set(root.phys());
    }

    fn flush_tlb(_mm: &Mm<Self>, _range: Range<u64>) {}

    fn flush_kernel_tlb(_range: KernelRange) {}
}

/// RCU in its simplest form: callbacks run at a moment when no section is open. A kernel has a better one.
struct CountedSections;

static SECTIONS: HostMutex<(usize, CallbackQueue)> = HostMutex::new((0, CallbackQueue::new()));

struct Section(PhantomData<*const ()>);

// SAFETY: at a moment without sections all earlier ones have ended; the lock orders what they did before the callbacks.
unsafe impl Rcu for CountedSections {
    type Guard = Section;

    fn read_lock() -> Section {
        SECTIONS.lock().expect("no panic").0 += 1;
        Section(PhantomData)
    }

    fn call_rcu(callback: Callback) {
        SECTIONS.lock().expect("no panic").1.push(callback);
        drop(Self::read_lock());
    }
}

impl Drop for Section {
    fn drop(&mut self) {
        let mut sections = SECTIONS.lock().expect("no panic");
        sections.0 -= 1;
        let mut ready = CallbackQueue::new();
        if sections.0 == 0 {
            std::mem::swap(&mut ready, &mut sections.1);
        }
        drop(sections);
        while let Some(callback) = ready.pop() {
            callback.run();
        }
    }
}

// ---- A day in the life. ----

const DATA: u64 = 0x10_0000;

pub(crate) fn main() {
    let frames = HostFrames::new(4096).leak();
    let slots = Slots::with_empty_reference(LongMode::FOUR_LEVEL, frames).expect("a frame");
    let table = ProcTable {
        procs: array::from_fn(|_| Proc { mm: Mutex::new(None) }),
        cpus: array::from_fn(|_| LoadedMm::new()),
    };
    let os: &'static InitMm<Os> = Box::leak(Box::new(InitMm::new(X86::new(slots), frames, table)));
    let [init, child, other, ..] = &os.walkers().procs;

    // The first process: an mm made by hand.
    let mm = NewMm::new(os).expect("frames for a PGD");
    let data = DATA..DATA + 4 * PAGE_SIZE;
    let vma = Vma::new(data, Prot::READ | Prot::WRITE, VmaFlags::empty(), Backing::Anonymous);
    mm.user().mmap(vma.expect("whole pages")).expect("an empty user half");
    mm.user().write_bytes(mm.mm(), DATA, b"init!").expect("a frame");
    let (published, ()) = mm.publish(Place(init));
    published.init_late();

    // Fork: the child has a copy of its own.
    run(os, 0, init);
    fork(os, init, child);
    run(os, 0, child);
    let read = |proc: &Proc| {
        let (mm, mut bytes) = (proc.mm.lock().clone().expect("alive"), [0; 5]);
        mm.user().read_bytes(&mm, DATA, &mut bytes).expect("mapped");
        bytes
    };
    let mm = child.mm.lock().clone().expect("alive");
    mm.user().write_bytes(&mm, DATA, b"child").expect("a frame");
    drop(mm);
    assert_eq!((&read(init), &read(child)), (b"init!", b"child"));
    println!("fork: parent and child have the same address and different bytes");

    // Growth: every PGD has the new address, that of the process that runs and that of the one that waits.
    let first = grow(os, 0);
    assert!(is_mapped(os, first));
    run(os, 0, init);
    assert!(is_mapped(os, first));
    println!("growth: {first:#x} is mapped in both");

    // Exit: the CPU is left on a PGD that no process has, and a growth finds it there.
    run(os, 0, child);
    exit(child);
    let second = grow(os, 1);
    assert!(is_mapped(os, second));
    println!("lazy: {second:#x} is mapped in the PGD of the process that has exited");
    run(os, 0, init);

    // Both at once: this CPU grows, another forks, runs and ends processes.
    const SLOTS: u64 = 128;
    let (grown, births) = (AtomicU64::new(2), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let forker = scope.spawn(|| {
            while grown.load(Ordering::Relaxed) < SLOTS {
                fork(os, init, other);
                run(os, 1, other);
                // What had returned before this load must be there.
                let newest = first + ((grown.load(Ordering::Acquire) - 1) << 39);
                assert!(is_mapped(os, newest), "{newest:#x} is missing");
                exit(other);
                births.fetch_add(1, Ordering::Relaxed);
            }
            // SAFETY: as in `run`.
            unsafe { os.walkers().cpus[1].leave_mm(os) };
        });
        for slot in 2..SLOTS {
            while births.load(Ordering::Relaxed) < 8 * slot && !forker.is_finished() {
                cpu_relax();
            }
            grow(os, slot);
            grown.store(slot + 1, Ordering::Release);
        }
    });
    println!("race: {} growths against {} births, none missed", SLOTS - 2, births.into_inner());

    // SAFETY: as in `run`.
    unsafe { os.walkers().cpus[0].leave_mm(os) };
    exit(init);
    // The reference PGD, and three tables and a page for each slot.
    assert_eq!(frames.allocated() as u64, 1 + 4 * SLOTS);
    println!("the end: every frame of every process is free again");
}
