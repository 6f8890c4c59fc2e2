//! Compares the schemes: see the library. `cargo xtask bench` runs it.

// The hosted kernel is not built for the model checker.
#![cfg(not(loom))]

use benches::compare::{Plan, walks};
use benches::machine::Machine;

fn main() {
    let machine = Machine::here();
    for p in walks::measure(&Plan::FULL, machine.cpus, |step| eprintln!("{step}")) {
        println!(
            "{:>15} {:>7} {:>10.1} {:>10.1} {:.3} [{:.3} {:.3}]",
            p.what, p.x, p.through_tasks, p.over_mms, p.ratio.median, p.ratio.p25, p.ratio.p75
        );
    }
}
