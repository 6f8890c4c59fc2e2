//! What the storm says: what it is about to do, and a mistake, which is the last thing the machine does.

use super::figures;
use crate::cpu::area::cpu_index;
use crate::mm::poison::Corruption;
use crate::os::{init_mm, tasks};
use crate::println;
use crate::sched::try_current;
use arch_x86::geometry::Geometry;
use core::fmt;
use kernel_sync::atomic::{AtomicBool, Ordering};
use mm_generic::frames::Frame;
use mm_generic::word::Word;
use x86_64::registers::control::Cr3;

static FAILED: AtomicBool = AtomicBool::new(false);

/// Says what the storm is about to do, or has done.
pub(super) fn announce(what: fmt::Arguments<'_>) {
    println!("storm: {what}");
}

/// Prints what is wrong and the figures so far, and panics: that adds registers, task and backtrace.
pub(super) fn fail(what: fmt::Arguments<'_>) -> ! {
    if FAILED.swap(true, Ordering::AcqRel) {
        // One report is enough; its panic stops this processor.
        loop {
            kernel_sync::cpu_relax();
        }
    }
    println!("storm failure: {what}");
    figures::print("failed");
    panic!("the storm has found a mistake: {what}");
}

/// Reports a frame that was written while it was free.
pub(super) fn corruption(found: Corruption) {
    figures::CORRUPTED.one();
    let Corruption { frame, word, found } = found;
    fail(format_args!(
        "word {word} of the frame at {frame:#x} was written after it had been freed: {found:#x}"
    ))
}

/// Reports that this processor does not see `address` as it must: `what` is wrong, found at `place`.
pub(super) fn fail_at(what: &str, place: &str, address: u64) -> ! {
    let root = cr3();
    let (cpu, slot) = (cpu_index(), slot_of(address));
    let slots = init_mm().arch().slots();
    let reference = slots.reference();
    // SAFETY: the root is loaded on this processor, which keeps it.
    let held = unsafe { slots.entry_of(root, slot) }.to_u64();
    let expected = reference.entry(slot).to_u64();
    let synced = reference.is_synced(slot..slot + 1);
    match try_current() {
        Some(task) => println!(
            "storm: on cpu{cpu} runs task {} of process {}, {:?}",
            task.pid(),
            task.process().pid(),
            task.kind()
        ),
        None => println!("storm: on cpu{cpu} runs the idle loop"),
    }
    let reference_root = slots.root().phys();
    fail(format_args!(
        "{what} at {address:#x} {place} on cpu{cpu}: mm with root {:#x} (the reference's is {reference_root:#x}), slot \
         {slot}, its PGD holds {held:#x}, the reference {expected:#x}, synced {synced}, {:?}, {} processors",
        root.phys(),
        reference.stamp(),
        tasks().cpus()
    ))
}

/// Returns the root this processor translates through.
pub(super) fn cr3() -> Frame {
    let address = Cr3::read_raw().0.start_address().as_u64();
    Frame::at(address).expect("CR3 holds the address of a frame")
}

/// Returns the slot of a kernel address, counted from the first of the kernel half.
pub(super) fn slot_of(address: u64) -> usize {
    let geometry = init_mm().tables().geometry();
    ((address - geometry.kernel_half().first) / geometry.slot_span()) as usize
}
