//! A kernel with its own page-table code implements `ArchPgd` on it, and takes tasks and fork as they are.
//!
//! The tables are nobody's but this kernel's: two levels of 512 entries, 2 MiB to a top-level entry.
//! `PageTables` is what it has anyway, by page. On top of it stand two architectures:
//!
//! * [`SharedRoot`]: the upper half of every top-level table shows the kernel, as on x86. The late hook and the
//!   walk are two lines each, because `ReferencePgd` keeps the books.
//! * [`SeparateRoot`]: the kernel has a root of its own, as with arm64's TTBR1. There is nothing to do late, and the hook
//!   stays as it is: empty.
//!
//! `cargo run -p tests-host --example own_page_tables [--no-default-features]`

use std::ops::{ControlFlow, Range};

use hosted::frames::HostFrames;
use hosted::kernel::{Host, With};
use hosted::world::World;
use kernel_fork::args::CloneArgs;
use kernel_fork::copy_process::{copy_process, first_process};
use kernel_fork::exit::{exit, reap};
use kernel_sync::atomic::{AtomicU64, Ordering};
use kernel_sync::{Mutex, smp_mb};
use kernel_task::process::ExitStatus;
use kernel_task::task::{Task, TaskRef};
use kernel_task::tasks::Tasks;
use mm_generic::arch::{ArchPgd, PgdAllocError, PgdWalk, PopulateError};
use mm_generic::frames::{Frame, Frames, OutOfFrames, PAGE_SIZE};
use mm_generic::kernel_range::{KernelHalf, KernelRange};
use mm_generic::page_tables::{Leaf, MapError, PageTables, Shows};
use mm_generic::prot::Prot;
use mm_generic::publish::NewMm;
use mm_generic::reference::ReferencePgd;
use mm_generic::vma::{Backing, Vma, VmaFlags};

// ---- The page tables. An entry: the frame, rights in bits 1 to 3, bit 0 for "there is something". ----

const SLOT: u64 = 512 * PAGE_SIZE;
const VALID: u64 = 1;

struct OwnTables {
    frames: &'static HostFrames,
    /// The table that the kernel's addresses are looked up in, where that is not the user's.
    kernel_root: Option<Frame>,
    user_end: u64,
}

fn entry(frame: Frame, prot: Prot) -> u64 {
    frame.phys() | u64::from(prot.bits()) << 1 | VALID
}

fn leaf(entry: u64) -> Option<Leaf> {
    let frame = Frame::at(entry & !(PAGE_SIZE - 1)).filter(|_| entry & VALID != 0)?;
    let prot = Prot::from_bits_truncate((entry >> 1) as u8);
    // No dirty bit: say that every page may have been stored to.
    Some(Leaf { frame, prot, dirty: true })
}

impl OwnTables {
    /// The top-level entry for `addr`.
    fn slot(&self, root: Frame, addr: u64) -> &'static AtomicU64 {
        &self.frames.table64(root)[(addr / SLOT % 512) as usize]
    }

    /// The entry for the page at `addr`, if there is a table for it.
    fn find(&self, root: Frame, addr: u64) -> Option<&'static AtomicU64> {
        let table = leaf(self.slot(root, addr).load(Ordering::Acquire))?.frame;
        Some(&self.frames.table64(table)[(addr / PAGE_SIZE % 512) as usize])
    }

    /// Stores the entry for a page where there is a table and no page.
    fn store(&self, root: Frame, addr: u64, new: u64) -> Result<(), MapError> {
        let cell = self.find(root, addr).ok_or(MapError::BadAddress { addr })?;
        let stored = cell.compare_exchange(0, new, Ordering::Release, Ordering::Acquire);
        let old = stored.err().and_then(leaf);
        old.map_or(Ok(()), |old| Err(MapError::Occupied { addr, frame: old.frame }))
    }

    /// Makes a table for each of `slots`: all of them or none.
    fn make(&self, slots: impl Iterator<Item = usize>) -> Result<Vec<(usize, u64)>, OutOfFrames> {
        let mut entries = Vec::new();
        for slot in slots {
            match self.frames.alloc() {
                Ok(table) => entries.push((slot, entry(table, Prot::all()))),
                Err(error) => {
                    self.discard(entries);
                    return Err(error);
                }
            }
        }
        Ok(entries)
    }

    /// Frees tables from [`OwnTables::make`] whose slots another CPU filled first.
    fn discard(&self, entries: Vec<(usize, u64)>) {
        for table in entries.into_iter().filter_map(|(_, entry)| leaf(entry)) {
            // SAFETY: made in `make`, and stored nowhere.
            unsafe { self.frames.put(table.frame) };
        }
    }
}

// SAFETY: this program has no MMU but `lookup`.
unsafe impl PageTables for OwnTables {
    fn user_end(&self) -> u64 {
        self.user_end
    }

