//! Exceptions and interrupts: the frame they leave, and who handles them.
//!
//! The ways in and out are in `trap.s`. What arrives here is looked up in a table of handlers that
//! the layers above fill, so that this file depends on none of them. An exception nobody has taken
//! is fatal.

use super::area;
use super::exception_table;
use super::gdt::{USER_CODE, USER_DATA};
use super::vectors::{self, FIRST_INTERRUPT, IO_APIC_FIRST, LEGACY_FIRST, SPURIOUS};
use crate::layout::USER_END;
use core::arch::global_asm;
use core::fmt;
use core::mem::offset_of;
use kernel_sync::atomic::{AtomicPtr, Ordering};

/// Flags of every program: bit 1, which is always set, and interrupts on.
const USER_RFLAGS: u64 = 0x202;

/// All registers of whoever was interrupted, in the order `trap.s` stores them.
#[repr(C, align(16))]
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "registers bear their names")]
pub struct TrapFrame {
    pub xmm: [u128; 16],
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub rbp: u64,
    pub rbx: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rax: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    /// Interrupt vector, or [`vectors::SYSCALL`].
    pub vector: u64,
    /// The processor's error code, 0 for vectors without one; for a system call, its number.
    pub error: u64,
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
}

const _: () =
    assert!(size_of::<TrapFrame>().is_multiple_of(16), "the stack stays aligned for calls");

impl TrapFrame {
    /// Returns a frame that enters user mode at `rip` with stack pointer `rsp`, all else zero.
    #[must_use]
    pub const fn user(rip: u64, rsp: u64) -> Self {
        Self {
            xmm: [0; 16],
            r15: 0,
            r14: 0,
            r13: 0,
            r12: 0,
            rbp: 0,
            rbx: 0,
            r11: 0,
            r10: 0,
            r9: 0,
            r8: 0,
            rax: 0,
            rcx: 0,
            rdx: 0,
            rsi: 0,
            rdi: 0,
            vector: vectors::SYSCALL,
            error: 0,
            rip,
            cs: USER_CODE as u64,
            rflags: USER_RFLAGS,
            rsp,
            ss: USER_DATA as u64,
        }
    }

    /// Makes the frame safe to leave the kernel with, whatever a program wrote into it.
    ///
    /// IRETQ to an address that is not canonical faults in the kernel, after GS is the user's again.
    /// Such an address becomes the last one below the hole, which is never mapped, so that the program
    /// faults instead. Flags that only the kernel may change are put right.
    pub fn sanitise(&mut self) {
        // Carry, parity, adjust, zero, sign, trap, direction, overflow, resume, alignment check, ID.
        const CHANGEABLE: u64 = 0x25_0dd5;
        self.rip = self.rip.min(USER_END);
        self.cs = u64::from(USER_CODE);
        self.ss = u64::from(USER_DATA);
        self.rflags = (self.rflags & CHANGEABLE) | USER_RFLAGS;
    }

    /// Tells whether user mode was interrupted.
    #[must_use]
    pub const fn from_user(&self) -> bool {
        self.cs & 3 != 0
    }
}

impl fmt::Display for TrapFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rax, rbx, rcx, rdx, rsi, rdi, rbp, rsp, r8, r9, r10, r11, .. } = self;
        let Self { r12, r13, r14, r15, rip, cs, ss, rflags, vector, error, .. } = self;
        writeln!(f, "vector {vector:#x} error {error:#x}")?;
        writeln!(f, "rip {rip:#018x} cs {cs:#x} rflags {rflags:#x} rsp {rsp:#018x} ss {ss:#x}")?;
        writeln!(f, "rax {rax:#018x} rbx {rbx:#018x} rcx {rcx:#018x} rdx {rdx:#018x}")?;
        writeln!(f, "rsi {rsi:#018x} rdi {rdi:#018x} rbp {rbp:#018x} r8  {r8:#018x}")?;
        writeln!(f, "r9  {r9:#018x} r10 {r10:#018x} r11 {r11:#018x} r12 {r12:#018x}")?;
        write!(f, "r13 {r13:#018x} r14 {r14:#018x} r15 {r15:#018x}")
    }
}

