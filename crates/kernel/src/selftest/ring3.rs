//! User mode: the ways in and out, and the walls between.

use super::{Verdict, ensure};
use crate::boot::Machine;
use crate::cpu::area::{kernel_stack_top, set_kernel_stack_top};
use crate::cpu::features::{self, Features};
use crate::cpu::trap::{TrapFrame, set_handler, unhandled_exception};
use crate::cpu::vectors::{BREAKPOINT, PAGE_FAULT, TIMER};
use crate::cpu::{apic, clock, syscall};
use crate::layout::PAGE_SIZE;
use crate::mm::frames::{self, Frame};
use crate::mm::kernel_tables::{KernelTables, Mapping};
use crate::mm::pte::{ENTRIES, PteFlags};
use crate::mm::user::{BadAddress, copy_from_user, copy_to_user, try_read_kernel};
use crate::sync::IrqGuard;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::arch::global_asm;
use kernel_sync::atomic::{AtomicU64, Ordering};
use x86_64::PhysAddr;
use x86_64::instructions::interrupts;
use x86_64::registers::control::{Cr2, Cr3};
use x86_64::structures::paging::PhysFrame;

global_asm!(include_str!("ring3.s"), options(att_syntax, raw));

unsafe extern "C" {
    static ring3_start: u8;
    static ring3_end: u8;
    static ring3_ret: u8;
    fn enter_user(frame: *const TrapFrame, saved_rsp: *const AtomicU64) -> u64;
    fn leave_user(saved_rsp: u64, result: u64) -> !;
}

const CODE: u64 = 0x40_0000;
const DATA: u64 = 0x50_0000;
const ON_DEMAND: u64 = 0x60_0000;

const USER_TEXT: PteFlags = PteFlags::PRESENT.union(PteFlags::USER);
const USER_DATA: PteFlags = USER_TEXT.union(PteFlags::WRITABLE).union(PteFlags::NO_EXECUTE);

/// Bits of a page fault's error code.
const WRITE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const FETCH: u64 = 1 << 4;

/// Shared with the handlers below.
static ROOT: AtomicU64 = AtomicU64::new(0);
static LEVELS: AtomicU64 = AtomicU64::new(0);
static SAVED_RSP: AtomicU64 = AtomicU64::new(0);
static DATA_FRAME: AtomicU64 = AtomicU64::new(0);
static DEMAND_FAULTS: AtomicU64 = AtomicU64::new(0);
static BREAKPOINTS: AtomicU64 = AtomicU64::new(0);
static REFUSED_FETCHES: AtomicU64 = AtomicU64::new(0);

/// An address space with a page of code and a page of data, loaded while the value lives.
struct Space {
    tables: KernelTables,
    frames: Vec<Frame>,
    previous: u64,
    _irqs_off: IrqGuard,
}

fn load(root: u64) {
    // SAFETY: both roots this file loads have all of the kernel's mappings.
    unsafe { Cr3::write(PhysFrame::containing_address(PhysAddr::new(root)), Cr3::read().1) };
}

