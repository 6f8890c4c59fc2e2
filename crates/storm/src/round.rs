//! One round: a kernel is booted, stormed until its kernel half is used up, checked, and shut down.

use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::{Duration, Instant};

use hosted::frames::HostFrames;
use hosted::kernel::{Host, Scheme};
use hosted::world::World;
use kernel_fork::copy_process::first_process;
use kernel_sync::Rcu;
use kernel_task::task::TaskRef;
use kernel_task::tasks::Tasks;
use mm_generic::arch::ArchPgd;
use mm_generic::publish::NewMm;
use mm_generic::walk::Walkers;
use mutants::Mutant;

use crate::ground::{Ground, Half};
use crate::random::Random;
use crate::tally::Tally;
use crate::worker::{Worker, program};

/// How a scheme's kernels are made.
pub(crate) struct Recipe<S: Scheme> {
    pub(crate) half: Half,
    pub(crate) arch: Box<dyn Fn(&'static HostFrames) -> S::Arch>,
    pub(crate) walkers: Box<dyn Fn(Tasks<Host<S>>) -> S::Walkers>,
    pub(crate) mutant: Option<Mutant>,
    pub(crate) cpus: usize,
    pub(crate) seed: u64,
    pub(crate) grow_every: u64,
}

/// What a round, or many, came to.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Outcome {
    pub(crate) tally: Tally,
    /// Time that the CPUs worked.
    pub(crate) active: Duration,
    pub(crate) leaked_frames: i64,
    /// Frames that were written after they had been freed, and CPUs that died of a broken invariant.
    pub(crate) corrupted: u64,
}

/// A frame is compared with zero while it is free; that takes as long as a round does.
const CHECK_FREE_FRAMES_EVERY: u64 = 64;

/// Rounds from one that begins with duels to the next.
const DUELS_EVERY: u64 = 8;

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
        let frames_before = frames.allocated();
        let arch = (self.arch)(frames);
        let tasks = Tasks::new(PID_MAX, self.cpus).expect("memory for a small task list");
        let walkers = (self.walkers)(tasks);
        let world: World<S> = World::boot(frames, frames_before, arch, walkers);
        let init = {
            let _cpu = world.cpu_online();
            let mm = NewMm::new(world.init_mm()).expect("frames enough");
            program(&mm);
            first_process(world.init_mm(), Some(mm), (), 0).expect("room enough").into_task()
        };
        let ground = Ground::new(world, self.half, init, self.cpus);

        let duels = self.duels(round);
        let began = Instant::now();
        let results: Vec<thread::Result<Tally>> = thread::scope(|scope| {
            let cpus: Vec<_> = (0..self.cpus)
                .map(|cpu| {
                    let (ground, random) = (&ground, Random::new(self.seed, cpu, round));
                    let (grow_every, frees_early) = (self.grow_every, self.frees_early());
                    scope.spawn(move || {
                        // A CPU that dies leaves everything as it is: unwinding through a kernel
                        // whose invariants are broken would only bury the cause.
                        let worker = Worker::new(ground, cpu, random, grow_every, frees_early);
                        let mut worker = ManuallyDrop::new(worker);
                        let tally = worker.work(deadline, duels);
                        drop(ManuallyDrop::into_inner(worker));
                        tally
                    })
                })
                .collect();
            cpus.into_iter().map(thread::ScopedJoinHandle::join).collect()
        });
        outcome.active += began.elapsed();
        let mut died = 0;
        for result in results {
            match result {
                Ok(tally) => outcome.tally += tally,
                Err(_) => died += 1,
            }
        }
        if died > 0 {
            // Its kernel is in no state to be shut down; it is left where it is.
            outcome.corrupted += died;
            std::mem::forget(ground);
            return;
        }
        let ended = catch_unwind(AssertUnwindSafe(|| self.end(ground, round, deadline, outcome)));
        if ended.is_err() {
            outcome.corrupted += 1;
        }
    }

    /// Checks every mm, shuts the kernel down and draws up the account.
    fn end(&self, ground: Ground<S>, round: u64, deadline: Instant, outcome: &mut Outcome) {
        self.check_every_mm(&ground, &mut outcome.tally);
        let frames = ground.world.frames();
        for cpu in 0..self.cpus {
            drop(ground.given(cpu));
        }
        let Ground { world, init, .. } = ground;
        {
            let _cpu = world.cpu_online();
            drop::<TaskRef<Host<S>>>(init);
        }
        let last = Instant::now() >= deadline;
        let check = self.mutant.is_some() || last || round.is_multiple_of(CHECK_FREE_FRAMES_EVERY);
        // SAFETY: the CPUs have been joined, and what they held is dropped.
        let leftovers = unsafe { world.shut_down(self.half.kind) };
        outcome.leaked_frames += leftovers.leaked_frames;
        if check && let Err(error) = frames.check_free_frames() {
            eprintln!("round {round}: {error}");
            outcome.corrupted += 1;
        }
    }

    /// Duels at the start of a round: three quarters of the growths of each round of a mutant, and of one
    /// round in [`DUELS_EVERY`] otherwise.
    fn duels(&self, round: u64) -> u64 {
        let fought = self.mutant.is_some() || round % DUELS_EVERY == 1;
        if self.cpus >= 2 && fought { self.half.growths() * 3 / 4 } else { 0 }
    }

    fn frees_early(&self) -> bool {
        self.mutant == Some(Mutant::PgdFreedEarly)
    }

    /// Resolves every growth through every live mm, and compares every slot with the reference's.
    fn check_every_mm(&self, ground: &Ground<S>, tally: &mut Tally) {
        let _cpu = ground.world.cpu_online();
        let init_mm = ground.world.init_mm();
        let tasks = ground.world.tasks();
        let rcu = <Host<S> as mm_generic::kernel::Kernel>::Rcu::read_lock();
        let mut roots = Vec::new();
        tasks.for_each_published(&rcu, &mut |mm| roots.push(mm.root()));
        tasks.for_each_loaded(&rcu, &mut |mm| roots.push(mm.root()));
        roots.push(init_mm.arch().reference_root());
        for root in roots {
            ground.resolve(0, root.phys(), tally);
        }
    }
}
