//! A machine and its model, step by step.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use arch_x86::geometry::Geometry;
use hosted::mmu::{Access, translate};
use kernel_exec::exec_mmap::ExecMmapError;
use kernel_fork::args::CloneArgs;
use kernel_sync::atomic::Ordering;
use kernel_task::task::TaskRef;
use mm_generic::arch::ArchPgd;
use mm_generic::frames::{Frame, Frames, PAGE_SIZE};
use mm_generic::mm::MmUser;
use tests_host::interlude::{
    Point, meanwhile, points_of_a_birth, points_of_a_growth, points_of_an_attach,
};
use tests_host::machine::{DATA, DATA_PAGES, Machine, MachineKernel, PgdScheme};

use crate::history::{Op, Step};
use crate::model::Model;

/// Threads that a machine has at most; more are not made.
const THREADS: usize = 8;

/// Shares that the driver has at most.
const HOLDS: usize = 3;

/// A page of a slot that no growth comes to: growths take a new page number each.
const UNUSED_PAGE: u64 = 500;

struct Thread<A: ArchPgd> {
    task: TaskRef<MachineKernel<A>>,
    space: usize,
    /// The process: a number that its threads have in common.
    process: usize,
}

/// A running history. Thread 0 is the first process, which never ends.
pub(crate) struct Run<'m, G: Geometry, A: PgdScheme<G>> {
    machine: &'m Machine<G, A>,
    model: Model,
    threads: Vec<Thread<A>>,
    processes: usize,
    held: Vec<(MmUser<MachineKernel<A>>, usize)>,
    kthread: TaskRef<MachineKernel<A>>,
    attached: Option<usize>,
    nested: usize,
}

impl<'m, G: Geometry, A: PgdScheme<G>> Run<'m, G, A> {
    pub(crate) fn new(machine: &'m Machine<G, A>) -> Self {
        let mut run = Self {
            machine,
            model: Model::default(),
            threads: Vec::new(),
            processes: 0,
            held: Vec::new(),
            kthread: machine.kthread(),
            attached: None,
            nested: 0,
        };
        run.add(machine.init().clone(), Model::program());
        run
    }

    /// Steps that had another one in the middle.
    pub(crate) fn nested(&self) -> usize {
        self.nested
    }

    pub(crate) fn step(&mut self, step: &Step) {
        self.apply(&step.op, step.meanwhile.as_ref());
    }

    /// Lets everything go.
    pub(crate) fn end(self) {
        drop(self.kthread.take_mm());
    }

    /// A new process with an address space of its own.
    fn add(&mut self, task: TaskRef<MachineKernel<A>>, pages: BTreeMap<u64, u8>) {
        let root = task.mm().expect("a user task").root();
        let space = self.model.born(root, pages);
        self.processes += 1;
        self.push(task, space, self.processes);
    }

    fn push(&mut self, task: TaskRef<MachineKernel<A>>, space: usize, process: usize) {
        self.threads.push(Thread { task, space, process });
    }

    /// Runs `body` with `other` at one of `points`, or behind it where `body` passes none.
    fn with<R>(
        &mut self,
        points: &[Point],
        other: Option<&(usize, Op)>,
        body: impl FnOnce() -> R,
    ) -> R {
        let Some((at, op)) = other else { return body() };
        if points.is_empty() {
            let result = body();
            self.apply(op, None);
            return result;
        }
        self.nested += 1;
        meanwhile(points[at % points.len()], || self.apply(op, None), body)
    }

    fn apply(&mut self, op: &Op, other: Option<&(usize, Op)>) {
        let machine = self.machine;
        match *op {
            Op::Grow(ref slots) => self.grow(slots, other),
            Op::Fork { who } if self.threads.len() < THREADS => {
                let (parent, space) = self.thread(who);
                let pages = self.model.spaces[space].pages.clone();
                let fork = || machine.clone_of(&parent, &CloneArgs::FORK);
                let child = self.with(points_of_a_birth(), other, fork);
                self.add(child, pages);
            }
            Op::Vfork { who } if self.threads.len() < THREADS => {
                let (parent, space) = self.thread(who);
                let vfork = || machine.clone_of(&parent, &CloneArgs::VFORK);
                let child = self.with(points_of_an_attach(), other, vfork);
                self.model.spaces[space].tasks += 1;
                self.processes += 1;
                self.push(child, space, self.processes);
            }
            Op::Thread { who } if self.threads.len() < THREADS => {
                let (parent, space) = self.thread(who);
                let process = self.threads[who % self.threads.len()].process;
                let thread = machine.clone_of(&parent, &CloneArgs::THREAD);
                self.model.spaces[space].tasks += 1;
                self.push(thread, space, process);
            }
            Op::Exec { who, cpu } => self.exec(who, cpu, other),
            Op::Exit { who } => {
                let who = who % self.threads.len();
                // The first process, and with it the first thread, stays.
                if who > 0 {
                    let thread = self.threads.remove(who);
                    machine.exit(&thread.task);
                    self.model.left(thread.space);
                }
            }
            Op::Switch { cpu, who } => {
                let (task, space) = self.thread(who);
                machine.switch(cpu, &task);
                self.model.loaded[cpu] = Some(space);
            }
            Op::Leave { cpu } => {
                machine.leave(cpu);
                self.model.loaded[cpu] = None;
            }
            Op::Hold { who } if self.held.len() < HOLDS => {
                let (task, space) = self.thread(who);
                self.held.push((task.mm().expect("a user task"), space));
                self.model.spaces[space].holds += 1;
            }
            Op::Release => {
                if let Some((mm, space)) = self.held.pop() {
                    drop(mm);
                    self.model.dropped(space);
                }
            }
            Op::Attach { cpu } if self.attached.is_none() && !self.held.is_empty() => {
                let (mm, space) = self.held.remove(0);
                let kthread = self.kthread.clone();
                let attach = || machine.attach(cpu, &kthread, mm);
                // The driver's share becomes the kernel thread's.
                self.model.spaces[space].tasks += 1;
                self.model.spaces[space].holds -= 1;
                self.attached = Some(space);
                self.with(points_of_an_attach(), other, attach);
                self.model.loaded[cpu] = Some(space);
            }
            Op::Detach => {
                if let Some(space) = self.attached.take() {
                    drop(machine.detach(&self.kthread));
                    self.model.left(space);
                }
            }
            Op::Store { who, page, value } => {
                let (task, space) = self.thread(who);
                let mm = task.mm().expect("a user task");
                let stored = mm.user().write_bytes(&mm, DATA + page * PAGE_SIZE, &[value]);
                stored.expect("frames enough");
                self.model.spaces[space].pages.insert(page, value);
            }
            // There is no room for another, or nothing to attach.
            Op::Fork { .. }
            | Op::Vfork { .. }
            | Op::Thread { .. }
            | Op::Hold { .. }
            | Op::Attach { .. } => {}
        }
    }

