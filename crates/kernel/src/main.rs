//! The kernel image: brings the machine up and does what the command line says.
#![no_std]
#![no_main]

use kernel::boot::{self, Machine};
use kernel::cpu::smp;
use kernel::exit::{Outcome, exit};
use kernel::{os, println, sched, selftest, task};
use spin::Once;
use x86_64::instructions::interrupts;

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
    if let Err(error) = os::install(machine.tables, smp::online().count()) {
        panic!("the PGD crates cannot be plugged in: {error}");
    }
    sched::install();
    let argument = core::ptr::from_ref(machine).addr();
    if let Err(error) = task::spawn_kernel_thread("init", init, argument) {
        panic!("the first thread cannot be made: {error}");
    }
    sched::idle()
}

/// The first thread, which does what the command line says.
extern "C" fn init(machine: usize) -> ! {
    // SAFETY: `kernel_main` passes a reference that is valid for ever.
    let machine = unsafe { &*(machine as *const Machine) };
    match machine.command_line.value("test") {
        Some(name) => selftest::run(name, machine),
        None => println!("nothing to do: no test= on the command line"),
    }
    exit(Outcome::Success)
}
