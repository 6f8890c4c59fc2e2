//! The frame of a signal handler on the user's stack: `struct rt_sigframe` of x86-64.
//!
//! ```text
//!   the stack that was interrupted (or the top of the alternate stack)
//!   red zone, 128 bytes
//!   x87 and XMM registers, as FXSAVE stores them, aligned to 64
//!   siginfo, 128 bytes
//!   ucontext, 304 bytes: flags, link, alternate stack, general registers, mask
//!   address to return to: the program's restorer, which calls rt_sigreturn      <- rsp
//! ```

use super::action::{Action, ActionFlags};
use super::info::{self, Info};
use super::numbers::SignalSet;
use super::state::AlternateStack;
use crate::cpu::trap::TrapFrame;
use crate::cpu::vectors;
use crate::layout::USER_END;
use crate::mm::user::{copy_from_user, copy_to_user};
use crate::task::Parts;
use crate::task::context::FxState;
use thiserror::Error;

/// What a frame has instead of a vector when it is a system call's no longer: its registers have been
/// replaced, and nothing is to be made again.
pub(super) const NOT_A_CALL: u64 = vectors::SYSCALL + 1;

const RED_ZONE: u64 = 128;
const FX_SIZE: u64 = 512;
const FX_ALIGN: u64 = 64;

// Offsets in the frame, in bytes.
const UCONTEXT: usize = 8;
const STACK: usize = UCONTEXT + 16;
const REGISTERS: usize = UCONTEXT + 40;
const FPSTATE: usize = REGISTERS + 23 * 8;
const MASK: usize = UCONTEXT + 296;
const INFO: usize = UCONTEXT + 304;
const SIZE: usize = INFO + info::SIZE;

/// `UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS`: ss is saved and restored.
const FLAGS: u64 = 6;

/// `SS_ONSTACK` and `SS_DISABLE`.
const ON_STACK: u32 = 1;
const DISABLED: u32 = 2;

/// A frame cannot be written or read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the signal frame at {address:#x} is not accessible")]
pub struct BadFrame {
    /// Its address.
    pub address: u64,
}

/// The registers in the order of `struct sigcontext`, up to rflags.
fn registers(frame: &TrapFrame) -> [u64; 18] {
    let f = frame;
    [
        f.r8, f.r9, f.r10, f.r11, f.r12, f.r13, f.r14, f.r15, f.rdi, f.rsi, f.rbp, f.rbx, f.rdx,
        f.rax, f.rcx, f.rsp, f.rip, f.rflags,
    ]
}