    unsafe fn map(&self, root: Frame, addr: u64, leaf: Leaf) -> Result<Shows, MapError> {
        if addr >= self.user_end || !addr.is_multiple_of(PAGE_SIZE) {
            return Err(MapError::BadAddress { addr });
        }
        let slot = self.slot(root, addr);
        // The caller has the user half to itself.
        if slot.load(Ordering::Relaxed) == 0 {
            let table = self.frames.alloc();
            let table = table.map_err(|source| MapError::OutOfFrames { addr, source })?;
            slot.store(entry(table, Prot::all()), Ordering::Release);
        }
        self.store(root, addr, entry(leaf.frame, leaf.prot))?;
        Ok(Shows::AtOnce)
    }

    unsafe fn lookup(&self, root: Frame, addr: u64) -> Option<Leaf> {
        let is_user = addr < self.user_end;
        let root = self.kernel_root.filter(|_| !is_user).unwrap_or(root);
        leaf(self.find(root, addr)?.load(Ordering::Acquire))
    }

    unsafe fn unmap_range(&self, root: Frame, range: Range<u64>, mut visit: impl FnMut(u64, Leaf)) {
        for addr in range.step_by(PAGE_SIZE as usize) {
            let cell = self.find(root, addr);
            if let Some(leaf) = cell.and_then(|cell| leaf(cell.swap(0, Ordering::AcqRel))) {
                visit(addr, leaf);
            }
        }
    }

    unsafe fn protect_range<B>(
        &self,
        root: Frame,
        range: Range<u64>,
        mut visit: impl FnMut(u64, Leaf) -> ControlFlow<B, Prot>,
    ) -> ControlFlow<B> {
        for addr in range.step_by(PAGE_SIZE as usize) {
            if let Some(cell) = self.find(root, addr)
                && let Some(leaf) = leaf(cell.load(Ordering::Acquire))
            {
                cell.store(entry(leaf.frame, visit(addr, leaf)?), Ordering::Release);
            }
        }
        ControlFlow::Continue(())
    }

    unsafe fn unlink_user_tables(
        &self,
        root: Frame,
        ranges: impl Iterator<Item = Range<u64>>,
        free: impl FnMut(Frame),
    ) {
        // A slot that two ranges share is empty when the second one comes to it.
        let slots =
            ranges.flat_map(|range| (range.start / SLOT * SLOT..range.end).step_by(SLOT as usize));
        let entries = slots.map(|addr| self.slot(root, addr).swap(0, Ordering::AcqRel));
        entries.filter_map(leaf).map(|table| table.frame).for_each(free);
    }

    unsafe fn map_kernel(
        &self,
        root: Frame,
        addr: u64,
        frame: Frame,
        prot: Prot,
    ) -> Result<(), MapError> {
        self.store(root, addr, entry(frame, prot))
    }

    unsafe fn unmap_kernel(&self, root: Frame, addr: u64) -> Option<Frame> {
        Some(leaf(self.find(root, addr)?.swap(0, Ordering::AcqRel))?.frame)
    }

    unsafe fn unmap_kernel_range<B>(
        &self,
        root: Frame,
        range: KernelRange,
        mut visit: impl FnMut(u64, Frame) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        for addr in (range.start()..=range.last()).step_by(PAGE_SIZE as usize) {
            // SAFETY: the caller's promise is the same.
            if let Some(frame) = unsafe { self.unmap_kernel(root, addr) } {
                visit(addr, frame)?;
            }
        }
        ControlFlow::Continue(())
    }
}

// ---- The kernel in the upper half of every root. ----

/// Top-level entries of the user half, and then as many of the kernel half.
const HALF: usize = 256;

struct SharedRoot {
    tables: OwnTables,
    root: Frame,
    reference: ReferencePgd<u64>,
    /// Held by whoever brings entries to PGDs that CPUs may have loaded.
    settling: Mutex<()>,
}

impl SharedRoot {
    fn new(frames: &'static HostFrames) -> Result<Self, OutOfFrames> {
        let root = frames.alloc()?;
        let kernel_half = &frames.table64(root)[HALF..];
        if cfg!(not(feature = "pgd-init-late")) {
            // Nobody calls the hook then. With every entry there from the boot on, each copy is complete;
            // it costs a megabyte of tables.
            for slot in kernel_half {
                slot.store(entry(frames.alloc()?, Prot::all()), Ordering::Relaxed);
            }
        }
        let reference = ReferencePgd::adopt(kernel_half, Vec::new(), 0).expect("256 slots");
        let tables = OwnTables { frames, kernel_root: None, user_end: HALF as u64 * SLOT };
        Ok(Self { tables, root, reference, settling: Mutex::new(()) })
    }

