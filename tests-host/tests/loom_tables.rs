//! The page tables in every interleaving: who finds an entry finds what is behind it.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p tests-host --release --test loom_tables`
//!
//! Two threads, three where it takes a helper. Every frame is full of rubbish before it is handed out, so that a table that is reached before its zeros is noticed, and
//! every page has a word that is stored before it is mapped.
#![cfg(all(loom, feature = "pgd-init-late"))]

use std::ops::ControlFlow;
use std::sync::Arc;

use arch_x86::geometry::Geometry;
use arch_x86::late::LateInit;
use arch_x86::late_pgd::LatePgd;
use arch_x86::slots::Slots;
use arch_x86::tables::Tables;
use kernel_sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::thread;
use mm_generic::arch::{ArchPgd, PgdWalk};
use mm_generic::frames::{Frame, Frames, PAGE_SIZE};
use mm_generic::kernel_range::KernelRange;
use mm_generic::page_tables::{Leaf, PageTables};
use mm_generic::prot::Prot;
use tests_host::model::{Deep, ModelFrames};

/// Preemptions: the paths are long, and what is looked for is found at the first one.
const BOUND: usize = 3;

/// Bytes that an entry of the level above the last one maps.
const LAST_TABLE: u64 = 4 * PAGE_SIZE;

/// Bytes that an entry of the level above that maps.
const UPPER_TABLE: u64 = 4 * LAST_TABLE;

/// Bytes that a slot maps.
const SLOT: u64 = 4 * UPPER_TABLE;

/// A page's frame, which is none of the model's: nothing but its word below is looked at.
const PAGE: Frame = match Frame::at(0x77 * PAGE_SIZE) {
    Some(frame) => frame,
    None => unreachable!(),
};

/// Another one.
const OTHER: Frame = match Frame::at(0x78 * PAGE_SIZE) {
    Some(frame) => frame,
    None => unreachable!(),
};

/// One execution's tables, with the first slot of the kernel half populated.
struct World {
    frames: *mut ModelFrames,
    slots: Slots<Deep, ModelFrames>,
    /// What the page at [`PAGE`] holds.
    contents: AtomicUsize,
}

// SAFETY: the pointer is a shared reference in all but name.
unsafe impl Send for World {}
// SAFETY: as above.
unsafe impl Sync for World {}

impl World {
    fn new() -> Arc<Self> {
        let frames = Box::into_raw(Box::new(ModelFrames::of_rubbish(12)));
        // SAFETY: lives until the world is dropped.
        let slots = Slots::with_empty_reference(Deep, unsafe { &*frames }).expect("enough frames");
        let first = Deep.kernel_half().first;
        let range = Deep.kernel_half().range(first, PAGE_SIZE).expect("a page of the kernel half");
        slots.populate(range).expect("enough frames");
        Arc::new(Self { frames, slots, contents: AtomicUsize::new(0) })
    }

    fn tables(&self) -> &Tables<Deep, ModelFrames> {
        self.slots.tables()
    }

    fn map_kernel(&self, offset: u64, frame: Frame) {
        let addr = Deep.kernel_half().first + offset;
        // SAFETY: the reference PGD, whose slot is populated.
        let mapped =
            unsafe { self.tables().map_kernel(self.slots.root(), addr, frame, Prot::READ) };
        mapped.expect("nothing there");
    }

    fn map_page(&self, offset: u64) {
        self.contents.store(1, Ordering::Relaxed);
        self.map_kernel(offset, PAGE);
    }

    fn lookup_kernel(&self, offset: u64) -> Option<Frame> {
        let addr = Deep.kernel_half().first + offset;
        // SAFETY: the tables live as long as the world.
        unsafe { self.tables().lookup(self.slots.root(), addr) }.map(|leaf| leaf.frame)
    }

    /// Who has found the page has its contents.
    fn check(&self, found: Option<Frame>) {
        if let Some(frame) = found {
            assert_eq!(frame, PAGE, "an entry that nobody stored");
            assert_eq!(self.contents.load(Ordering::Relaxed), 1, "found before its contents");
        }
    }

    /// Goes down to a user page as an MMU does, whose loads depend on each other.
    fn walk_user(&self, root: Frame, addr: u64) -> Option<Frame> {
        // SAFETY: lives until the world is dropped.
        let frames = unsafe { &*self.frames };
        let mut table = root;
        for level in Deep.levels() {
            let entry = frames.table64(table)[level.index(addr)].load(Ordering::Acquire);
            if entry & 1 == 0 {
                assert_eq!(entry, 0, "an entry that nobody stored");
                return None;
            }
            table = Frame::at(entry & 0x000f_ffff_ffff_f000).expect("the low bits are masked");
        }
        Some(table)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: made by `Box::into_raw`. The slots, which refer to it, have no drop of their own and are not used again.
            drop(unsafe { Box::from_raw(self.frames) });
        }
    }
}

fn explore(body: impl Fn(&Arc<World>) + Send + Sync + 'static) {
    kernel_sync::explore(Some(BOUND), move || body(&World::new()));
}