    fn thread(&self, who: usize) -> (TaskRef<MachineKernel<A>>, usize) {
        let thread = &self.threads[who % self.threads.len()];
        (thread.task.clone(), thread.space)
    }

    fn grow(&mut self, slots: &Range<usize>, other: Option<&(usize, Op)>) {
        let machine = self.machine;
        let all = machine.shape().slots;
        // Up to the end of the kernel half, whose last slots are as good as its first.
        let end = if slots.start == 5 { all } else { slots.end.min(all) };
        let start =
            if slots.start == 5 { all - slots.len().min(all) } else { slots.start.min(all - 1) };
        let slots = start..end.max(start + 1);
        let synced = slots.clone().all(|slot| self.model.slots.contains(&slot));
        let points = if synced { &[] } else { points_of_a_growth(A::WALKS) };
        let grown = self.with(points, other, || machine.grow(slots));
        self.model.grow(&grown);
    }

    fn exec(&mut self, who: usize, cpu: usize, other: Option<&(usize, Op)>) {
        let machine = self.machine;
        let who = who % self.threads.len();
        let (task, space) = self.thread(who);
        let process = self.threads[who].process;
        let threads = self.threads.iter().filter(|thread| thread.process == process).count();
        machine.switch(cpu, &task);
        self.model.loaded[cpu] = Some(space);
        if threads > 1 {
            let pid = task.process().pid();
            let refused = Err(ExecMmapError::OtherThreads { pid, threads });
            assert_eq!(machine.try_exec(cpu, &task), refused);
            return;
        }
        let exec = || machine.exec(cpu, &task);
        self.with(points_of_a_birth(), other, exec);
        self.model.left(space);
        let root = task.mm().expect("a user task").root();
        let space = self.model.born(root, Model::program());
        self.threads[who].space = space;
        self.model.loaded[cpu] = Some(space);
    }

    /// Compares everything.
    pub(crate) fn verify(&self) {
        let machine = self.machine;
        let roots: BTreeSet<Frame> = self.model.live().map(|space| space.root).collect();
        assert_eq!(machine.roots().into_iter().collect::<BTreeSet<_>>(), roots, "what walks find");
        for (cpu, loaded) in self.model.loaded.iter().enumerate() {
            let root = loaded.map(|space| self.model.spaces[space].root);
            assert_eq!(machine.loaded_root(cpu), root, "CPU {cpu}");
        }
        for space in self.model.live() {
            self.verify_kernel(space.root);
            for page in 0..DATA_PAGES {
                let expected = space.pages.get(&page).copied();
                assert_eq!(self.byte(space.root, page), expected, "page {page}");
            }
        }
        self.verify_kernel(machine.init_mm().arch().reference_root());
    }

    fn verify_kernel(&self, root: Frame) {
        let machine = self.machine;
        for (&addr, frame) in &self.model.kernel {
            assert_eq!(machine.translate(root, addr), Ok(frame.phys()), "{addr:#x}");
        }
        let shape = machine.shape();
        for (slot, word) in machine.slots_of(root).into_iter().enumerate() {
            assert_eq!(word != 0, self.model.slots.contains(&slot), "slot {slot}");
            if word != 0 {
                let unused = shape.addr(slot) + UNUSED_PAGE * PAGE_SIZE;
                assert!(machine.translate(root, unused).is_err(), "{unused:#x}");
            }
        }
    }

    /// What a program finds at the start of a page of its mapping; `None` for a page that nobody
    /// has touched.
    fn byte(&self, root: Frame, page: u64) -> Option<u8> {
        let (frames, kind) = (self.machine.frames(), self.machine.shape().kind);
        let addr = DATA + page * PAGE_SIZE;
        let phys = translate(frames, kind, root.phys(), addr, Access::USER_READ).ok()?;
        let frame = Frame::at(phys).expect("the start of a page");
        Some(frames.table64(frame)[0].load(Ordering::Relaxed) as u8)
    }
}
