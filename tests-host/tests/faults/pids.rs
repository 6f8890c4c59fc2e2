//! Pids run out again and again, and wrap, while several CPUs fork and exit; each is had by one task at a time, and none is lost.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use arch_x86::geometry::Geometry;
use kernel_fork::args::CloneArgs;
use kernel_fork::copy_process::copy_process;
use kernel_fork::error::ForkError;
use kernel_task::pid::PidError;
use tests_host::machine::{Machine, PID_MAX, PgdScheme};
use tests_host::planted::is_planted;

tests_host::on_every_machine!(pids_run_out_and_wrap_and_none_is_lost);

/// Times that each CPU takes all the pids it can get.
const ROUNDS: usize = 12;

fn pids_run_out_and_wrap_and_none_is_lost<G: Geometry, A: PgdScheme<G>>(machine: &Machine<G, A>) {
    let alive = Mutex::new(BTreeSet::from([machine.init().pid()]));
    let alive = || alive.lock().unwrap_or_else(PoisonError::into_inner);
    let made = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for cpu in 1..3 {
            let (alive, made) = (&alive, &made);
            scope.spawn(move || {
                let online = machine.cpu_online();
                for _ in 0..ROUNDS {
                    let mut children = Vec::new();
                    loop {
                        let args = &CloneArgs::VFORK;
                        match copy_process(machine.init_mm(), machine.init(), args, cpu) {
                            Ok(child) => {
                                let child = child.into_task();
                                assert!(alive().insert(child.pid()), "{} is taken", child.pid());
                                children.push(child);
                            }
                            Err(error) => {
                                let limit = PID_MAX;
                                assert_eq!(error, ForkError::Pid(PidError::Exhausted { limit }));
                                break;
                            }
                        }
                    }
                    made.fetch_add(children.len(), Ordering::Relaxed);
                    for child in children {
                        alive().remove(&child.pid());
                        machine.exit(&child);
                    }
                    (0..8).for_each(|_| online.rcu().flush());
                }
            });
        }
    });
    let made = made.into_inner();
    assert!(made > 2 * PID_MAX as usize, "{made} tasks: the pids never wrapped");
    machine.rcu_barrier();
    if is_planted("lost-pid") {
        std::mem::forget(machine.tasks().pids().alloc(0));
    }
    let mut held = Vec::new();
    while let Ok(pid) = machine.tasks().pids().alloc(0) {
        held.push(pid);
    }
    assert_eq!(held.len(), PID_MAX as usize - 2, "all pids but 0 and init's can be had");
    println!("covered {made} tasks for {} pids", PID_MAX - 1);
}