fn on_cpu(world: &Arc<World>, f: impl FnOnce(&World) + 'static) -> thread::JoinHandle<()> {
    let world = Arc::clone(world);
    thread::spawn(move || f(&world))
}

#[test]
fn a_kernel_page_that_is_found_has_its_contents_and_its_neighbour_is_none() {
    explore(|world| {
        let mapper = on_cpu(world, |world| world.map_page(0));
        world.check(world.lookup_kernel(0));
        assert_eq!(world.lookup_kernel(PAGE_SIZE), None, "in the table that is being made");
        mapper.join().expect("no panic");
    });
}

/// As above, where the tables are there and the page's entry alone stands for its contents.
#[test]
fn a_kernel_page_in_a_table_that_is_there_has_its_contents() {
    explore(|world| {
        world.map_kernel(2 * PAGE_SIZE, OTHER);
        let mapper = on_cpu(world, |world| world.map_page(0));
        world.check(world.lookup_kernel(0));
        mapper.join().expect("no panic");
    });
}

#[test]
fn two_cpus_that_make_the_same_tables_map_both_pages() {
    explore(|world| {
        let mapper = on_cpu(world, |world| world.map_kernel(PAGE_SIZE, OTHER));
        world.map_kernel(0, PAGE);
        mapper.join().expect("no panic");
        assert_eq!(world.lookup_kernel(0), Some(PAGE));
        assert_eq!(world.lookup_kernel(PAGE_SIZE), Some(OTHER));
    });
}

#[test]
fn a_kernel_page_that_is_taken_out_has_its_contents() {
    explore(|world| {
        world.map_kernel(2 * PAGE_SIZE, OTHER);
        let mapper = on_cpu(world, |world| world.map_page(0));
        let addr = Deep.kernel_half().first;
        // SAFETY: the reference PGD; no MMU uses the tables.
        world.check(unsafe { world.tables().unmap_kernel(world.slots.root(), addr) });
        mapper.join().expect("no panic");
    });
}

#[test]
fn a_range_that_is_unmapped_passes_through_tables_that_others_are_making() {
    explore(|world| {
        let mapper = on_cpu(world, |world| world.map_page(0));
        let start = Deep.kernel_half().first + LAST_TABLE;
        let range = Deep.kernel_half().range(start, UPPER_TABLE - LAST_TABLE).expect("aligned");
        let visit = |addr, _| ControlFlow::Break(addr);
        // SAFETY: the reference PGD; no MMU uses the tables.
        let found = unsafe { world.tables().unmap_kernel_range(world.slots.root(), range, visit) };
        assert_eq!(found, ControlFlow::Continue(()), "a page that nobody mapped");
        mapper.join().expect("no panic");
    });
}

/// A user half belongs to who has the lock, and the MMUs of other threads walk through it all the same.
fn an_mmu_and_a_map(has_table: bool) {
    explore(move |world| {
        let root = world.slots.alloc_root().expect("enough frames");
        let leaf = |frame| Leaf { frame, prot: Prot::READ, dirty: false };
        if has_table {
            // SAFETY: nobody else uses these tables yet.
            let _ = unsafe { world.tables().map(root, 2 * PAGE_SIZE, leaf(OTHER)) }
                .expect("nothing there");
        }
        let mapper = on_cpu(world, move |world| {
            world.contents.store(1, Ordering::Relaxed);
            // SAFETY: this thread alone changes the user half.
            let _ = unsafe { world.tables().map(root, 0, leaf(PAGE)) }.expect("nothing there");
        });
        world.check(world.walk_user(root, 0));
        mapper.join().expect("no panic");
    });
}

#[test]
fn an_mmu_finds_user_pages_with_their_contents() {
    an_mmu_and_a_map(true);
}

#[test]
fn an_mmu_finds_user_tables_with_their_zeros() {
    an_mmu_and_a_map(false);
}

#[test]
fn an_mmu_finds_copied_pages_with_their_contents() {
    explore(|world| {
        let from = world.slots.alloc_root().expect("enough frames");
        let to = world.slots.alloc_root().expect("enough frames");
        // So that the tables are there, and the entry alone stands for the page.
        let neighbour = Leaf { frame: OTHER, prot: Prot::READ, dirty: false };
        for root in [from, to] {
            // SAFETY: nobody else uses these tables yet.
            let _ = unsafe { world.tables().map(root, 2 * PAGE_SIZE, neighbour) }
                .expect("nothing there");
        }
        let copier = on_cpu(world, move |world| {
            let tables = world.tables();
            world.contents.store(1, Ordering::Relaxed);
            let leaf = Leaf { frame: PAGE, prot: Prot::READ, dirty: false };
            let rights = |_, leaf: Leaf| leaf.prot;
            // SAFETY: this thread alone changes the user halves.
            unsafe {
                let _ = tables.map(from, 0, leaf).expect("nothing there");
                let _ = tables.copy_range(from, to, 0..PAGE_SIZE, rights).expect("nothing there");
            }
        });
        world.check(world.walk_user(to, 0));
        copier.join().expect("no panic");
    });
}

/// A kernel with one mm, which walks find from its publication on.
struct OneMm {
    frames: *mut ModelFrames,
    arch: LateInit<Deep, ModelFrames>,
    pgd: LatePgd,
    is_published: AtomicBool,
}