    fn kernel_half_of(&self, pgd: Frame) -> &[AtomicU64] {
        &self.tables.frames.table64(pgd)[HALF..]
    }

    fn slots(range: KernelRange) -> Range<usize> {
        let slot = |addr: u64| (addr / SLOT) as usize - HALF;
        slot(range.start())..slot(range.last()) + 1
    }
}

impl ArchPgd for SharedRoot {
    type Pgd = Frame;
    type Tables = OwnTables;

    fn tables(&self) -> &OwnTables {
        &self.tables
    }

    fn root(&self, pgd: &Frame) -> Frame {
        *pgd
    }

    fn reference_root(&self) -> Frame {
        self.root
    }

    fn kernel_half(&self) -> KernelHalf {
        KernelHalf { first: HALF as u64 * SLOT, last: 2 * HALF as u64 * SLOT - 1 }
    }

    fn pgd_alloc(&self) -> Result<Frame, PgdAllocError> {
        let pgd = self.tables.frames.alloc()?;
        // SAFETY: nobody else can reach the PGD yet.
        unsafe { self.reference.copy_populated(self.kernel_half_of(pgd)) };
        Ok(pgd)
    }

    unsafe fn pgd_free(&self, pgd: Frame) {
        // SAFETY: the caller's promise.
        unsafe { self.tables.frames.put(pgd) };
    }

    /// What was populated after `pgd_alloc` and before a walk could find the mm.
    fn pgd_init_late(&self, pgd: &Frame) {
        // Publication before, reads of the reference behind; partner of the one in `sync_global_pgds`.
        smp_mb();
        // SAFETY: no CPU loads the PGD before this has returned.
        unsafe { self.reference.complete(self.kernel_half_of(*pgd)) };
    }

    fn pgd_attach(&self, pgd: &Frame) {
        smp_mb();
        let _settling = self.settling.lock();
        // SAFETY: only slots that the reference has used; the lock is held.
        unsafe { self.reference.settle_used(self.kernel_half_of(*pgd)) };
    }

    fn populate_kernel(&self, range: KernelRange) -> Result<(), PopulateError> {
        let missing = Self::slots(range).filter(|&slot| !self.reference.is_populated(slot));
        let mut entries = self.tables.make(missing)?;
        // SAFETY: fresh tables, in ascending order, which stay the kernel's once they are in the reference.
        let all = unsafe { self.reference.populate(Self::slots(range), &mut entries) };
        assert!(all, "this kernel takes nothing out");
        self.tables.discard(entries);
        Ok(())
    }

    fn is_synced(&self, range: KernelRange) -> bool {
        self.reference.is_synced(Self::slots(range))
    }

    fn sync_global_pgds(
        &self,
        range: KernelRange,
        walk: &dyn PgdWalk<Frame>,
        _flush: &mut dyn FnMut(),
    ) {
        let walked_from = self.reference.stamp();
        // Reference stored before, task list read behind; partner of the one in `pgd_init_late`.
        smp_mb();
        // One lock for all PGDs, which fork, exec and exit never take; arch-x86 has one for each.
        let _settling = self.settling.lock();
        walk.for_each_pgd(&mut |pgd| {
            for slot in Self::slots(range) {
                // SAFETY: an updater's range has no private slots; the lock is held.
                unsafe { self.reference.settle(self.kernel_half_of(*pgd), slot) };
            }
        });
        // SAFETY: the walk above has ended, and there is nothing that a flush could be due for.
        unsafe { self.reference.mark_synced(Self::slots(range), walked_from) };
    }
}

// ---- The kernel behind a root of its own. ----

struct SeparateRoot {
    tables: OwnTables,
    kernel_root: Frame,
}

impl SeparateRoot {
    fn new(frames: &'static HostFrames) -> Result<Self, OutOfFrames> {
        let kernel_root = frames.alloc()?;
        let tables = OwnTables { frames, kernel_root: Some(kernel_root), user_end: 512 * SLOT };
        Ok(Self { tables, kernel_root })
    }
}

impl ArchPgd for SeparateRoot {
    type Pgd = Frame;
    type Tables = OwnTables;

    fn tables(&self) -> &OwnTables {
        &self.tables
    }

    fn root(&self, pgd: &Frame) -> Frame {
        *pgd
    }

    fn reference_root(&self) -> Frame {
        self.kernel_root
    }

    fn kernel_half(&self) -> KernelHalf {
        KernelHalf { first: (512 * SLOT).wrapping_neg(), last: u64::MAX }
    }

    fn pgd_alloc(&self) -> Result<Frame, PgdAllocError> {
        Ok(self.tables.frames.alloc()?)
    }

    unsafe fn pgd_free(&self, pgd: Frame) {
        // SAFETY: the caller's promise.
        unsafe { self.tables.frames.put(pgd) };
    }

