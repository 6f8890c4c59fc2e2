//! The kernel image: brings the machine up and does what the command line says.
#![no_std]
#![no_main]

use kernel::boot::{self, Machine};
use kernel::cpu::smp;
use kernel::exit::{self, Outcome, exit};
use kernel::task::init;
use kernel::{fault, os, println, sched, selftest, syscall, task, time};
use spin::Once;
use x86_64::instructions::interrupts;

/// Seconds after which a processor that takes no interrupt is reported, unless `watchdog=` on the command line says otherwise; 0 is
/// for never.
const WATCHDOG: u64 = 10;

/// Where `boot/entry.s` goes, with the physical address of the loader's start info.
#[unsafe(no_mangle)]
extern "C" fn kernel_main(start_info: u64) -> ! {
    static MACHINE: Once<Machine> = Once::new();
    // SAFETY: entry.s calls this once, on the boot processor, with what the loader passed.
    let machine = match unsafe { boot::bring_up(start_info, sched::idle) } {
        Ok(machine) => MACHINE.call_once(|| machine),
        Err(error) => panic!("the machine cannot be brought up: {error}"),
    };
    interrupts::enable();
    if let Some(name) = machine.command_line.value("test").filter(|name| selftest::is_early(name)) {
        selftest::run(name, machine);
        exit(Outcome::Success);
    }
    #[cfg(feature = "mutants")]
    kernel::scheme::choose(machine.command_line.value("mutant"));
    if let Err(error) = os::install(machine.tables, smp::online().count()) {
        panic!("the PGD crates cannot be plugged in: {error}");
    }
    time::install();
    sched::install();
    let patience = machine.command_line.value("watchdog").map(str::parse);
    sched::watch(
        patience.map_or(WATCHDOG, |seconds| seconds.expect("watchdog= has a number of seconds")),
    );
    fault::install();
    syscall::install();
    let argument = core::ptr::from_ref(machine).addr();
    if let Err(error) = task::spawn_kernel_thread("init", first_thread, argument) {
        panic!("the first thread cannot be made: {error}");
    }
    sched::idle()
}

/// The first thread, which does what the command line says.
extern "C" fn first_thread(machine: usize) -> ! {
    // SAFETY: `kernel_main` passes a reference that is valid for ever.
    let machine: &'static Machine = unsafe { &*(machine as *const Machine) };
    if let Some(name) = machine.command_line.value("test") {
        selftest::run(name, machine);
        exit(Outcome::Success);
    }
    #[cfg(feature = "storm")]
    if let Some(seconds) = machine.command_line.value("storm") {
        kernel::storm::run(seconds, machine);
        exit(Outcome::Success);
    }
    if let Err(error) = init::prepare(machine) {
        panic!("no programs can be run: {error}");
    }
    let program = init::first_program(machine);
    match init::start(&program) {
        Ok(main) => exit::exit_with(init::reap_until(&main)),
        Err(error) => {
            println!("init: {error}");
            exit(Outcome::Failure)
        }
    }
}
