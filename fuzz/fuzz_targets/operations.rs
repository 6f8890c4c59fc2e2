//! Any history of forks, execs, exits, edits of the user half, faults, growths, replacements and reclaims, against a sequential model that has neither
//! tables nor frames. After each step the kernel half and the user half of every process are what the model says.
#![no_main]

use std::collections::BTreeMap;

use arch_x86::geometry::{Geometry, LongMode, PaePrivate, PaeShared, TwoLevel};
use fuzz::{Ground, Input, Kernel};
use hosted::frames::HostFrames;
use hosted::mmu::{Access, MmuKind, translate};
use kernel_exec::exec_mmap::exec_mmap;
use kernel_fork::args::CloneArgs;
use kernel_fork::copy_process::copy_process;
use kernel_fork::exit::{exit, reap};
use kernel_task::process::ExitStatus;
use kernel_task::task::TaskRef;
use libfuzzer_sys::fuzz_target;
use mm_generic::arch::ArchPgd;
use mm_generic::frames::{Frame, Frames};
use mm_generic::growth::SyncedRange;
use mm_generic::prot::Prot;
use mm_generic::publish::NewMm;
use mm_generic::replacement::Replacement;
use mm_generic::vma::{Backing, Vma, VmaFlags};

thread_local! {
    static FRAMES: &'static HostFrames = HostFrames::new(4096).checked().leak();
}

const PAGE: u64 = 4096;
/// First address of the pages that programs have here.
const DATA: u64 = 0x40_0000;
const PAGES: u64 = 24;
const PROCESSES: usize = 5;
/// Slots that are grown into: few, so that the same ones come again.
const SLOTS: u64 = 4;

/// What a page of a process may be used for, and what it holds.
#[derive(Debug, Clone, Copy)]
struct Page {
    prot: Prot,
    value: u8,
}

struct Process<G: Geometry> {
    task: TaskRef<Kernel<G>>,
    /// Which address space; a vfork's child has its parent's.
    space: usize,
}

/// A growth, with the page that is mapped there.
struct Grown {
    range: SyncedRange,
    addr: u64,
    frame: Frame,
}

struct Run<G: Geometry> {
    ground: Ground<G>,
    kind: MmuKind,
    span: u64,
    processes: Vec<Process<G>>,
    spaces: Vec<BTreeMap<u64, Page>>,
    grown: Vec<Grown>,
}