impl Space {
    fn new(machine: &Machine) -> Result<Self, String> {
        let irqs_off = IrqGuard::disable();
        let mut frames = Vec::new();
        let mut page = || {
            let frame = frames::alloc_zeroed().ok()?;
            frames.push(frame);
            Some(frame.address())
        };
        let fail = |error| format!("{error}");
        let tables = KernelTables::new(machine.tables.levels(), &mut page).map_err(fail)?;
        for slot in ENTRIES / 2..ENTRIES {
            let entry = machine.tables.top_level(slot).load(Ordering::Acquire);
            tables.top_level(slot).store(entry, Ordering::Release);
        }
        let code = page().ok_or("no frame")?;
        let data = page().ok_or("no frame")?;
        for (virt, phys, flags) in [(CODE, code, USER_TEXT), (DATA, data, USER_DATA)] {
            let mapping = Mapping { virt, phys, len: PAGE_SIZE, flags, largest: 1 };
            tables.map(mapping, &mut page).map_err(fail)?;
        }
        let (start, end) = (&raw const ring3_start, &raw const ring3_end);
        let len = end as usize - start as usize;
        // SAFETY: the program lies between the symbols, in less than a page; the frame is ours.
        unsafe { Frame::at(code).as_ptr().copy_from_nonoverlapping(start, len) };
        DATA_FRAME.store(data, Ordering::Relaxed);
        ROOT.store(tables.root(), Ordering::Relaxed);
        LEVELS.store(u64::from(tables.levels()), Ordering::Relaxed);
        let previous = Cr3::read().0.start_address().as_u64();
        load(tables.root());
        Ok(Self { tables, frames, previous, _irqs_off: irqs_off })
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        load(self.previous);
        if let Some((entry, _)) = self.tables.lookup(ON_DEMAND) {
            frames::put(Frame::at(entry.load(Ordering::Relaxed) & crate::mm::pte::ADDRESS_MASK));
        }
        for frame in self.frames.drain(..) {
            frames::put(frame);
        }
    }
}

fn end_program(result: u64) -> ! {
    // SAFETY: `program` is suspended in `enter_user` on the stack kept there, and this stack holds
    // nothing that needs to be dropped.
    unsafe { leave_user(SAVED_RSP.load(Ordering::Relaxed), result) }
}

fn on_page_fault(frame: &mut TrapFrame) {
    let address = Cr2::read_raw();
    if frame.error & FETCH != 0 && !frame.from_user() && address == frame.rip {
        // The kernel called user code and was stopped by SMEP. Return in its stead.
        REFUSED_FETCHES.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the call pushed its return address, which is at rsp when the fetch faults.
        frame.rip = unsafe { (frame.rsp as *const u64).read() };
        frame.rsp += 8;
    } else if frame.from_user() && address == ON_DEMAND {
        DEMAND_FAULTS.fetch_add(1, Ordering::Relaxed);
        let (root, levels) = (ROOT.load(Ordering::Relaxed), LEVELS.load(Ordering::Relaxed));
        // SAFETY: `Space::new` stored the tables it made, which are loaded now.
        let tables = unsafe { KernelTables::from_root(root, levels as u32) };
        let mut page = || frames::alloc_zeroed().ok().map(Frame::address);
        let Some(phys) = page() else { end_program(u64::MAX) };
        let mapping =
            Mapping { virt: ON_DEMAND, phys, len: PAGE_SIZE, flags: USER_DATA, largest: 1 };
        if frame.error != USER | WRITE || tables.map(mapping, &mut page).is_err() {
            end_program(u64::MAX - 1);
        }
    } else if frame.from_user() {
        end_program(0x100 | frame.error);
    } else {
        unhandled_exception(frame);
    }
}

fn on_timer(frame: &mut TrapFrame) {
    apic::end_of_interrupt();
    if frame.from_user() {
        let word = Frame::at(DATA_FRAME.load(Ordering::Relaxed)).as_ptr().cast::<u64>();
        // SAFETY: the frame is the program's data page; it reads the word atomically, being a word.
        unsafe { word.write_volatile(1) };
        // The program has AC set, as STAC would. The kernel must not inherit that.
        if features::detect().contains(Features::SMAP) && try_read_kernel(DATA).is_some() {
            end_program(0x200);
        }
    }
}

fn on_syscall(frame: &mut TrapFrame) {
    interrupts::enable();
    let sum = [frame.rdi, frame.rsi, frame.rdx, frame.r10, frame.r8, frame.r9].iter().sum();
    core::hint::black_box([0_u128; 8]);
    interrupts::disable();
    match frame.error {
        1 => frame.rax = sum,
        2 => end_program(frame.rdi),
        number => end_program(0x300 | number),
    }
}

