//! The programs of the storm: `crates/kernel/tests/programs/storm.c`, as the initramfs has it.

use super::pace::{MILLISECOND, sleep};
use super::report;
use crate::boot::Machine;
use crate::os::{init_mm, tasks};
use crate::rcu;
use crate::sched::current;
use crate::signal::info::Info;
use crate::signal::{Signal, send};
use crate::task::{TaskRef, init};
use kernel_fork::exit::reap;
use kernel_task::task::TaskKind;

/// Programs that run.
pub(super) struct Programs {
    first: TaskRef,
}

/// Starts the first program, which starts the others.
pub(super) fn start(machine: &Machine) -> Programs {
    match init::start(&init::first_program(machine)) {
        Ok(first) => Programs { first },
        Err(error) => panic!("the first program: {error}"),
    }
}

impl Programs {
    /// Reaps orphans, and makes sure that the first program runs: it ends only when something went wrong with
    /// one of the others.
    pub(super) fn check(&self) {
        let me = current();
        while let Some(reaped) = reap(init_mm(), me.process(), |_| true) {
            if reaped.pid == self.first.pid() {
                report::fail(format_args!("the programs ended by themselves: {:?}", reaped.status));
            }
        }
    }

    /// Kills all programs, wherever they are, and returns when none is left.
    pub(super) fn end(self) {
        let me = current();
        while any() {
            // Again and again: one that is being forked is not on the list yet.
            let _ = send::to_all(Info::kernel(Signal::KILL), |_| true);
            while reap(init_mm(), me.process(), |_| true).is_some() {}
            sleep(MILLISECOND);
        }
    }
}

fn any() -> bool {
    let mut any = false;
    tasks().pids().for_each(&rcu::read_lock(), &mut |task| any |= task.kind() == TaskKind::User);
    any
}