impl<G: Geometry> Run<G> {
    fn step(&mut self, input: &mut Input) {
        let who = input.byte() as usize % self.processes.len();
        let task = self.processes[who].task.clone();
        let space = self.processes[who].space;
        let mm = task.mm().expect("a user task");
        let init_mm = self.ground.world.init_mm();
        let first = input.below(PAGES);
        let pages = first..(first + 1 + input.below(4)).min(PAGES);
        let range = DATA + pages.start * PAGE..DATA + pages.end * PAGE;
        let rights = [Prot::READ, Prot::READ | Prot::WRITE, Prot::empty()][input.below(3) as usize];
        match input.byte() % 15 {
            0 | 1 if self.processes.len() < PROCESSES => {
                let shares = input.byte() & 3 == 0;
                let args = if shares { CloneArgs::VFORK } else { CloneArgs::FORK };
                let child =
                    copy_process(init_mm, &task, &args, 0).expect("room enough").into_task();
                let space = if shares {
                    space
                } else {
                    self.spaces.push(self.spaces[space].clone());
                    self.spaces.len() - 1
                };
                self.processes.push(Process { task: child, space });
            }
            2 if who > 0 => {
                let gone = self.processes.remove(who);
                let init = self.ground.init.process();
                exit(init_mm, &gone.task, ExitStatus::Exited(0), init);
                drop((gone, mm));
                while reap(init_mm, init, |_| true).is_some() {}
                for process in &self.processes {
                    while reap(init_mm, process.task.process(), |_| true).is_some() {}
                }
                return;
            }
            3 => {
                let new = NewMm::new(init_mm).expect("frames enough");
                let loaded = self.ground.world.tasks().loaded(0).expect("CPU 0");
                drop(mm);
                // SAFETY: one thread plays the CPU, and it runs nothing else meanwhile.
                unsafe { exec_mmap(&task, loaded, new) }.map(drop).expect("one thread");
                self.spaces.push(BTreeMap::new());
                self.processes[who].space = self.spaces.len() - 1;
                return;
            }
            4 => {
                let vma = Vma::new(range, rights, VmaFlags::empty(), Backing::Anonymous);
                let free = pages.clone().all(|page| !self.spaces[space].contains_key(&page));
                let mapped = mm.user().mmap(vma.expect("whole pages"));
                assert_eq!(mapped.is_ok(), free, "{mapped:?}");
                if free {
                    self.spaces[space]
                        .extend(pages.map(|page| (page, Page { prot: rights, value: 0 })));
                }
            }
            5 => {
                let vma = Vma::new(range, rights, VmaFlags::empty(), Backing::Anonymous);
                mm.user().mmap_fixed(&mm, vma.expect("whole pages")).expect("user addresses");
                self.spaces[space]
                    .extend(pages.map(|page| (page, Page { prot: rights, value: 0 })));
            }
            6 => {
                mm.user().munmap(&mm, range).expect("user addresses");
                self.spaces[space].retain(|page, _| !pages.contains(page));
            }
            7 => {
                let all = pages.clone().all(|page| self.spaces[space].contains_key(&page));
                assert_eq!(mm.user().mprotect(&mm, range, rights).is_ok(), all);
                if all {
                    for page in pages {
                        self.spaces[space].get_mut(&page).expect("mapped").prot = rights;
                    }
                }
            }
            8 => {
                let value = input.byte();
                for page in pages {
                    let stored = mm.user().write_bytes(&mm, DATA + page * PAGE + 5, &[value]);
                    let model = self.spaces[space].get_mut(&page);
                    let model = model.filter(|page| page.prot.contains(Prot::WRITE));
                    assert_eq!(stored.is_ok(), model.is_some(), "page {page}: {stored:?}");
                    if let Some(page) = model {
                        page.value = value;
                    }
                }
            }
            9 => self.grow(input),
            10 if !self.grown.is_empty() => {
                let index = input.byte() as usize % self.grown.len();
                let Grown { range, frame, .. } = self.grown.swap_remove(index);
                let frames = self.ground.world.frames();
                let mut released = Vec::new();
                // SAFETY: nobody uses the range any more, and no other range has this page.
                let reclaimed = unsafe { init_mm.reclaim(range, |_, frame| released.push(frame)) };
                match reclaimed {
                    Ok(()) => {
                        assert_eq!(released, [frame]);
                        for frame in released {
                            // SAFETY: no mm shows it any more.
                            unsafe { frames.put(frame) };
                        }
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            11 => {
                let loaded =
                    self.ground.world.tasks().loaded(input.below(2) as usize).expect("a CPU");
                // SAFETY: one thread plays both CPUs.
                unsafe { loaded.switch_mm(task.mm_to_load().expect("late").expect("an mm")) };
            }
            12 if !self.grown.is_empty() => self.replace(input),
            13 => {
                let end = first + input.below(PAGES - first + 1);
                let brk = mm.user().brk(&mm, DATA + first * PAGE, DATA + end * PAGE);
                assert_eq!(brk.is_ok(), self.brk(space, first, end), "{brk:?}");
            }
            14 => {
                let end = input.below(first + 1);
                let brk = mm.user().brk(&mm, DATA + first * PAGE, DATA + end * PAGE);
                assert_eq!(brk.is_ok(), self.brk(space, first, end), "{brk:?}");
            }
            _ => self.ground.settle(),
        }
    }

    /// Moves the end of the run of pages with the same rights that ends at `old`, or goes on there, to `new`, if it may.
    fn brk(&mut self, space: usize, old: u64, new: u64) -> bool {
        let space = &mut self.spaces[space];
        let Some(last) = old.checked_sub(1).and_then(|last| space.get(&last)).copied() else {
            return false;
        };
        let is_heap = |page: &u64| space.get(page).is_some_and(|page| page.prot == last.prot);
        let start = (0..old).rev().take_while(is_heap).last().expect("the last page is");
        if new < start || (old..new).any(|page| space.contains_key(&page)) {
            return false;
        }
        space.retain(|page, _| !(new..old).contains(page));
        space.extend((old..new).map(|page| (page, Page { prot: last.prot, value: 0 })));
        true
    }

    /// Moves the table behind a growth's slot to another frame, which only its sole owner may.
    fn replace(&mut self, input: &mut Input) {
        let index = input.byte() as usize % self.grown.len();
        let how = [Replacement::Move, Replacement::Collapse][usize::from(input.below(4) == 0)];
        let slot = |addr: u64| addr - addr % self.span;
        let addr = self.grown[index].addr;
        let owners = self.grown.iter().filter(|grown| slot(grown.addr) == slot(addr)).count();
        let init_mm = self.ground.world.init_mm();
        let replaced = init_mm.replace(&mut self.grown[index].range, addr, how);
        // A slot with a page here and there never collapses.
        assert_eq!(replaced.is_ok(), how == Replacement::Move && owners == 1, "{replaced:?}");
    }

    fn grow(&mut self, input: &mut Input) {
        let init_mm = self.ground.world.init_mm();
        let half = init_mm.arch().kernel_half();
        let slot =
            if self.kind == MmuKind::Pae && self.span == 1 << 30 { 0 } else { input.below(SLOTS) };
        let addr = half.first + slot * self.span + input.below(8) * PAGE;
        if self.grown.iter().any(|grown| grown.addr == addr) {
            return;
        }
        let range = init_mm.grow(addr, PAGE).expect("frames enough");
        let frame = self.ground.world.frames().alloc().expect("frames enough");
        init_mm.map_kernel(&range, addr, frame, Prot::READ | Prot::WRITE).expect("a free page");
        self.grown.push(Grown { range, addr, frame });
        if fuzz::is_planted("lost-entry") && self.kind == MmuKind::FourLevel {
            let mm = self.processes[0].task.mm().expect("a user task");
            let index = (addr >> 39) as usize & 511;
            self.ground.world.frames().table64(mm.root())[index]
                .store(0, std::sync::atomic::Ordering::Relaxed);
        }
    }

    fn verify(&self) {
        let frames = self.ground.world.frames();
        let half = self.ground.world.init_mm().arch().kernel_half();
        for process in &self.processes {
            let mm = process.task.mm().expect("a user task");
            let root = mm.root().phys();
            for slot in 0..SLOTS {
                for page in 0..8 {
                    let Some(addr) = slot
                        .checked_mul(self.span)
                        .map(|at| half.first.wrapping_add(at + page * PAGE))
                    else {
                        continue;
                    };
                    if addr < half.first {
                        continue;
                    }
                    let shown = translate(frames, self.kind, root, addr, Access::KERNEL_READ).ok();
                    let grown = self.grown.iter().find(|grown| grown.addr == addr);
                    assert_eq!(shown, grown.map(|grown| grown.frame.phys()), "{addr:#x}");
                }
            }
            let space = &self.spaces[process.space];
            let mut user = mm.user();
            for page in 0..PAGES {
                let mut byte = [0xaa];
                let read = user.read_bytes(&mm, DATA + page * PAGE + 5, &mut byte);
                let expected = space.get(&page).filter(|page| page.prot.contains(Prot::READ));
                assert_eq!(read.is_ok(), expected.is_some(), "page {page}: {read:?}");
                if let Some(expected) = expected {
                    assert_eq!(byte, [expected.value], "page {page}");
                    // And without the kernel's help, as the program sees it.
                    let addr = DATA + page * PAGE;
                    assert!(translate(frames, self.kind, root, addr, Access::USER_READ).is_ok());
                    if !expected.prot.contains(Prot::WRITE) {
                        let store = translate(frames, self.kind, root, addr, Access::USER_WRITE);
                        assert!(store.is_err(), "page {page} may not be written");
                    }
                }
            }
        }
    }
}

fn run<G: Geometry>(geometry: G, kind: MmuKind, span: u64, input: &mut Input) {
    let ground = Ground::boot(geometry, FRAMES.with(|frames| *frames));
    let processes = vec![Process { task: ground.init.clone(), space: 0 }];
    let mut run =
        Run { ground, kind, span, processes, spaces: vec![BTreeMap::new()], grown: Vec::new() };
    for _ in 0..48 {
        if input.is_over() {
            break;
        }
        run.step(input);
        run.verify();
    }
    let Run { ground, processes, grown, .. } = run;
    drop((processes, grown));
    ground.end(kind);
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    match input.byte() % 5 {
        0 => run(TwoLevel, MmuKind::TwoLevel, 4 << 20, &mut input),
        1 => run(PaeShared, MmuKind::Pae, 1 << 30, &mut input),
        2 => run(PaePrivate, MmuKind::Pae, 2 << 20, &mut input),
        3 => run(LongMode::FOUR_LEVEL, MmuKind::FourLevel, 512 << 30, &mut input),
        _ => run(LongMode::FIVE_LEVEL, MmuKind::FiveLevel, 256 << 40, &mut input),
    }
});