fn install_handlers() {
    set_handler(PAGE_FAULT, on_page_fault);
    set_handler(TIMER, on_timer);
    set_handler(BREAKPOINT, |_frame| {
        BREAKPOINTS.fetch_add(1, Ordering::Relaxed);
    });
    syscall::set_handler(on_syscall);
}

pub(super) fn program(machine: &Machine) -> Verdict {
    let before = frames::stats();
    install_handlers();
    let stack = frames::alloc_block(3).map_err(|error| format!("{error}"))?;
    let previous_top = kernel_stack_top();
    let result = {
        let _space = Space::new(machine)?;
        let frame = TrapFrame::user(CODE, DATA + PAGE_SIZE);
        apic::start_periodic_timer(clock::apic_ticks(1_000_000));
        // SAFETY: the stack is new, the address space is loaded, the frame enters user mode in it.
        let result = unsafe {
            set_kernel_stack_top(stack.as_ptr() as u64 + (PAGE_SIZE << 3));
            enter_user(&raw const frame, &raw const SAVED_RSP)
        };
        apic::stop_timer();
        result
    };
    // SAFETY: as it was.
    unsafe { set_kernel_stack_top(previous_top) };
    frames::free_block(stack, 3);
    ensure!(result == 0x105, "the program ended with {result:#x}");
    let faults = DEMAND_FAULTS.load(Ordering::Relaxed);
    ensure!(faults == 1, "{faults} demand faults");
    let breakpoints = BREAKPOINTS.load(Ordering::Relaxed);
    ensure!(breakpoints == 1, "{breakpoints} breakpoints");
    let after = frames::stats();
    // The table that the demand fault made is the one frame nobody collects.
    ensure!(after.free + 1 == before.free, "{before:?} became {after:?}");
    Ok(())
}

pub(super) fn protection(machine: &Machine) -> Verdict {
    install_handlers();
    let _space = Space::new(machine)?;
    let features = features::detect();
    let direct = try_read_kernel(DATA).is_some();
    let smap = features.contains(Features::SMAP);
    ensure!(direct != smap, "the kernel reads user memory: {direct}, SMAP: {smap}");
    let offset = &raw const ring3_ret as u64 - &raw const ring3_start as u64;
    // SAFETY: the code is a lone `ret`, and the page fault handler takes it from there if the
    // processor refuses.
    let code = unsafe { core::mem::transmute::<u64, extern "C" fn()>(CODE + offset) };
    code();
    let refused = REFUSED_FETCHES.load(Ordering::Relaxed);
    let smep = features.contains(Features::SMEP);
    ensure!(refused == u64::from(smep), "fetches refused: {refused}, SMEP: {smep}");
    Ok(())
}

pub(super) fn copies(machine: &Machine) -> Verdict {
    install_handlers();
    let _space = Space::new(machine)?;
    let text = *b"some bytes that are no multiple of 8";
    copy_to_user(DATA + 5, &text).map_err(|error| format!("{error}"))?;
    let mut back = [0; 36];
    copy_from_user(&mut back, DATA + 5).map_err(|error| format!("{error}"))?;
    ensure!(back == text, "came back as {back:?}");
    // Beyond the page, below it, read-only, the kernel's own, around the end of the address space.
    let mut big = [0; 64];
    let address = DATA + PAGE_SIZE - 24;
    let expected = Err(BadAddress { address, len: 64, copied: 24 });
    ensure!(copy_from_user(&mut big, address) == expected, "a copy over the page's end");
    for address in
        [DATA - 64, DATA - 1, 0, machine.tables.root() + crate::layout::DIRECT_MAP, u64::MAX - 8]
    {
        let expected = Err(BadAddress { address, len: 64, copied: 0 });
        let found = copy_from_user(&mut big, address);
        ensure!(found == expected, "reading at {address:#x} gives {found:?}");
        let found = copy_to_user(address, &big);
        ensure!(found == expected, "writing at {address:#x} gives {found:?}");
    }
    let found = copy_to_user(CODE, &big);
    ensure!(found.is_err(), "a read-only page was written");
    Ok(())
}
