//! What `test=NAME` on the command line runs, one line per case.
//!
//! `test=boot` checks the layer below the PGD crates and ends the machine with success. The other
//! names provoke a death on purpose; `cargo xtask boot-test` checks what is reported.

mod deaths;
mod devices;
mod interrupts;
mod memory;
mod processors;
mod ring3;
mod tasks;

use crate::boot::Machine;
use crate::exit::{Outcome, exit};
use crate::println;
use alloc::string::String;

/// What a case says: nothing, or what went wrong.
type Verdict = Result<(), String>;

/// Returns from a case with a message unless a condition holds.
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err(alloc::format!($($message)+));
        }
    };
}
use ensure;

/// A name and what to run.
type Case = (&'static str, fn(&Machine) -> Verdict);

/// The cases of `test=boot`, in order: what later ones rely on comes first.
const BOOT: &[Case] = &[
    ("every processor answers a call", processors::calls),
    ("processors call each other at once", processors::crossing_calls),
    ("ticks arrive on every processor", processors::ticks),
    ("an idle processor wakes", processors::idle_wakes),
    ("time goes forward", processors::time),
    ("registers and red zone survive interrupts", interrupts::registers_survive),
    ("a breakpoint returns", interrupts::breakpoint),
    ("memory functions", memory::functions),
    ("heap", memory::heap),
    ("frames come back", memory::frames_come_back),
    ("frames are shared by count", memory::frames_are_counted),
    ("nothing is writable and executable", memory::write_xor_execute),
    ("the lower half is empty", memory::no_identity_map),
    ("all RAM is in the direct map", memory::direct_map),
    ("a missing page is noticed by a probe", memory::probe),
    ("a shoot-down reaches every processor", memory::shoot_down),
    ("a program runs in ring 3", ring3::program),
    ("user memory is protected from the kernel", ring3::protection),
    ("user copies stop at the first bad page", ring3::copies),
    ("a typed byte interrupts", devices::serial_input),
    ("files of the initramfs are found", devices::initramfs),
];

/// The cases of `test=kernel`, which run in a kernel thread.
const KERNEL: &[Case] = &[
    ("threads run on every processor", tasks::every_processor),
    ("threads wake each other", tasks::ping_pong),
    ("a sleep lasts as long as it should", tasks::sleep),
    ("threads leave nothing behind", tasks::come_and_go),
];

/// Tells whether `name` is to be run before there is a scheduler.
#[must_use]
pub fn is_early(name: &str) -> bool {
    !matches!(name, "kernel" | "stuck" | "stuck-elsewhere")
}

/// Runs what `name` stands for, and ends the machine if it fails.
pub fn run(name: &str, machine: &Machine) {
    match name {
        "boot" => run_all(BOOT, machine),
        "kernel" => run_all(KERNEL, machine),
        "panic" => deaths::page_fault(),
        "panic-elsewhere" => deaths::page_fault_elsewhere(),
        "stack-overflow" => deaths::stack_overflow(machine),
        "stuck" => deaths::stuck(),
        "stuck-elsewhere" => deaths::stuck_elsewhere(),
        "nmi" => deaths::wait_for_nmi(),
        _ => {
            println!("not ok: there is no test named {name}");
            exit(Outcome::Failure);
        }
    }
}

fn run_all(cases: &[Case], machine: &Machine) {
    let mut failed = 0;
    for (name, case) in cases {
        match case(machine) {
            Ok(()) => println!("ok {name}"),
            Err(why) => {
                println!("not ok {name}: {why}");
                failed += 1;
            }
        }
    }
    println!("{} cases, {failed} failed", cases.len());
    if failed > 0 {
        exit(Outcome::Failure);
    }
}
