//! One CPU: it forks, runs and ends tasks, borrows mms, grows the kernel, and resolves what others have grown.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::Instant;

use hosted::cpu::HostCpu;
use hosted::kernel::{Host, Scheme};
use hosted::tlb::KernelTlb;
use kernel_exec::exec_mmap::exec_mmap;
use kernel_fork::args::CloneArgs;
use kernel_fork::copy_process::{copy_process, first_process};
use kernel_fork::exit::{exit, reap};
use kernel_task::attach::{kthread_unuse_mm, kthread_use_mm};
use kernel_task::process::ExitStatus;
use kernel_task::task::TaskRef;
use mm_generic::frames::PAGE_SIZE;
use mm_generic::loaded::LoadedMm;
use mm_generic::mm::MmUser;
use mm_generic::prot::Prot;
use mm_generic::publish::NewMm;
use mm_generic::vma::{Backing, Vma, VmaFlags};

use crate::ground::Ground;
use crate::random::Random;
use crate::tally::Tally;

/// First byte of the programs' one mapping, and its length in pages.
const DATA: u64 = 0x10_0000;
const DATA_PAGES: u64 = 8;

/// Tasks that wait to be run, before the CPU runs one instead of forking another.
const RUNNABLE: usize = 6;

/// Address spaces that a CPU's driver holds after their owners exited.
const ORPHANS: usize = 4;

/// Changes that are looked at anew whenever another PGD is loaded.
const RECENT: usize = 4;

pub(crate) struct Worker<'a, S: Scheme> {
    ground: &'a Ground<S>,
    /// Orphans go to this process.
    init: &'a TaskRef<Host<S>>,
    cpu: usize,
    loaded: &'static LoadedMm<Host<S>>,
    /// The user process that this CPU's other processes come from.
    shell: TaskRef<Host<S>>,
    /// The kernel thread that attaches orphans.
    kthread: TaskRef<Host<S>>,
    runnable: VecDeque<TaskRef<Host<S>>>,
    orphans: Vec<MmUser<Host<S>>>,
    random: Random,
    grow_every: u64,
    /// Changes that have been looked at through what was loaded at the time.
    seen: usize,
    tally: Tally,
    tlb: KernelTlb,
    /// Last, so that what is dropped before is dropped on a CPU.
    host: HostCpu,
}

/// Makes a program's address space: one mapping, one page of it touched.
pub(crate) fn program<S: Scheme>(ground_mm: &NewMm<Host<S>>) {
    let range = DATA..DATA + DATA_PAGES * PAGE_SIZE;
    let rights = Prot::READ | Prot::WRITE;
    let vma = Vma::new(range, rights, VmaFlags::empty(), Backing::Anonymous).expect("whole pages");
    let mut user = ground_mm.user();
    user.mmap(vma).expect("an empty user half");
    user.write_bytes(ground_mm.mm(), DATA, b"storm").expect("frames enough");
}

impl<'a, S: Scheme> Worker<'a, S> {
    /// Brings CPU number `cpu` online, on a process of its own.
    pub(crate) fn new(
        ground: &'a Ground<S>,
        init: &'a TaskRef<Host<S>>,
        cpu: usize,
        random: Random,
        grow_every: u64,
        frees_early: bool,
    ) -> Self {
        let host = ground.world.cpu_online();
        if frees_early {
            host.free_early();
        }
        let init_mm = ground.world.init_mm();
        let shell = copy_process(init_mm, init, &CloneArgs::FORK, cpu).expect("room enough");
        let kthread = first_process(init_mm, None, (), cpu).expect("room enough");
        let mut worker = Self {
            ground,
            init,
            cpu,
            loaded: ground.world.tasks().loaded(cpu).expect("a CPU of this kernel"),
            shell: shell.into_task(),
            kthread: kthread.into_task(),
            runnable: VecDeque::new(),
            orphans: Vec::new(),
            random,
            grow_every,
            seen: 0,
            tally: Tally::default(),
            tlb: KernelTlb::new(ground.world.frames(), ground.half.place).expect("frames enough"),
            host,
        };
        worker.load(&worker.shell.clone());
        worker
    }

    /// Works until `deadline`, or until the round is over.
    pub(crate) fn work(&mut self, deadline: Instant) -> Tally {
        for step in 0_u64.. {
            if self.ground.stop.load(Ordering::Relaxed)
                || (step % 64 == 63 && Instant::now() >= deadline)
            {
                break;
            }
            self.step();
            self.resolve_new();
            self.host.rcu().quiesce();
        }
        self.ground.stop.store(true, Ordering::Relaxed);
        self.tally
    }

    fn step(&mut self) {
        if self.random.one_in(self.grow_every) {
            let (ground, init_mm) = (self.ground, self.ground.world.init_mm());
            if !ground.updates.step(init_mm, &mut self.random, &mut self.tally) {
                ground.stop.store(true, Ordering::Relaxed);
            }
            return;
        }
        self.runnable.extend(self.ground.given(self.cpu));
        let full = self.runnable.len() >= RUNNABLE;
        match self.random.below(32) {
            0 if !self.orphans.is_empty() => self.use_orphan(),
            1 => self.leave(),
            2 | 3 => self.fork(&CloneArgs::VFORK),
            4..=20 if !full => self.fork(&CloneArgs::FORK),
            _ => self.run_one(),
        }
    }

