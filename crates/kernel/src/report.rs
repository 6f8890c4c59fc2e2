//! The last words: what a panic prints before the machine ends.

use crate::backtrace;
use crate::console;
use crate::cpu::area::cpu_index;
use crate::cpu::local::Padded;
use crate::cpu::trap::TrapFrame;
use crate::cpu::vectors::NMI;
use crate::cpu::{MAX_CPUS, apic, clock, smp, trap};
use crate::exit::{Outcome, exit};
use crate::println;
use core::panic::PanicInfo;
use kernel_sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use x86_64::instructions::{hlt, interrupts};
use x86_64::registers::control::{Cr0, Cr2, Cr3, Cr4};

/// No processor.
const NOBODY: u64 = u64::MAX;

/// The processor that reports.
static REPORTER: AtomicU64 = AtomicU64::new(NOBODY);

/// Calls of each stopped processor that are reported.
const DEPTH: usize = 12;

/// Where each stopped processor was, and who had called that; zeros behind.
static STOPPED_AT: [Padded<[AtomicU64; DEPTH]>; MAX_CPUS] =
    [const { Padded([const { AtomicU64::new(0) }; DEPTH]) }; MAX_CPUS];

/// Prints a line about the task that runs on this processor.
pub type TaskDescription = fn();

static DESCRIBE_TASK: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

/// Lets reports name the task that panicked.
pub fn set_task_description(describe: TaskDescription) {
    DESCRIBE_TASK.store(describe as *mut (), Ordering::Release);
}

/// Makes a non-maskable interrupt stop its processor when another one reports. One that comes from outside, as QEMU's monitor
/// sends with `inject-nmi`, makes for a report.
pub fn install() {
    trap::set_handler(NMI, stop_or_report);
}

fn stop_or_report(frame: &mut TrapFrame) {
    note_place(frame);
    if REPORTER.load(Ordering::Acquire) == NOBODY {
        panic!("non-maskable interrupt from outside\n{frame}");
    }
    stop();
}

/// Notes where this processor was interrupted, for who reports.
fn note_place(frame: &TrapFrame) {
    let places = &STOPPED_AT[cpu_index()].0;
    if !frame.from_user() {
        for (place, caller) in places[1..].iter().zip(backtrace::walk(frame.rbp)) {
            place.store(caller, Ordering::Relaxed);
        }
    }
    // Release, and last: who sees the place sees the callers.
    places[0].store(frame.rip, Ordering::Release);
}

fn stop() -> ! {
    interrupts::disable();
    loop {
        hlt();
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    interrupts::disable();
    let cpu = cpu_index();
    let first = REPORTER.compare_exchange(NOBODY, cpu as u64, Ordering::AcqRel, Ordering::Acquire);
    match first {
        Ok(_) => {}
        Err(reporter) if reporter == cpu as u64 => {
            // A panic in this very function. Whatever it was about, do not go there again.
            exit(Outcome::Failure)
        }
        Err(_) => stop(),
    }
    let others = smp::online().without(cpu);
    if !others.is_empty() {
        apic::send_nmi_to_others();
        // Long enough for a processor that an emulator has put aside; then go on without it.
        let deadline = clock::now() + 100_000_000;
        let stopped = |cpu: usize| STOPPED_AT[cpu].0[0].load(Ordering::Acquire) != 0;
        while clock::now() < deadline && !others.into_iter().all(stopped) {
            kernel_sync::cpu_relax();
        }
    }
    // SAFETY: the others are stopped.
    unsafe { console::seize() };

    println!("\n---- kernel panic on cpu{cpu} ----");
    println!("{info}");
    let describe = DESCRIBE_TASK.load(Ordering::Acquire);
    // SAFETY: only `set_task_description` stores, and what it stores is a TaskDescription.
    match unsafe { core::mem::transmute::<*mut (), Option<TaskDescription>>(describe) } {
        Some(describe) => describe(),
        None => println!("task: none, the kernel has no scheduler yet"),
    }
    let (cr0, cr4) = (Cr0::read_raw(), Cr4::read_raw());
    let (cr2, cr3) = (Cr2::read_raw(), Cr3::read_raw().0.start_address().as_u64());
    println!("cr0 {cr0:#x} cr2 {cr2:#018x} cr3 {cr3:#x} cr4 {cr4:#x}");
    println!("backtrace:");
    for address in backtrace::walk(backtrace::frame_pointer()) {
        println!("  {address:#018x}");
    }
    for other in others {
        let places = &STOPPED_AT[other].0;
        println!("cpu{other} was at {:#018x}", places[0].load(Ordering::Acquire));
        let callers = places[1..].iter().map(|place| place.load(Ordering::Relaxed));
        callers.take_while(|&caller| caller != 0).for_each(|caller| println!("  {caller:#018x}"));
    }
    println!("---- end of report ----");
    exit(Outcome::Failure)
}

/// Referenced by the prebuilt `alloc`, which was built to unwind. Never called: this kernel aborts.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

/// As [`rust_eh_personality`].
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume() -> ! {
    panic!("unwinding in a kernel that does not unwind")
}
