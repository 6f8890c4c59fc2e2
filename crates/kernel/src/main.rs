//! The kernel image: brings the machine up and does what the command line says.
#![no_std]
#![no_main]

use kernel::exit::{Outcome, exit};
use kernel::{boot, println, selftest};
use x86_64::instructions::interrupts;

/// Where `boot/entry.s` goes, with the physical address of the loader's start info.
#[unsafe(no_mangle)]
extern "C" fn kernel_main(start_info: u64) -> ! {
    // SAFETY: entry.s calls this once, on the boot processor, with what the loader passed.
    let machine = match unsafe { boot::bring_up(start_info, idle) } {
        Ok(machine) => machine,
        Err(error) => panic!("the machine cannot be brought up: {error}"),
    };
    interrupts::enable();
    match machine.command_line.value("test") {
        Some(name) => selftest::run(name, &machine),
        None => println!("nothing to do: no test= on the command line"),
    }
    exit(Outcome::Success)
}

/// What a processor does when there is nothing to do.
fn idle() -> ! {
    loop {
        interrupts::enable_and_hlt();
    }
}
