//! The pid table under threads that stand for CPUs: unique pids, complete walks, exact exhaustion.
#![cfg(not(loom))]

mod pid_host_rcu;

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use kernel_sync::{Rcu, smp_mb};
use kernel_task::pid::{Pid, PidError, PidTable};
use pid_host_rcu::{HostRcu, task};

/// Runs `work` on one thread for each CPU and takes the threads offline when they are done.
fn on_cpus(cpus: usize, work: impl Fn(usize) + Sync) {
    thread::scope(|scope| {
        for cpu in 0..cpus {
            let work = &work;
            scope.spawn(move || {
                work(cpu);
                HostRcu::leave();
            });
        }
    });
    HostRcu::barrier();
}

/// A small generator, so that the threads differ and a run can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

/// Task that knows its pid and notices when it is dropped.
struct Task {
    pid: u32,
    live: Arc<AtomicUsize>,
}

impl Drop for Task {
    fn drop(&mut self) {
        self.live.fetch_sub(1, Ordering::Relaxed);
    }
}

#[test]
fn live_pids_are_unique_while_the_numbers_wrap() {
    const LIMIT: u32 = 450;
    const CPUS: usize = 4;
    let table: PidTable<Task, HostRcu> = PidTable::new(LIMIT, CPUS).expect("good limit");
    let owners: Vec<AtomicBool> = (0..LIMIT).map(|_| AtomicBool::new(false)).collect();
    let live = Arc::new(AtomicUsize::new(0));
    on_cpus(CPUS, |cpu| {
        let mut random = Random(cpu as u64 + 1);
        let mut mine: Vec<Pid> = Vec::new();
        for round in 0..40_000 {
            // A third of the time two threads call themselves the same CPU.
            let as_cpu = if round % 3 == 0 { 0 } else { cpu };
            if mine.len() < 80 && random.below(5) < 3 {
                let reservation = table.alloc(as_cpu).expect("320 tasks do not exhaust 449 pids");
                let pid = reservation.pid();
                let owned = owners[pid.get() as usize].swap(true, Ordering::Relaxed);
                assert!(!owned, "pid {pid} was handed out twice");
                if random.below(8) == 0 {
                    owners[pid.get() as usize].store(false, Ordering::Relaxed);
                    drop(reservation);
                } else {
                    live.fetch_add(1, Ordering::Relaxed);
                    reservation.publish(task(Task { pid: pid.get(), live: live.clone() }));
                    mine.push(pid);
                }
            } else if !mine.is_empty() {
                let pid = mine.swap_remove(random.below(mine.len()));
                let guard = HostRcu::read_lock();
                let task = table.get(pid, &guard).expect("mine and published");
                owners[pid.get() as usize].store(false, Ordering::Relaxed);
                table.remove(pid).expect("mine and published");
                assert_eq!(task.pid, pid.get());
            }
            if round % 64 == 0 {
                let guard = HostRcu::read_lock();
                let mut seen = HashSet::new();
                table.for_each(&guard, &mut |task| seen.extend([task.pid]));
                for pid in &mine {
                    assert!(seen.contains(&pid.get()), "the walk missed pid {pid}");
                }
            }
            HostRcu::quiesce();
        }
        for pid in mine {
            owners[pid.get() as usize].store(false, Ordering::Relaxed);
            table.remove(pid).expect("mine and published");
        }
    });
    assert_eq!(live.load(Ordering::Relaxed), 0, "after the barrier no task is left");
    let guard = HostRcu::read_lock();
    table.for_each(&guard, &mut |task| panic!("pid {} is left", task.pid));
}

