//! One round: a kernel is booted, stormed until its kernel half has had its share of updates, checked, and shut down.

use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::{Duration, Instant};

use hosted::affinity::pin_to;
use hosted::cpu::this_cpu;
use hosted::frames::HostFrames;
use hosted::kernel::{Host, Scheme};
use hosted::world::{OBJECTS, World};
use kernel_fork::copy_process::first_process;
use kernel_sync::Rcu;
use kernel_task::task::TaskRef;
use kernel_task::tasks::Tasks;
use mm_generic::arch::ArchPgd;
use mm_generic::publish::NewMm;
use mm_generic::walk::Walkers;
use mutants::Mutant;

use crate::duel::Duellist;
use crate::ground::Ground;
use crate::half::Half;
use crate::options::Growth;
use crate::random::Random;
use crate::tally::Tally;
use crate::worker::{Worker, program};

/// How a scheme's kernels are made.
pub(crate) struct Recipe<S: Scheme> {
    pub(crate) half: Half,
    pub(crate) arch: Box<dyn Fn(&'static HostFrames) -> S::Arch + Sync>,
    pub(crate) walkers: Box<dyn Fn(Tasks<Host<S>>) -> S::Walkers + Sync>,
    pub(crate) mutant: Option<Mutant>,
    pub(crate) cpus: usize,
    /// The processors that the CPUs' threads are kept on; empty where they are not.
    pub(crate) pinned_to: Vec<usize>,
    /// Every round is a round of duels.
    pub(crate) only_duels: bool,
    pub(crate) seed: u64,
    pub(crate) growth: Growth,
    pub(crate) grow_every: u64,
}

/// What a round, or many, came to.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Outcome {
    pub(crate) tally: Tally,
    /// Publications and growths that were made in duels; they are in `tally` too.
    pub(crate) duels: u64,
    pub(crate) duel_growths: u64,
    /// Time that the CPUs stormed. Duels are not in it: they wait for each other most of the time.
    pub(crate) active: Duration,
    pub(crate) leaked_frames: i64,
    /// Frames that were written after they had been freed, and CPUs that died of a broken invariant.
    pub(crate) corrupted: u64,
}

/// All free frames are compared with zero after one round in this many; that takes as long as a round.
const CHECK_FREE_FRAMES_EVERY: u64 = 64;

/// One round in this many is a round of duels.
const DUELS_EVERY: u64 = 8;

/// Of a mutant's rounds, one in this many is none: a barrier that is missing shows in one duel of ten thousand.
const STORM_EVERY: u64 = 16;

/// Pids of a round, far more than tasks live at once.
const PID_MAX: u32 = 4096;

impl<S: Scheme> Recipe<S> {
    /// Runs round number `round`, and adds to `outcome`.
    pub(crate) fn run(
        &self,
        frames: &'static HostFrames,
        round: u64,
        deadline: Instant,
        outcome: &mut Outcome,
    ) {
        let is_duel = self.is_duel(round);
        // In a duel, every growth populates a slot.
        let growths_per_slot = if is_duel { 1 } else { self.half.growths_per_slot };
        let growth = if is_duel { Growth::Extend } else { self.growth };
        let ground = self.boot(frames, Half { growths_per_slot, ..self.half }, growth);
        let died = if is_duel {
            self.duel(&ground, round, outcome)
        } else {
            self.storm(&ground, round, deadline, outcome)
        };
        if died > 0 {
            // Its kernel is in no state to be shut down; it is left where it is.
            outcome.corrupted += died;
            std::mem::forget(ground);
            return;
        }
        let check = round.is_multiple_of(CHECK_FREE_FRAMES_EVERY) || Instant::now() >= deadline;
        let ended = catch_unwind(AssertUnwindSafe(|| self.end(ground, check, outcome)));
        outcome.corrupted += u64::from(ended.is_err());
    }

    fn is_duel(&self, round: u64) -> bool {
        let duels = matches!(self.growth, Growth::Extend | Growth::Mixed);
        let this_one = match self.mutant {
            _ if self.only_duels => true,
            // The kernel half only grows in duels.
            Some(mutant) if mutant.needs_updates() => false,
            Some(_) => !round.is_multiple_of(STORM_EVERY),
            None => round % DUELS_EVERY == 1,
        };
        duels && self.cpus >= 2 && this_one
    }

    fn boot(&self, frames: &'static HostFrames, half: Half, growth: Growth) -> Ground<S> {
        let frames_before = frames.allocated();
        let arch = (self.arch)(frames);
        let tasks = Tasks::new(PID_MAX, self.cpus).expect("memory for a small task list");
        let tasks = tasks.with_caches(OBJECTS, this_cpu).expect("memory for empty caches");
        let walkers = (self.walkers)(tasks);
        let world = World::boot_with_caches(frames, frames_before, arch, walkers);
        Ground::new(world, half, growth, self.cpus)
    }