    /// Forks a child of the shell, to be run later, here or on another CPU.
    fn fork(&mut self, args: &CloneArgs) {
        let shell = self.shell.clone();
        self.load(&shell);
        let child = self.child_of(&shell, args);
        let cpus = self.ground.world.tasks().cpus();
        if self.random.one_in(8) {
            self.ground.give(self.random.below(cpus as u64) as usize, child);
        } else {
            self.runnable.push_back(child);
        }
    }

    fn child_of(&mut self, parent: &TaskRef<Host<S>>, args: &CloneArgs) -> TaskRef<Host<S>> {
        self.tally.forks += 1;
        let init_mm = self.ground.world.init_mm();
        copy_process(init_mm, parent, args, self.cpu).expect("room enough").into_task()
    }

    /// Runs a child to its end: it may exec, make a thread, or leave its mm to a child of its own.
    fn run_one(&mut self) {
        let Some(task) = self.runnable.pop_front() else { return };
        self.load(&task);
        if self.random.one_in(4) {
            let mm = task.mm().expect("a user task that has not exited");
            let page = DATA + self.random.below(DATA_PAGES) * PAGE_SIZE;
            mm.user().write_bytes(&mm, page, b"child").expect("frames enough");
        }
        match self.random.below(8) {
            0 | 1 => self.exec(&task),
            2 => {
                self.tally.threads += 1;
                let init_mm = self.ground.world.init_mm();
                let thread = copy_process(init_mm, &task, &CloneArgs::THREAD, self.cpu);
                let thread = thread.expect("room enough").into_task();
                // Half the time the leader dies first, and the thread lives on.
                if self.random.one_in(2) {
                    self.end(&task);
                    self.resolve_new();
                    self.end(&thread);
                } else {
                    self.end(&thread);
                    self.end(&task);
                }
                return;
            }
            3 => {
                // The child has the mm when its maker is gone.
                let child = self.child_of(&task, &CloneArgs::VFORK);
                self.runnable.push_back(child);
            }
            4 if self.orphans.len() < ORPHANS => {
                self.orphans.push(task.mm().expect("a user task that has not exited"));
            }
            _ => {}
        }
        self.end(&task);
    }

    fn exec(&mut self, task: &TaskRef<Host<S>>) {
        self.tally.execs += 1;
        let mm = NewMm::new(self.ground.world.init_mm()).expect("frames enough");
        program(&mm);
        // SAFETY: the task runs on this CPU, which this thread is; threads of the host stand for no preemption.
        let old = unsafe { exec_mmap(task, self.loaded, mm) }.expect("a user task with one thread");
        self.resolve_recent();
        drop(old);
    }

    /// Ends a task that runs here. The CPU goes on with its PGD, lazily.
    fn end(&mut self, task: &TaskRef<Host<S>>) {
        self.tally.exits += 1;
        let init_mm = self.ground.world.init_mm();
        exit(init_mm, task, ExitStatus::Exited(0), self.init.process());
        while reap(init_mm, self.shell.process(), |_| true).is_some() {}
        // Some time on a dead task's PGD: what others grow meanwhile must be there.
        for _ in 0..self.random.below(4) {
            self.resolve_new();
        }
    }

    /// Works in the address space of a process that has exited.
    fn use_orphan(&mut self) {
        let Some(mm) = self.orphans.pop() else { return };
        self.tally.attaches += 1;
        // SAFETY: the thread runs on this CPU, as in `exec`.
        unsafe { kthread_use_mm(&self.kthread, self.loaded, mm) }.expect("a free kernel thread");
        self.resolve_recent();
        drop(kthread_unuse_mm(&self.kthread).expect("attached just now"));
        self.resolve_new();
    }

    /// Goes to the reference PGD, as a CPU does before it is unplugged.
    fn leave(&mut self) {
        // SAFETY: this thread is the CPU.
        unsafe { self.loaded.leave_mm(self.ground.world.init_mm()) };
        self.resolve_recent();
    }

    /// Switches to a user task.
    fn load(&mut self, task: &TaskRef<Host<S>>) {
        let mm = task.mm_to_load().expect("late-initialised").expect("a user task");
        // SAFETY: this thread is the CPU, and the task holds the mm.
        unsafe { self.loaded.switch_mm(mm) };
        self.resolve_recent();
    }

    /// Resolves what has changed last through a PGD that has just been loaded, and all that is new.
    fn resolve_recent(&mut self) {
        let recent = self.ground.updates.ledger.changed().saturating_sub(RECENT);
        self.look(self.seen.min(recent));
    }

    /// Resolves what has changed since the last look.
    fn resolve_new(&mut self) {
        self.look(self.seen);
    }

    fn look(&mut self, from: usize) {
        let mut eyes = self.ground.eyes(self.host.cr3(), Some(&mut self.tlb));
        let ledger = &self.ground.updates.ledger;
        self.seen = ledger.look_at_changes(from, &mut eyes, &mut self.tally).max(self.seen);
    }
}