/// Puts a frame on the stack, and makes `frame` enter the handler. `mask` is what the handler's return
/// restores.
pub(super) fn build(
    parts: &Parts,
    frame: &mut TrapFrame,
    info: Info,
    action: Action,
    mask: SignalSet,
) -> Result<(), BadFrame> {
    let alternate = *parts.signals.alternate_stack.lock();
    let on_alternate = alternate.contains(frame.rsp);
    let wants_alternate = action.flags.contains(ActionFlags::ONSTACK) && alternate.size > 0;
    let top = if wants_alternate && !on_alternate {
        alternate.start + alternate.size
    } else {
        frame.rsp.wrapping_sub(RED_ZONE)
    };
    let fx_at = top.wrapping_sub(FX_SIZE) & !(FX_ALIGN - 1);
    // At the handler's first instruction the stack is as after a call.
    let at = (fx_at.wrapping_sub(SIZE as u64) & !15).wrapping_sub(8);
    let bad = |_| BadFrame { address: at };

    let mut bytes = [0; SIZE];
    let mut put = |at: usize, value: u64| bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
    put(0, action.restorer);
    put(UCONTEXT, FLAGS);
    let stack_flags = if alternate.size == 0 {
        DISABLED
    } else if on_alternate {
        ON_STACK
    } else {
        0
    };
    put(STACK, alternate.start);
    put(STACK + 8, u64::from(stack_flags));
    put(STACK + 16, alternate.size);
    for (n, value) in registers(frame).into_iter().enumerate() {
        put(REGISTERS + 8 * n, value);
    }
    // cs, gs, fs, ss in 16 bits each.
    put(REGISTERS + 8 * 18, frame.cs | frame.ss << 48);
    let is_fault = frame.vector < u64::from(crate::cpu::vectors::FIRST_INTERRUPT);
    put(REGISTERS + 8 * 19, if is_fault { frame.error } else { 0 });
    put(REGISTERS + 8 * 20, if is_fault { frame.vector } else { 0 });
    put(REGISTERS + 8 * 21, mask.0);
    if let info::Details::Fault { address } = info.details {
        put(REGISTERS + 8 * 22, address);
    }
    put(FPSTATE, fx_at);
    put(MASK, mask.0);
    bytes[INFO..].copy_from_slice(&info.to_bytes());

    let mut fx = FxState::save();
    for (n, register) in frame.xmm.iter().enumerate() {
        let at = FxState::XMM + 16 * n;
        fx.0[at..at + 16].copy_from_slice(&register.to_le_bytes());
    }
    // The bytes for software's use would announce an XSAVE area.
    fx.0[464..].fill(0);
    copy_to_user(fx_at, &fx.0).map_err(bad)?;
    copy_to_user(at, &bytes).map_err(bad)?;
    // The handler finds the state that a program starts with, as on Linux, whatever was interrupted.
    FxState::initial().load();

    *frame = TrapFrame {
        rdi: u64::from(info.signal.number()),
        rsi: at + INFO as u64,
        rdx: at + UCONTEXT as u64,
        rax: 0,
        rsp: at,
        rip: action.handler,
        vector: NOT_A_CALL,
        xmm: [0; 16],
        ..*frame
    };
    // As Linux: direction, trap and resume flags are not the handler's.
    frame.rflags &= !(1 << 10 | 1 << 8 | 1 << 16);
    frame.sanitise();
    Ok(())
}

/// Takes the registers back from the frame that a handler has returned from (`rt_sigreturn`), and
/// returns the mask and the alternate stack to go on with.
///
/// # Errors
///
/// [`BadFrame`]; the program cannot go on.
pub fn restore(frame: &mut TrapFrame) -> Result<(SignalSet, AlternateStack), BadFrame> {
    // The handler's return has popped the first word.
    let address = frame.rsp.wrapping_sub(8);
    let bad = |_| BadFrame { address };
    let mut bytes = [0; SIZE];
    copy_from_user(&mut bytes, address).map_err(bad)?;
    let word = |at: usize| {
        let mut word = [0; 8];
        word.copy_from_slice(&bytes[at..at + 8]);
        u64::from_le_bytes(word)
    };
    let register = |n: usize| word(REGISTERS + 8 * n);
    let fx_at = word(FPSTATE);
    if fx_at == 0 {
        FxState::initial().load();
        frame.xmm = [0; 16];
    } else {
        let mut fx = FxState([0; 512]);
        copy_from_user(&mut fx.0, fx_at).map_err(bad)?;
        fx.load();
        for (n, xmm) in frame.xmm.iter_mut().enumerate() {
            let at = FxState::XMM + 16 * n;
            let mut bytes = [0; 16];
            bytes.copy_from_slice(&fx.0[at..at + 16]);
            *xmm = u128::from_le_bytes(bytes);
        }
    }
    let f = &mut *frame;
    for (n, place) in [
        &mut f.r8,
        &mut f.r9,
        &mut f.r10,
        &mut f.r11,
        &mut f.r12,
        &mut f.r13,
        &mut f.r14,
        &mut f.r15,
        &mut f.rdi,
        &mut f.rsi,
        &mut f.rbp,
        &mut f.rbx,
        &mut f.rdx,
        &mut f.rax,
        &mut f.rcx,
        &mut f.rsp,
        &mut f.rip,
        &mut f.rflags,
    ]
    .into_iter()
    .enumerate()
    {
        *place = register(n);
    }
    frame.vector = NOT_A_CALL;
    frame.sanitise();
    debug_assert!(frame.rip <= USER_END);
    let flags = word(STACK + 8) as u32;
    let size = if flags & DISABLED != 0 { 0 } else { word(STACK + 16) };
    Ok((SignalSet(word(MASK)), AlternateStack { start: word(STACK), size }))
}