    /// All CPUs work at random. Returns how many died.
    fn storm(
        &self,
        ground: &Ground<S>,
        round: u64,
        deadline: Instant,
        outcome: &mut Outcome,
    ) -> u64 {
        let world = &ground.world;
        let init = {
            let _cpu = world.cpu_online();
            let mm = NewMm::new(world.init_mm()).expect("frames enough");
            program(&mm);
            first_process(world.init_mm(), Some(mm), (), 0).expect("room enough").into_task()
        };
        let began = Instant::now();
        let results = self.on_cpus(self.cpus, |cpu| {
            let random = Random::new(self.seed, cpu, round);
            let frees_early = self.mutant == Some(Mutant::PgdFreedEarly);
            let worker = Worker::new(ground, &init, cpu, random, self.grow_every, frees_early);
            run_on_cpu(worker, |worker| worker.work(deadline))
        });
        outcome.active += began.elapsed();
        let _cpu = world.cpu_online();
        drop::<TaskRef<Host<S>>>(init);
        outcome.add(results).1
    }

    /// Runs `work` on a thread for each CPU.
    fn on_cpus(
        &self,
        cpus: usize,
        work: impl Fn(usize) -> Tally + Sync,
    ) -> Vec<thread::Result<Tally>> {
        let on_cpu = |cpu: usize| {
            if let Some(&processor) = self.pinned_to.get(cpu) {
                pin_to(processor).expect("one of those that this process may use");
            }
            work(cpu)
        };
        thread::scope(|scope| {
            let on_cpu = &on_cpu;
            let threads: Vec<_> = (0..cpus).map(|cpu| scope.spawn(move || on_cpu(cpu))).collect();
            threads.into_iter().map(thread::ScopedJoinHandle::join).collect()
        })
    }

    /// Two CPUs duel. Returns how many died.
    fn duel(&self, ground: &Ground<S>, round: u64, outcome: &mut Outcome) -> u64 {
        let results = self.on_cpus(2, |cpu| {
            let random = Random::new(self.seed, cpu, round);
            run_on_cpu(Duellist::new(ground, cpu, random), Duellist::duel)
        });
        let (tally, died) = outcome.add(results);
        outcome.duels += tally.forks;
        outcome.duel_growths += tally.growths;
        died
    }

    /// Checks every mm, shuts the kernel down and draws up the account.
    fn end(&self, ground: Ground<S>, check: bool, outcome: &mut Outcome) {
        check_every_mm(&ground, &mut outcome.tally);
        if ground.updates.gives_back() {
            let cpu = ground.world.cpu_online();
            ground.updates.end(ground.world.init_mm(), &mut outcome.tally);
            drop(cpu);
            check_every_mm(&ground, &mut outcome.tally);
        }
        {
            let _cpu = ground.world.cpu_online();
            for cpu in 0..self.cpus {
                drop(ground.given(cpu));
            }
        }
        let frames = ground.world.frames();
        // SAFETY: the CPUs have been joined, and what they held is dropped.
        let leftovers = unsafe { ground.world.shut_down(self.half.place.kind) };
        outcome.leaked_frames += leftovers.leaked_frames;
        if check && let Err(error) = frames.check_free_frames() {
            eprintln!("error: {error}");
            outcome.corrupted += 1;
        }
    }
}

impl Outcome {
    /// Adds what the CPUs counted; returns the sum, and how many died.
    fn add(&mut self, results: Vec<thread::Result<Tally>>) -> (Tally, u64) {
        let (mut sum, mut died) = (Tally::default(), 0);
        for result in results {
            match result {
                Ok(tally) => sum += tally,
                Err(_) => died += 1,
            }
        }
        self.tally += sum;
        (sum, died)
    }
}

/// Lets `cpu` work. One that dies is left as it is: unwinding through a kernel whose invariants are broken would
/// only bury the cause.
fn run_on_cpu<C>(cpu: C, work: impl FnOnce(&mut C) -> Tally) -> Tally {
    let mut cpu = ManuallyDrop::new(cpu);
    let tally = work(&mut cpu);
    drop(ManuallyDrop::into_inner(cpu));
    tally
}

/// Looks at every page of the ledger through every live mm, and through the reference PGD.
fn check_every_mm<S: Scheme>(ground: &Ground<S>, tally: &mut Tally) {
    let _cpu = ground.world.cpu_online();
    let (init_mm, tasks) = (ground.world.init_mm(), ground.world.tasks());
    let rcu = <Host<S> as mm_generic::kernel::Kernel>::Rcu::read_lock();
    let mut roots = vec![init_mm.arch().reference_root()];
    tasks.for_each_published(&rcu, &mut |mm| roots.push(mm.root()));
    tasks.for_each_loaded(&rcu, &mut |mm| roots.push(mm.root()));
    for root in roots {
        let mut eyes = ground.eyes(root.phys(), None);
        ground.updates.ledger.look_at_all(&mut eyes, tally);
    }
}
