//! Duels: one CPU publishes an mm at the very moment at which another grows the kernel.
//!
//! Storming at random, two CPUs seldom meet within the nanoseconds in which a missing barrier shows.
//! Here everything that takes time is done before the two meet, and then one runs the few instructions from the
//! publication to the end of late init, the other a growth, one of them after a random delay.
//!
//! A lost update needs a store that is still in its CPU's store buffer when the other CPU has done its
//! load. So the lines that are loaded are brought into the caches first: the generation by `pgd_alloc`, the
//! place on the walkers' list by a walk that has nothing to do. The stores then have to wait for the
//! other CPU's copies to go, and the loads wait for nothing.

use std::hint::black_box;
use std::sync::atomic::Ordering;

use hosted::cpu::{HostCpu, HostRcu};
use hosted::kernel::{Host, Scheme};
use kernel_fork::exit::exit;
use kernel_sync::Rcu;
use kernel_task::insert::Insertion;
use kernel_task::process::{ExitStatus, Process};
use kernel_task::task::TaskKind;
use mm_generic::loaded::LoadedMm;
use mm_generic::publish::NewMm;
use mm_generic::walk::Walkers;

use crate::ground::Ground;
use crate::random::Random;
use crate::tally::Tally;

/// Longest delay of the publication, in steps of about a cycle.
const LONGEST: u64 = 4096;

/// By how much the delay follows the outcome of a duel, and how much chance is added to it.
const STEP: u64 = 16;
const CHANCE: u64 = 128;

/// One of the two CPUs of a round of duels.
///
/// There is no task in these rounds but the one that is being published, so that a walk comes to
/// it at once.
pub(crate) struct Duellist<'a, S: Scheme> {
    ground: &'a Ground<S>,
    cpu: usize,
    loaded: &'static LoadedMm<Host<S>>,
    random: Random,
    /// Where the two sides come first equally often. Found by trying.
    delay: u64,
    seen: usize,
    tally: Tally,
    /// Last, so that what is dropped before is dropped on a CPU.
    host: HostCpu,
}

impl<'a, S: Scheme> Duellist<'a, S> {
    /// Brings CPU number `cpu`, 0 or 1, online.
    pub(crate) fn new(ground: &'a Ground<S>, cpu: usize, random: Random) -> Self {
        let host = ground.world.cpu_online();
        let loaded = ground.world.tasks().loaded(cpu).expect("a CPU of this kernel");
        // SAFETY: this thread is the CPU.
        unsafe { loaded.leave_mm(ground.world.init_mm()) };
        Self {
            ground,
            cpu,
            loaded,
            random,
            delay: LONGEST / 8,
            seen: 0,
            tally: Tally::default(),
            host,
        }
    }

    /// Duels until the kernel half is used up: CPU 0 publishes, CPU 1 grows.
    pub(crate) fn duel(&mut self) -> Tally {
        for number in 1.. {
            let met = if self.cpu == 0 { self.publish(number) } else { self.grow(number) };
            if !met {
                break;
            }
            self.host.rcu().quiesce();
        }
        self.tally
    }

    fn publish(&mut self, number: u64) -> bool {
        let (mm, insertion) = self.prepare();
        // The other one reads what a walk reads, between these two.
        if !self.meet(3 * number - 2) || !self.meet(3 * number - 1) {
            return false;
        }
        for step in 0..self.delay + self.random.below(CHANCE) {
            black_box(step);
        }
        let (published, task) = mm.publish(insertion);
        let ready = published.init_late();
        // Where the growth came first, its slot is there by now; the delay was too long.
        self.delay = if self.ground.has_slot_of(number - 1, ready.mm().root().phys()) {
            self.delay.saturating_sub(STEP)
        } else {
            (self.delay + STEP).min(LONGEST)
        };
        self.tally.forks += 1;
        // The growth has returned at the third meeting: its address must be there.
        let met = self.meet(3 * number);
        // SAFETY: this thread is the CPU, and the task holds the mm.
        unsafe { self.loaded.switch_mm(ready) };
        let mut eyes = self.ground.eyes(self.host.cr3(), None);
        let ledger = &self.ground.updates.ledger;
        self.seen = ledger.look_at_changes(self.seen, &mut eyes, &mut self.tally);
        // SAFETY: this thread is the CPU.
        unsafe { self.loaded.leave_mm(self.ground.world.init_mm()) };
        exit(self.ground.world.init_mm(), &task, ExitStatus::Exited(0), task.process());
        self.tally.exits += 1;
        met
    }

    fn grow(&mut self, number: u64) -> bool {
        if !self.meet(3 * number - 2) {
            return false;
        }
        let rcu = HostRcu::read_lock();
        self.ground.world.init_mm().walkers().for_each_published(&rcu, &mut |_mm| {});
        drop(rcu);
        if !self.meet(3 * number - 1) {
            return false;
        }
        let init_mm = self.ground.world.init_mm();
        if !self.ground.updates.step(init_mm, &mut self.random, &mut self.tally) {
            self.ground.stop.store(true, Ordering::Relaxed);
            return false;
        }
        self.meet(3 * number)
    }

    fn meet(&self, times: u64) -> bool {
        let ground = self.ground;
        ground.meeting.wait(self.cpu, times, || ground.stop.load(Ordering::Relaxed))
    }

    /// Makes a process that lacks nothing but its publication.
    fn prepare(&self) -> (NewMm<Host<S>>, Insertion<'static, Host<S>>) {
        let mm = NewMm::new(self.ground.world.init_mm()).expect("frames enough");
        let tasks = self.ground.world.tasks();
        let reservation = tasks.pids().alloc(self.cpu).expect("a free pid");
        let process =
            Process::try_new(tasks.process_cache(), reservation.pid()).expect("heap enough");
        let insertion = Insertion::try_new(tasks, reservation, process, TaskKind::User, ());
        (mm, insertion.expect("heap enough"))
    }
}
