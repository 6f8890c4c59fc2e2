//! Frames run out at any allocation, while several CPUs fork, exec, exit, fault and grow.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arch_x86::geometry::Geometry;
use hosted::kernel::NoError;
use kernel_fork::args::CloneArgs;
use kernel_fork::copy_process::copy_process;
use kernel_fork::error::ForkError;
use kernel_fork::exit::{exit, reap};
use kernel_task::pid::PidError;
use kernel_task::process::ExitStatus;
use mm_generic::arch::{PgdAllocError, PopulateError};
use mm_generic::frames::PAGE_SIZE;
use mm_generic::growth::GrowError;
use mm_generic::mm::NewMmError;
use mm_generic::page_tables::MapError;
use mm_generic::publish::NewMm;
use mm_generic::user::{FaultError, ForkMmError};
use tests_host::machine::{DATA, DATA_PAGES, Machine, PgdScheme};

tests_host::on_every_machine!(every_cpu_meets_a_lack_of_frames_at_any_moment);

/// Turns of each CPU.
const TURNS: u64 = 150;

/// A typed lack of frames or pids, and nothing else.
pub(crate) fn is_lack(error: &ForkError<NoError>) -> bool {
    matches!(
        error,
        ForkError::NewMm(NewMmError::Pgd(PgdAllocError::OutOfFrames(_)))
            | ForkError::CopyMm(ForkMmError::Map(MapError::OutOfFrames { .. }))
            | ForkError::Pid(PidError::Exhausted { .. })
    )
}

fn every_cpu_meets_a_lack_of_frames_at_any_moment<G: Geometry, A: PgdScheme<G>>(
    machine: &Machine<G, A>,
) {
    let over = AtomicBool::new(false);
    let refused = AtomicU64::new(0);
    let refuse = || {
        refused.fetch_add(1, Ordering::Relaxed);
    };
    std::thread::scope(|scope| {
        let forkers: Vec<_> = (1..3)
            .map(|cpu| {
                scope.spawn(move || {
                    let online = machine.cpu_online();
                    for turn in 0..TURNS {
                        // Of all CPUs' allocations together; now and then nothing at all can be had for a while.
                        if turn % 5 == 0 {
                            machine.frames().fail_after(turn % 3);
                        } else {
                            machine.frames().fail_once_after(turn % 11);
                        }
                        fork_and_fault(machine, cpu, turn, &refuse);
                        online.rcu().quiesce();
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            let online = machine.cpu_online();
            let slots = machine.shape().slots;
            let mut turn = 0;
            while !over.load(Ordering::Acquire) {
                let first = turn * 7 % slots;
                match machine.try_grow(first..(first + 2).min(slots)) {
                    Ok(range) => drop(range),
                    Err(GrowError::Populate(PopulateError::OutOfFrames(_))) => refuse(),
                    Err(error) => panic!("{error}"),
                }
                turn += 1;
                online.rcu().quiesce();
            }
        });
        for forker in forkers {
            forker.join().expect("a forker ends well");
        }
        over.store(true, Ordering::Release);
    });
    machine.frames().fail_never();
    while reap(machine.init_mm(), machine.init().process(), |_| true).is_some() {}
    let refused = refused.into_inner();
    assert!(refused > 0, "no allocation failed");
    println!("covered {refused} frames refused");
    // What was refused can be had now.
    machine.grow(0..machine.shape().slots.min(3));
    let child = machine.fork();
    machine.exit(&child);
}

fn fork_and_fault<G: Geometry, A: PgdScheme<G>>(
    machine: &Machine<G, A>,
    cpu: usize,
    turn: u64,
    refuse: &impl Fn(),
) {
    let args = [CloneArgs::FORK, CloneArgs::FORK, CloneArgs::VFORK][turn as usize % 3];
    let child = match copy_process(machine.init_mm(), machine.init(), &args, cpu) {
        Ok(child) => child.into_task(),
        Err(error) => {
            assert!(is_lack(&error), "{error}");
            return refuse();
        }
    };
    machine.switch(cpu, &child);
    if args == CloneArgs::FORK {
        let mm = child.mm().expect("a user task");
        let mut user = mm.user();
        for page in 0..DATA_PAGES {
            let addr = DATA + page * PAGE_SIZE;
            match user.write_bytes(&mm, addr, &[turn as u8]) {
                Ok(()) => {}
                Err(
                    FaultError::OutOfFrames { .. } | FaultError::Map(MapError::OutOfFrames { .. }),
                ) => refuse(),
                Err(error) => panic!("{error}"),
            }
        }
    }
    if let Err(error) = NewMm::new(machine.init_mm()) {
        assert!(matches!(error, NewMmError::Pgd(PgdAllocError::OutOfFrames(_))), "{error}");
        refuse();
    }
    machine.leave(cpu);
    exit(machine.init_mm(), &child, ExitStatus::Exited(0), machine.init().process());
    while reap(machine.init_mm(), machine.init().process(), |_| true).is_some() {}
}