    /// One table for all: every mm has the new entry when it is stored.
    fn populate_kernel(&self, range: KernelRange) -> Result<(), PopulateError> {
        let slots = &self.tables.frames.table64(self.kernel_root);
        let index = |addr: u64| (addr / SLOT % 512) as usize;
        let missing = index(range.start())..=index(range.last());
        let missing = missing.filter(|&slot| slots[slot].load(Ordering::Acquire) == 0);
        let mut entries = self.tables.make(missing)?;
        entries.retain(|&(slot, new)| {
            slots[slot].compare_exchange(0, new, Ordering::Release, Ordering::Relaxed).is_err()
        });
        self.tables.discard(entries);
        Ok(())
    }
}

// ---- A day in the life, the same for both. ----

const DATA: u64 = 0x10_0000;

fn day<A: ArchPgd>(name: &str, make: impl FnOnce(&'static HostFrames) -> Result<A, OutOfFrames>) {
    let frames = HostFrames::new(4096).leak();
    let arch = make(frames).expect("frames for the kernel's tables");
    let tasks = Tasks::new(64, 1).expect("room for 64 tasks");
    let world = World::<With<A>>::boot(frames, 0, arch, tasks);
    let (os, loaded) = (world.init_mm(), world.tasks().loaded(0).expect("CPU 0"));
    let cpu = world.cpu_online();
    let run = |task: &Task<Host<With<A>>>| {
        let mm = task.mm_to_load().expect("late-initialised").expect("a user task");
        // SAFETY: this thread is the CPU, and the task holds the mm.
        unsafe { loaded.switch_mm(mm) };
    };
    let grow = |slot: u64| {
        let addr = os.arch().kernel_half().first + slot * SLOT;
        let range = os.grow(addr, PAGE_SIZE).expect("a range of the kernel half");
        let frame = frames.alloc().expect("a frame");
        os.map_kernel(&range, addr, frame, Prot::READ).expect("nothing is there yet");
        addr
    };
    let is_mapped = |addr: u64| {
        let root = Frame::at(cpu.cr3()).expect("a root");
        // SAFETY: what is loaded is not freed.
        unsafe { os.tables().lookup(root, addr) }.is_some()
    };

    // The first process. No walk finds its mm yet when the kernel grows for the first time: the hook
    // has something to do.
    let mm = NewMm::new(os).expect("frames for a PGD");
    let first = grow(0);
    let data = DATA..DATA + 4 * PAGE_SIZE;
    let vma = Vma::new(data, Prot::READ | Prot::WRITE, VmaFlags::empty(), Backing::Anonymous);
    mm.user().mmap(vma.expect("whole pages")).expect("an empty user half");
    mm.user().write_bytes(mm.mm(), DATA, b"init!").expect("a frame");
    let init = first_process(os, Some(mm), (), 0).expect("room for a task").into_task();
    run(&init);
    assert!(is_mapped(first));

    // A growth between fork and the child's first run, one while it runs, one when it is gone.
    let child = copy_process(os, &init, &CloneArgs::FORK, 0).expect("room enough").into_task();
    let second = grow(1);
    run(&child);
    assert!([first, second].into_iter().all(is_mapped));
    let mm = child.mm().expect("alive");
    mm.user().write_bytes(&mm, DATA, b"child").expect("a frame");
    drop(mm);
    let third = grow(2);
    assert!(is_mapped(third));
    exit(os, &child, ExitStatus::Exited(0), init.process());
    let fourth = grow(3);
    assert!(is_mapped(fourth), "the CPU still has the PGD of the task that has exited");
    run(&init);
    assert!([second, third, fourth].into_iter().all(is_mapped));
    let mut bytes = [0; 5];
    let mm = init.mm().expect("alive");
    mm.user().read_bytes(&mm, DATA, &mut bytes).expect("mapped");
    assert_eq!(&bytes, b"init!");
    drop(mm);

    // Of a process that is gone nothing is left, once every grace period has passed.
    let bury = |child: TaskRef<Host<With<A>>>| {
        reap(os, init.process(), |_| true).expect("a zombie");
        drop(child);
        // Nobody is in a section: each call advances the epoch.
        (0..16).for_each(|_| cpu.rcu().flush());
        frames.allocated()
    };
    let used = bury(child);
    for _ in 0..100 {
        let child = copy_process(os, &init, &CloneArgs::FORK, 0).expect("room enough").into_task();
        run(&child);
        exit(os, &child, ExitStatus::Exited(0), init.process());
        run(&init);
        assert_eq!(bury(child), used);
    }
    println!(
        "{name}: 4 growths reached parent, child and a CPU that outlived its task; 101 births left no frame behind"
    );
}

pub(crate) fn main() {
    day("shared root, late hook", SharedRoot::new);
    day("separate root, no hook", SeparateRoot::new);
}