/// The two halves of the race of growth and fork on real cores: each round, one thread publishes and
/// reads, the other writes and walks. Both barriers are there, so at least one sees the other.
#[test]
fn publisher_or_walker_sees_the_other() {
    const ROUNDS: u32 = 200_000;
    let table: PidTable<u32, HostRcu> = PidTable::new(4096, 2).expect("good limit");
    let reference = AtomicU32::new(0);
    let turn = AtomicU32::new(0);
    let fork_saw = AtomicU32::new(0);
    let lost = AtomicU32::new(0);
    let meet = |round: u32| {
        turn.fetch_add(1, Ordering::AcqRel);
        let mut spins = 0_u32;
        while turn.load(Ordering::Acquire) < 2 * round {
            spins += 1;
            if spins.is_multiple_of(1 << 10) { thread::yield_now() } else { std::hint::spin_loop() }
        }
    };
    on_cpus(2, |cpu| {
        for round in 1..=ROUNDS {
            if cpu == 0 {
                let reservation = table.alloc(0).expect("a free pid");
                let task = task(round);
                meet(2 * round - 1);
                let pid = reservation.publish(task);
                smp_mb();
                fork_saw.store(reference.load(Ordering::Relaxed), Ordering::Relaxed);
                meet(2 * round);
                table.remove(pid).expect("published");
            } else {
                let guard = HostRcu::read_lock();
                meet(2 * round - 1);
                reference.store(round, Ordering::Relaxed);
                smp_mb();
                let mut walk_saw = false;
                table.for_each(&guard, &mut |task| walk_saw |= *task == round);
                meet(2 * round);
                // Counted, because a thread that stops here would leave the other one waiting.
                if !walk_saw && fork_saw.load(Ordering::Relaxed) != round {
                    lost.fetch_add(1, Ordering::Relaxed);
                }
            }
            HostRcu::quiesce();
        }
    });
    assert_eq!(lost.load(Ordering::Relaxed), 0, "rounds in which neither saw the other");
}

#[test]
fn exhaustion_is_reported_only_when_nothing_is_free() {
    const LIMIT: u32 = 130;
    const CPUS: usize = 4;
    // Each thread holds up to a quarter of the pids, so one is always free for the thread that asks:
    // the one it has just given back, if no other.
    let table: PidTable<u32, HostRcu> = PidTable::new(LIMIT, CPUS).expect("good limit");
    let share = (LIMIT as usize - 1) / CPUS;
    let allocations = AtomicU64::new(0);
    on_cpus(CPUS, |cpu| {
        let mut random = Random(cpu as u64 + 99);
        let mut held = Vec::new();
        for round in 0..20_000 {
            while held.len() < share {
                match table.alloc(cpu) {
                    Ok(reservation) => held.push(reservation),
                    Err(error) => panic!("cpu {cpu}, {} held: {error}", held.len()),
                }
                allocations.fetch_add(1, Ordering::Relaxed);
            }
            for _ in 0..=random.below(share) {
                drop(held.swap_remove(random.below(held.len())));
            }
            // Walks close the chunks that became empty, which is what a search can trip over.
            if round % 4 == 0 {
                table.for_each(&HostRcu::read_lock(), &mut |_| ());
            }
        }
    });
    assert!(allocations.load(Ordering::Relaxed) > 0);
    let held: Vec<_> = (1..LIMIT).map(|_| table.alloc(2).expect("all were given back")).collect();
    assert_eq!(table.alloc(1).err(), Some(PidError::Exhausted { limit: LIMIT }));
    drop(held);
}

#[test]
fn one_of_several_removers_wins() {
    const CPUS: usize = 4;
    let table: PidTable<u32, HostRcu> = PidTable::new(4096, CPUS).expect("good limit");
    let start = Barrier::new(CPUS);
    let wins = AtomicU32::new(0);
    let target = AtomicU32::new(0);
    on_cpus(CPUS, |cpu| {
        for _ in 0..2000 {
            if cpu == 0 {
                let pid = table.alloc(0).expect("a free pid").publish(task(0));
                target.store(pid.get(), Ordering::Relaxed);
                wins.store(0, Ordering::Relaxed);
            }
            start.wait();
            let pid = Pid::new(target.load(Ordering::Relaxed)).expect("a pid");
            match table.remove(pid) {
                Ok(()) => {
                    wins.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => assert_eq!(error, PidError::NotPublished { pid }),
            }
            start.wait();
            assert_eq!(wins.load(Ordering::Relaxed), 1);
            start.wait();
            HostRcu::quiesce();
        }
    });
}
