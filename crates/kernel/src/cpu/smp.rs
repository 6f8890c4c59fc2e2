//! Bringing up the other processors, one after the other.

use super::mask::CpuMask;
use super::{MAX_CPUS, apic, area, clock, features, gdt, idt, syscall};
use crate::layout::{PAGE_SIZE, phys_to_virt};
use core::arch::global_asm;
use kernel_sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use thiserror::Error;
use x86_64::registers::control::{Cr0, Cr4, Efer, EferFlags};

/// Physical page the trampoline runs in. The first MiB is never handed out; see `mm/early.rs`.
const TRAMPOLINE: u64 = 0x8000;

global_asm!(include_str!("trampoline.s"), options(att_syntax, raw));

unsafe extern "C" {
    static trampoline_start: u8;
    static trampoline_end: u8;
    static trampoline_parameters: u8;
}

/// What `processor_entry` loads, in its order.
#[repr(C)]
struct Start {
    cr3: AtomicU64,
    stack_top: AtomicU64,
    cpu: AtomicU64,
    apic_id: AtomicU64,
    then: AtomicPtr<()>,
}

#[unsafe(no_mangle)]
static START: Start = Start {
    cr3: AtomicU64::new(0),
    stack_top: AtomicU64::new(0),
    cpu: AtomicU64::new(0),
    apic_id: AtomicU64::new(0),
    then: AtomicPtr::new(core::ptr::null_mut()),
};

static ONLINE: AtomicU64 = AtomicU64::new(1);

/// How long a processor may take, in nanoseconds. Emulated ones share the host with everybody else.
const PATIENCE: u64 = 20_000_000_000;

/// A processor did not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum StartError {
    /// It was started, and never reported.
    #[error("processor {cpu} (APIC id {apic_id}) did not start within {PATIENCE} ns")]
    Silent {
        /// Its number.
        cpu: usize,
        /// Its APIC id.
        apic_id: u8,
    },
    /// No memory for its stack.
    #[error("no memory for the stack of processor {cpu}")]
    NoStack {
        /// Its number.
        cpu: usize,
    },
}

/// Returns the processors that are up.
#[must_use]
pub fn online() -> CpuMask {
    CpuMask::from_bits(ONLINE.load(Ordering::Acquire))
}

/// What the other processors need in order to start.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    /// APIC ids of all processors; the caller's own is skipped.
    pub apic_ids: &'a [u8],
    /// Page tables below 4 GiB that map the trampoline where it is, and the image.
    pub boot_root: u64,
    /// Page tables to go on with.
    pub root: u64,
    /// What a processor does once it is up, with interrupts off.
    pub then: fn() -> !,
}

/// Starts every processor in `plan`. `stack` yields the top of a stack for each.
///
/// # Errors
///
/// The first [`StartError`]; processors started before it stay up.
///
/// # Safety
///
/// The page at 0x8000 must be RAM that is not in use, both page tables what [`Plan`] says, and every
/// stack unused and mapped in `plan.root`.
pub unsafe fn start(
    plan: Plan<'_>,
    mut stack: impl FnMut() -> Option<u64>,
) -> Result<(), StartError> {
    let own = apic::id();
    // SAFETY: the caller gave the page away, and the direct map shows it.
    unsafe { place_trampoline(plan.boot_root) };
    START.cr3.store(plan.root, Ordering::Relaxed);
    START.then.store(plan.then as *mut (), Ordering::Relaxed);
    let others = plan.apic_ids.iter().filter(|&&id| id != own);
    for (&apic_id, cpu) in others.zip(1..MAX_CPUS) {
        let stack_top = stack().ok_or(StartError::NoStack { cpu })?;
        START.stack_top.store(stack_top, Ordering::Relaxed);
        START.cpu.store(cpu as u64, Ordering::Relaxed);
        START.apic_id.store(u64::from(apic_id), Ordering::Relaxed);
        // The interrupts below are commands to another processor, ordered after the stores above
        // because x86 does not reorder stores.
        apic::send_init(apic_id);
        // Old processors need 10 ms here; none of those runs in 64-bit mode.
        clock::spin_for(10_000);
        apic::send_startup(apic_id, (TRAMPOLINE / PAGE_SIZE) as u8);
        let deadline = clock::now() + PATIENCE;
        while !online().contains(cpu) {
            if clock::now() > deadline {
                return Err(StartError::Silent { cpu, apic_id });
            }
            kernel_sync::cpu_relax();
        }
    }
    Ok(())
}

/// Copies the trampoline to its page and fills in its parameters.
///
/// # Safety
///
/// The page at [`TRAMPOLINE`] must be RAM that nobody uses.
unsafe fn place_trampoline(boot_root: u64) {
    let start = &raw const trampoline_start;
    let len = &raw const trampoline_end as usize - start as usize;
    let parameters = &raw const trampoline_parameters as usize - start as usize;
    assert!(len <= PAGE_SIZE as usize, "the trampoline of {len} bytes does not fit a page");
    // EFER.LMA is the processor's to set.
    let efer = Efer::read().difference(EferFlags::LONG_MODE_ACTIVE);
    let words =
        [Cr0::read_raw(), boot_root, Cr4::read_raw(), efer.bits()].map(|register| register as u32);
    let page = phys_to_virt(TRAMPOLINE);
    // SAFETY: source and length are those of the code in the image; the destination is a page of its
    // own; the parameters are four words within it, aligned to 8.
    unsafe {
        page.copy_from_nonoverlapping(start, len);
        page.add(parameters).cast::<[u32; 4]>().write(words);
    }
}

/// Where `processor_entry` goes, on the stack it was given.
#[unsafe(no_mangle)]
extern "C" fn processor_main(cpu: usize) -> ! {
    let apic_id = START.apic_id.load(Ordering::Relaxed) as u8;
    let then = START.then.load(Ordering::Relaxed);
    let stack_top = START.stack_top.load(Ordering::Relaxed);
    // SAFETY: first thing on this processor, with the number `start` chose for it alone; its stack is
    // its idle stack, which nothing else uses.
    unsafe {
        area::install(cpu, apic_id);
        area::set_kernel_stack_top(stack_top);
    }
    gdt::install();
    idt::install();
    syscall::install();
    features::enable();
    apic::enable();
    // Release: pairs with the Acquire in `online`, and lets `start` change START for the next one.
    ONLINE.fetch_or(CpuMask::one(cpu).bits(), Ordering::Release);
    // SAFETY: `start` stored the `then` of its plan.
    let then = unsafe { core::mem::transmute::<*mut (), fn() -> !>(then) };
    then()
}