// SAFETY: the pointer is a shared reference in all but name.
unsafe impl Send for OneMm {}
// SAFETY: as above.
unsafe impl Sync for OneMm {}

// SAFETY: the only mm.
unsafe impl PgdWalk<LatePgd> for OneMm {
    fn for_each_pgd(&self, visit: &mut dyn FnMut(&LatePgd)) {
        if self.is_published.load(Ordering::Acquire) {
            visit(&self.pgd);
        }
    }
}

impl OneMm {
    fn page_of(slot: u64) -> KernelRange {
        let half = Deep.kernel_half();
        half.range(half.first + slot * SLOT, PAGE_SIZE).expect("a page of the kernel half")
    }

    fn grow(&self, slot: u64) {
        self.arch.populate_kernel(Self::page_of(slot)).expect("enough frames");
        self.sync(slot);
    }

    fn sync(&self, slot: u64) {
        self.arch.sync_global_pgds(Self::page_of(slot), self, &mut || {});
    }

    /// Gives a slot back. What was behind it is kept: nothing comes to an end here.
    fn reclaim(&self, slot: u64) {
        let slots = self.arch.kernel_slots().expect("PGDs have copies");
        let mut retired = slots.reserve_retired(Self::page_of(slot)).expect("heap enough");
        // SAFETY: grown before, and used by nobody; never freed.
        unsafe { slots.retire(Self::page_of(slot), &mut retired) };
        self.sync(slot);
    }

    /// Goes through the PGD's slots as an MMU does. The tables behind them have no page.
    fn walk(&self, pgd: &LatePgd) {
        // SAFETY: lives until this is dropped.
        let frames = unsafe { &*self.frames };
        for slot in 0..2 {
            // SAFETY: the caller holds the PGD.
            let entry = unsafe { self.arch.slots().entry_of(self.arch.root(pgd), slot) };
            if entry & 1 != 0 {
                let table =
                    Frame::at(entry & 0x000f_ffff_ffff_f000).expect("the low bits are masked");
                // Relaxed: an MMU's second load hangs on the first one, whose acquire stands for that.
                let below = frames.table64(table)[0].load(Ordering::Relaxed);
                assert_eq!(below, 0, "slot {slot} leads to a table that is not zero yet");
            }
        }
    }
}

impl Drop for OneMm {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: made by `Box::into_raw`. What refers to it has no drop of its own and is not used again.
            drop(unsafe { Box::from_raw(self.frames) });
        }
    }
}

impl OneMm {
    /// Explores what `others` do, each on a CPU, and what `birth` does on this one.
    fn explore(bound: usize, others: &'static [fn(&Self)], birth: fn(&Self)) {
        let executions = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let counter = Arc::clone(&executions);
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(bound);
        builder.check(move || {
            counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let frames = Box::into_raw(Box::new(ModelFrames::of_rubbish(8)));
            // SAFETY: lives until the kernel is dropped.
            let slots = Slots::with_empty_reference(Deep, unsafe { &*frames });
            let arch = LateInit::new(slots.expect("enough frames"));
            let pgd = arch.pgd_alloc().expect("enough frames");
            let kernel = Self { frames, arch, pgd, is_published: AtomicBool::new(false) };
            // The PGD lacks it, so late init has something to complete.
            kernel.grow(1);
            let kernel = Arc::new(kernel);
            let on_cpu = |other: &fn(&Self)| {
                let (kernel, other) = (Arc::clone(&kernel), *other);
                thread::spawn(move || other(&kernel))
            };
            let others: Vec<_> = others.iter().map(on_cpu).collect();
            birth(&kernel);
            others.into_iter().for_each(|other| other.join().expect("no panic"));
            kernel.walk(&kernel.pgd);
        });
        println!("{} executions", executions.load(std::sync::atomic::Ordering::Relaxed));
    }

    /// Publishes the mm, completes its PGD, and walks through it.
    fn publish(&self) {
        self.is_published.store(true, Ordering::Release);
        self.arch.pgd_init_late(&self.pgd);
        self.walk(&self.pgd);
    }
}

#[test]
fn a_pgd_that_is_completed_or_settled_leads_to_tables_of_zeros() {
    OneMm::explore(BOUND, &[|kernel| kernel.grow(0)], OneMm::publish);
}

#[test]
fn a_pgd_that_is_copied_leads_to_tables_of_zeros() {
    OneMm::explore(BOUND, &[|kernel| kernel.grow(0)], |kernel| {
        let copied = kernel.arch.pgd_alloc().expect("enough frames");
        kernel.walk(&copied);
        // SAFETY: nobody else has it.
        unsafe { kernel.arch.pgd_free(copied) };
    });
}

/// A walker brings what another CPU has just stored, for it walks for the same slot.
#[test]
fn a_pgd_that_a_helper_settles_leads_to_tables_of_zeros() {
    OneMm::explore(2, &[|kernel| kernel.reclaim(1), |kernel| kernel.grow(1)], |kernel| {
        kernel.publish();
        kernel.walk(&kernel.pgd);
    });
}