global_asm!(
    include_str!("trap.s"),
    XMM = const offset_of!(TrapFrame, xmm),
    R15 = const offset_of!(TrapFrame, r15),
    R14 = const offset_of!(TrapFrame, r14),
    R13 = const offset_of!(TrapFrame, r13),
    R12 = const offset_of!(TrapFrame, r12),
    RBP = const offset_of!(TrapFrame, rbp),
    RBX = const offset_of!(TrapFrame, rbx),
    R11 = const offset_of!(TrapFrame, r11),
    R10 = const offset_of!(TrapFrame, r10),
    R9 = const offset_of!(TrapFrame, r9),
    R8 = const offset_of!(TrapFrame, r8),
    RAX = const offset_of!(TrapFrame, rax),
    RCX = const offset_of!(TrapFrame, rcx),
    RDX = const offset_of!(TrapFrame, rdx),
    RSI = const offset_of!(TrapFrame, rsi),
    RDI = const offset_of!(TrapFrame, rdi),
    VECTOR = const offset_of!(TrapFrame, vector),
    ERROR = const offset_of!(TrapFrame, error),
    RIP = const offset_of!(TrapFrame, rip),
    CS = const offset_of!(TrapFrame, cs),
    RFLAGS = const offset_of!(TrapFrame, rflags),
    RSP = const offset_of!(TrapFrame, rsp),
    SS = const offset_of!(TrapFrame, ss),
    FRAME_SIZE = const size_of::<TrapFrame>(),
    KERNEL_STACK_TOP = const area::KERNEL_STACK_TOP,
    USER_RSP = const area::USER_RSP,
    SYSCALL = const vectors::SYSCALL,
    USER_CODE = const USER_CODE,
    USER_DATA = const USER_DATA,
    options(att_syntax)
);

/// What runs when a vector arrives: with interrupts off, on the interrupted task's kernel stack.
///
/// Code that was interrupted in the kernel may hold any lock, so a handler for interrupts takes only
/// [`crate::sync::IrqMutex`]es.
pub type Handler = fn(&mut TrapFrame);

static HANDLERS: [AtomicPtr<()>; 256] = [const { AtomicPtr::new(core::ptr::null_mut()) }; 256];

/// Lets `handler` take `vector`, on every processor, from now on.
pub fn set_handler(vector: u8, handler: Handler) {
    HANDLERS[usize::from(vector)].store(handler as *mut (), Ordering::Release);
}

fn handler(vector: usize) -> Option<Handler> {
    let handler = HANDLERS.get(vector)?.load(Ordering::Acquire);
    // SAFETY: only `set_handler` stores, and what it stores is a Handler; null is None.
    unsafe { core::mem::transmute::<*mut (), Option<Handler>>(handler) }
}

static RETURN_HOOK: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

/// Lets `hook` do what is to be done before an interrupted program goes on. It is called after the handler,
/// with interrupts off or on, and comes back with interrupts off.
pub fn set_return_hook(hook: Handler) {
    RETURN_HOOK.store(hook as *mut (), Ordering::Release);
}

/// Called by `trap.s` with every frame that is not a system call's.
#[unsafe(no_mangle)]
extern "C" fn trap_dispatch(frame: &mut TrapFrame) {
    handle(frame);
    if frame.from_user() && frame.vector != u64::from(vectors::NMI) {
        // SAFETY: only `set_return_hook` stores, and what it stores is a Handler; null is None.
        let hook = unsafe {
            core::mem::transmute::<*mut (), Option<Handler>>(RETURN_HOOK.load(Ordering::Acquire))
        };
        if let Some(hook) = hook {
            hook(frame);
        }
    }
}

fn handle(frame: &mut TrapFrame) {
    if let Some(handler) = handler(frame.vector as usize) {
        return handler(frame);
    }
    match frame.vector as u8 {
        0..FIRST_INTERRUPT => unhandled_exception(frame),
        // What controllers send when the reason has gone away: no end of interrupt is expected.
        SPURIOUS | LEGACY_FIRST..IO_APIC_FIRST => {}
        vector => log::warn!("interrupt {vector:#x} has no handler"),
    }
}

/// Tells whether the interrupted instruction is one that may fault, so that [`unhandled_exception`] can go on.
#[must_use]
pub fn may_fault(frame: &TrapFrame) -> bool {
    exception_table::landing(frame.rip).is_some()
}

/// Handles an exception that no handler took, or that a handler does not want: a fault of an
/// instruction that may fault (a copy from user memory) goes on where the exception table says;
/// anything else is the end.
///
/// # Panics
///
/// When the exception table does not know the instruction.
pub fn unhandled_exception(frame: &mut TrapFrame) {
    if !frame.from_user()
        && let Some(landing) = exception_table::landing(frame.rip)
    {
        frame.rip = landing;
        return;
    }
    panic!("exception that nobody handles\n{frame}");
}

unsafe extern "C" {
    /// See `trap.s`. Not called: entered with rsp at a frame.
    fn trap_return();
}

/// Leaves the kernel through `frame`, for good: this stack is abandoned.
///
/// # Safety
///
/// The frame must enter user mode (its CS and SS are the user's, RIP canonical, IF set), the page
/// tables loaded must be those the user is meant to have, and
/// [`area::set_kernel_stack_top`] must name a stack for the next entry, which may be this one.
pub unsafe fn return_to_user(frame: &TrapFrame) -> ! {
    // SAFETY: trap_return needs rsp at a frame, with interrupts off before it changes GS, which it
    // sees to itself. Interrupts are off before rsp moves, so that nothing is pushed over the frame.
    unsafe {
        core::arch::asm!(
            "cli",
            "mov rsp, {frame}",
            "jmp {trap_return}",
            frame = in(reg) frame,
            trap_return = sym trap_return,
            options(noreturn),
        );
    }
}
