//! Exceptions: pages brought in, and programs' mistakes turned into signals.

use crate::cpu::trap::{self, TrapFrame, set_return_hook, unhandled_exception};
use crate::cpu::vectors::{BREAKPOINT, DEBUG, PAGE_FAULT};
use crate::layout::USER_END;
use crate::oom::{self, Relief, Wanted};
use crate::reclaim::reclaim;
use crate::sched::{self, current, schedule, try_current};
use crate::signal::deliver::before_user_mode;
use crate::signal::info::{
    BUS_ADRALN, BUS_ADRERR, Details, FPE_FLTDIV, FPE_FLTINV, FPE_FLTOVF, FPE_FLTRES, FPE_FLTUND,
    FPE_INTDIV, ILL_ILLOPN, Info, SEGV_ACCERR, SEGV_MAPERR, SI_KERNEL, TRAP_TRACE,
};
use crate::signal::{Signal, send};
use crate::task::context::FxState;
use mm_generic::user::{Access, FaultError};
use x86_64::instructions::interrupts;
use x86_64::registers::control::Cr2;

/// Bits of a page fault's error code.
const PRESENT: u64 = 1 << 0;
const WRITE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const FETCH: u64 = 1 << 4;

/// Times that a page is tried again with what the kernel gives back, before a process has to.
const PATIENCE: u32 = 3;

/// Takes the exceptions over.
pub fn install() {
    set_return_hook(before_user_mode);
    trap::set_handler(PAGE_FAULT, page_fault);
    // #DE, #DB, #BP, #OF, #BR, #UD, #NM, #TS, #NP, #SS, #GP, #MF, #AC, #XM.
    for vector in [0, DEBUG, BREAKPOINT, 4, 5, 6, 7, 10, 11, 12, 13, 16, 17, 19] {
        trap::set_handler(vector, exception);
    }
}

fn exception(frame: &mut TrapFrame) {
    if !frame.from_user() {
        return unhandled_exception(frame);
    }
    let (signal, code) = match frame.vector {
        0 => (Signal::FPE, FPE_INTDIV),
        1 => (Signal::TRAP, TRAP_TRACE),
        // As Linux: nothing else tells INT3 from a kill.
        3 => (Signal::TRAP, SI_KERNEL),
        6 => (Signal::ILL, ILL_ILLOPN),
        7 => (Signal::FPE, SI_KERNEL),
        vector @ (16 | 19) => (Signal::FPE, arithmetic_code(vector)),
        11 | 12 => (Signal::BUS, SI_KERNEL),
        17 => (Signal::BUS, BUS_ADRALN),
        _ => (Signal::SEGV, SI_KERNEL),
    };
    interrupts::enable();
    let address = if code == SI_KERNEL { 0 } else { frame.rip };
    send::force(&current(), Info { signal, code, details: Details::Fault { address } });
}

/// Returns what was wrong with an operation of the x87 (vector 16) or of SSE (19): the first unmasked exception, in Linux's order.
fn arithmetic_code(vector: u64) -> i32 {
    const CODES: [(u16, i32); 5] = [
        (1 << 0, FPE_FLTINV),
        (1 << 2, FPE_FLTDIV),
        (1 << 3, FPE_FLTOVF),
        // Underflow, and a denormal operand.
        (1 << 4 | 1 << 1, FPE_FLTUND),
        (1 << 5, FPE_FLTRES),
    ];
    let unmasked = FxState::save().unmasked_exceptions(vector == 16);
    CODES.iter().find(|(bits, _)| unmasked & bits != 0).map_or(SI_KERNEL, |&(_, code)| code)
}

fn page_fault(frame: &mut TrapFrame) {
    // Before anything else can fault.
    let address = Cr2::read_raw();
    let is_ours = frame.from_user() || (address < USER_END && trap::may_fault(frame));
    if !is_ours {
        return unhandled_exception(frame);
    }
    // Whoever copies from or to user memory has interrupts on: pages are brought in under locks that
    // other processors hold while they wait for this one to answer.
    interrupts::enable();
    // A program that does nothing but this, or a long copy, gets on.
    sched::pass();
    let access = if frame.error & FETCH != 0 {
        Access::Exec
    } else if frame.error & WRITE != 0 {
        Access::Write
    } else {
        Access::Read
    };
    // An access that the processor makes as a supervisor while a program runs (of a descriptor, or, where QEMU emulates SMAP, of what IRETQ
    // pops) is allowed nothing that is the program's, and bringing the page in does not change that: it would fault for ever.
    let is_implicit = frame.from_user() && frame.error & (PRESENT | USER) == PRESENT;
    let result = if is_implicit { Err(segv(SEGV_ACCERR)) } else { resolve(address, access) };
    let Err(signal) = result else { return };
    if frame.from_user() {
        let details = Details::Fault { address };
        send::force(&current(), Info { details, ..signal });
    } else {
        unhandled_exception(frame);
    }
}

fn segv(code: i32) -> Info {
    Info { signal: Signal::SEGV, code, details: Details::None }
}

/// Brings in the page at `address`, or says which signal stands for why it cannot be had.
fn resolve(address: u64, access: Access) -> Result<(), Info> {
    let signal = |signal, code| Info { signal, code, details: Details::None };
    let Some(mm) = try_current().and_then(|me| me.mm()) else {
        return Err(segv(SEGV_MAPERR));
    };
    let mut tries = 0;
    loop {
        let result = mm.user().fault(&mm, address, access);
        match result {
            Ok(_) => return Ok(()),
            Err(FaultError::Denied { .. }) => return Err(segv(SEGV_ACCERR)),
            Err(FaultError::Object { .. }) => return Err(signal(Signal::BUS, BUS_ADRERR)),
            Err(
                FaultError::OutOfFrames { .. } | FaultError::OutOfHeap { .. } | FaultError::Map(_),
            ) => {}
            Err(_) => return Err(segv(SEGV_MAPERR)),
        }
        let me = current();
        // Whoever dies gives memory back, and needs none.
        if me.parts().is_killed() {
            return Err(Info::kernel(Signal::KILL));
        }
        tries += 1;
        reclaim();
        if tries > PATIENCE && oom::relieve(&me, Wanted::Page(address)) == Relief::None {
            return Err(Info::kernel(Signal::KILL));
        }
        // Others give back what they have when they get on.
        schedule();
    }
}
