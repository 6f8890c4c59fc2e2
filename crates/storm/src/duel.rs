//! Duels: one CPU publishes an mm at the very moment at which another grows the kernel.
//!
//! Storming at random, two CPUs seldom meet within the nanoseconds in which a missing barrier shows.
//! Here everything that takes time is done before the two meet, and then one runs the few instructions from the
//! publication to the end of late init, the other a growth, each after a random delay.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicU64, Ordering};

use hosted::kernel::Scheme;
use kernel_task::insert::Insertion;
use kernel_task::process::Process;
use kernel_task::task::TaskKind;
use mm_generic::publish::NewMm;

use crate::worker::Worker;

/// Where the two CPUs of a duel meet: each writes one counter and reads the other.
#[derive(Default)]
pub(crate) struct Meeting {
    counters: [Counter; 2],
}

#[derive(Default)]
#[repr(align(128))]
struct Counter(AtomicU64);

/// Longest delay after the meeting, in spins of a few nanoseconds each.
const DELAY: u64 = 64;

impl Meeting {
    /// Waits until both sides have come here `times` times. Returns false when `stopped` says that the other will not come.
    fn wait(&self, side: usize, times: u64, stopped: impl Fn() -> bool) -> bool {
        self.counters[side].0.store(times, Ordering::Release);
        let mut spins = 0_u32;
        while self.counters[1 - side].0.load(Ordering::Acquire) < times {
            spins += 1;
            if spins.is_multiple_of(1 << 12) {
                if stopped() {
                    return false;
                }
                std::thread::yield_now();
            }
            spin_loop();
        }
        true
    }
}

impl<S: Scheme> Worker<'_, S> {
    /// Fights `duels` duels as side 0, which publishes, or side 1, which grows.
    pub(crate) fn duel(&mut self, side: usize, duels: u64) {
        for number in 1..=duels {
            let prepared = (side == 0).then(|| self.prepare());
            if !self.meet(side, 2 * number - 1) {
                return;
            }
            for _ in 0..self.random.below(DELAY) {
                spin_loop();
            }
            match prepared {
                Some((mm, insertion)) => {
                    let (published, task) = mm.publish(insertion);
                    let ready = published.init_late();
                    self.tally.forks += 1;
                    // The growth has returned at the second meeting: its address must be there.
                    let met = self.meet(side, 2 * number);
                    drop(ready);
                    self.load(&task);
                    self.end(&task);
                    if !met {
                        return;
                    }
                }
                None => {
                    if self.ground.grow() {
                        self.tally.growths += 1;
                    }
                    if !self.meet(side, 2 * number) {
                        return;
                    }
                    self.resolve_new();
                }
            }
            self.host.rcu().quiesce();
        }
    }

    fn meet(&self, side: usize, times: u64) -> bool {
        let ground = self.ground;
        ground.meeting.wait(side, times, || ground.stop.load(Ordering::Relaxed))
    }

    /// Makes a process that lacks nothing but its publication.
    fn prepare(&self) -> (NewMm<hosted::kernel::Host<S>>, Insertion<'static, hosted::kernel::Host<S>>) {
        let mm = NewMm::new(self.ground.world.init_mm()).expect("frames enough");
        let reservation = self.ground.world.tasks().pids().alloc(self.cpu).expect("a free pid");
        let process = Process::try_new(reservation.pid()).expect("heap enough");
        let insertion = Insertion::try_new(reservation, process, TaskKind::User, ());
        (mm, insertion.expect("heap enough"))
    }
}
