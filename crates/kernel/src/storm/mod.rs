//! The storm: processes fork, exec and exit on every processor while kernel threads grow the kernel into new
//! top-level slots and give them back. `cargo xtask boot-storm` runs it.
//!
//! After a growth has returned, every processor must reach the new mapping, in whatever address space it happens to
//! be. So the mapping is read and written
//!
//! - on every processor at once, in an interrupt handler, which borrows what it has interrupted: a program, a system
//!   call, a kernel thread that is attached to an mm or runs lazily on one, the idle loop;
//! - with every system call, before and after it, and with every switch of tasks, while the mapping lives;
//! - by kernel threads that attach mms whose owners are gone.
//!
//! After a reclaim has returned, no processor may reach the mapping. Now and then, and in the end, every live PGD is
//! compared with the reference, slot by slot, and in the end the frames are counted.
//!
//! Before the programs start, [`scenes`] play interleavings that matter, two processors meet in [`duel`]s, which bring together what
//! at random seldom meets, and the [`litmus`] tests tell what the machine can show at all.
//!
//! The first mistake ends the machine, with a report ([`report`]). The last line of a run has its figures.

mod account;
mod area;
mod attached;
mod attacher;
mod cross_check;
mod crowd;
mod duel;
mod figures;
mod grower;
mod litmus;
mod look;
mod meeting;
mod pace;
mod probe;
mod programs;
mod random;
mod report;
mod scenes;
mod store_buffer;
mod team;

pub(crate) use look::{after_call, after_switch, before_call, before_exit};

use crate::boot::Machine;
use crate::cpu::{clock, smp};
use crate::mm::poison;
use crate::task::init;
use pace::{MILLISECOND, SECOND, sleep};
use team::Team;

/// Of the whole time, the share that duels get, in percent, unless `duels=` on the command line says otherwise.
const DUELS_SHARE: u64 = 30;

/// The same for each form of the litmus test, at most, unless `litmus=` says otherwise.
const LITMUS_SHARE: u64 = 5;

/// Growths and execs that a storm has at least, however long that takes.
const ENOUGH: u64 = 25;

/// Time between two comparisons of all PGDs.
const CHECK_EVERY: u64 = 200 * MILLISECOND;

/// Storms for as long as the command line says, and checks everything. Ends the machine at the first mistake.
///
/// # Panics
///
/// When the command line has a number or a name that is none, when there is no memory for the storm, and with the first mistake.
pub fn run(seconds: &str, machine: &'static Machine) {
    let seconds: u64 = seconds.parse().expect("storm= has a number of seconds");
    let end = clock::now() + seconds * SECOND;
    // What the kernel makes on first use, and keeps, is made before the frames are counted.
    if let Err(error) = init::prepare(machine) {
        panic!("no programs can be run: {error}");
    }
    poison::report_to(report::corruption);
    let before = account::take();
    scenes::run(machine.command_line.value("scene"));
    let share = |name: &str, default: u64| {
        let share = machine.command_line.value(name).map(str::parse);
        share.map_or(default, |share: Result<u64, _>| share.expect("a percentage")).min(100)
    };
    litmus::run(seconds * SECOND * share("litmus", LITMUS_SHARE) / 100);
    let left = end.saturating_sub(clock::now());
    duel::run(
        clock::now() + left * share("duels", DUELS_SHARE) / 100,
        machine.command_line.value("duel"),
    );
    storm(machine, end);
    let after = account::take();
    let leaked = before.total() as i64 - after.total() as i64;
    figures::LEAKED.add(leaked.unsigned_abs());
    if leaked != 0 {
        report::fail(format_args!("{leaked} frames are lost: {before:?} became {after:?}"));
    }
    figures::print("passed");
}

/// Programs, growers and attachers, all at once, until `end`.
fn storm(machine: &'static Machine, end: u64) {
    let cpus = smp::online().count();
    let programs = programs::start(machine);
    let mut growers = Team::start("grower", grower::run, cpus.max(2));
    let attachers = Team::start("attacher", attacher::run, cpus.div_ceil(2));
    // On a busy host a guest gets little done in its time; less than this would prove nothing.
    let enough = figures::GROWTHS.get() + ENOUGH;
    let done = || figures::GROWTHS.get() >= enough && figures::EXECS.get() >= ENOUGH;
    while clock::now() < end || !done() {
        sleep(CHECK_EVERY);
        // Programs and attachers go on: what is compared is what they load.
        growers.pause();
        cross_check::run();
        programs.check();
        growers.resume();
    }
    growers.stop();
    cross_check::run();
    attachers.stop();
    programs.end();
    cross_check::run();
    area::check_empty();
    let (made, ended) = (figures::FORKS.get() + 1, figures::EXITS.get());
    if made != ended {
        report::fail(format_args!("{made} tasks were made, and {ended} have exited"));
    }
}
