//! Compares the schemes: see the library. `cargo xtask bench` runs it.

// The hosted kernel is not built for the model checker.
#![cfg(not(loom))]

use benches::chosen::Scheme;
use benches::compare::{Plan, throughput};
use benches::machine::Machine;

fn main() {
    let machine = Machine::here();
    let plan = Plan::QUICK;
    let points = throughput::measure(&plan, machine.cpus, |step| eprintln!("{step}"));
    for point in points {
        println!(
            "{:>15} {:>2} {:>13} {:>10.0} {:.3} [{:.3} {:.3}]",
            point.work.name(),
            point.threads,
            point.scheme.name(),
            point.per_second.median,
            point.late_over_this.median,
            point.late_over_this.p25,
            point.late_over_this.p75
        );
    }
    let _ = Scheme::ALL;
}
