//! What of a task is in the processor's registers: the stack pointer, the x87 state, segments.
//!
//! A program's general and XMM registers are saved on its kernel stack with every way into the
//! kernel (`cpu/trap.s`), so a switch has little left to do.

use super::Task;
use super::segments::Segments;
use super::stack::KernelStack;
use crate::cpu::area;
use crate::cpu::trap::TrapFrame;
use crate::mm::vmalloc::VmallocError;
use crate::sync::IrqMutex;
use core::arch::{asm, global_asm};
use core::cell::UnsafeCell;
use kernel_sync::atomic::{AtomicU64, Ordering};
use kernel_task::task::TaskKind;

global_asm!(include_str!("switch.s"), options(att_syntax, raw));

unsafe extern "C" {
    fn switch_stacks(keep: *mut u64, next: u64);
    /// See `switch.s`. Not called: a new task's stack returns to it.
    fn new_task();
}

/// Where a context goes on: its stack pointer while it does not run.
#[derive(Debug)]
pub struct Context(AtomicU64);

impl Context {
    /// A context that has not been left yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }
}

impl Default for Context {
    fn default() -> Self {
        Self::new()
    }
}

/// Leaves `from`, to come back when somebody switches to it, and goes on with `to`.
///
/// # Safety
///
/// Interrupts are off. `from` is the running context and lives until it has been left; `to` was left
/// by this function or made by [`Thread::new`], and nobody else goes on with it.
pub(crate) unsafe fn switch(from: &Context, to: &Context) {
    // SAFETY: the caller's promise: the stack at `to` is as this function leaves one.
    unsafe { switch_stacks(from.0.as_ptr(), to.0.load(Ordering::Relaxed)) };
}

/// Returns where `task` goes on.
pub(crate) fn of(task: &Task) -> &Context {
    &task.parts().thread.context
}

/// The 512 bytes of FXSAVE: x87 and MXCSR, and XMM registers that nobody uses here.
#[repr(C, align(16))]
#[derive(Clone, Copy, Debug)]
pub struct FxState(pub [u8; 512]);

impl FxState {
    /// Offset of MXCSR.
    pub const MXCSR: usize = 24;
    /// Offset of the first XMM register.
    pub const XMM: usize = 160;

    /// The state a program starts with.
    #[must_use]
    pub const fn initial() -> Self {
        let mut bytes = [0; 512];
        // FCW: all exceptions masked, 64-bit precision. MXCSR: all exceptions masked.
        bytes[0] = 0x7f;
        bytes[1] = 0x03;
        bytes[Self::MXCSR] = 0x80;
        bytes[Self::MXCSR + 1] = 0x1f;
        Self(bytes)
    }

    /// Reads the processor's registers.
    #[must_use]
    pub fn save() -> Self {
        let mut state = Self([0; 512]);
        // SAFETY: 512 writable bytes, aligned to 16.
        unsafe { asm!("fxsave64 [{}]", in(reg) &raw mut state.0, options(nostack)) };
        state
    }

    /// Returns the exceptions that have come up and are not masked, of the x87 or else of SSE: bit 0 for an invalid operation, as both
    /// have them.
    #[must_use]
    pub fn unmasked_exceptions(&self, x87: bool) -> u16 {
        let word = |at: usize| u16::from_le_bytes([self.0[at], self.0[at + 1]]);
        let (control, status) = (word(0), word(2));
        let mxcsr = word(Self::MXCSR);
        0x3f & if x87 { status & !control } else { mxcsr & !(mxcsr >> 7) }
    }

    /// Loads the processor's registers, the XMM registers too.
    ///
    /// Bits of MXCSR that do not exist are dropped: a set one would fault.
    pub fn load(&mut self) {
        self.0[Self::MXCSR + 2] = 0;
        self.0[Self::MXCSR + 3] = 0;
        // SAFETY: 512 readable bytes, aligned to 16, no reserved bit of MXCSR set; the compiler is told
        // that the XMM registers change.
        unsafe {
            asm!(
                "fxrstor64 [{}]", in(reg) &raw const self.0,
                out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _,
                out("xmm5") _, out("xmm6") _, out("xmm7") _, out("xmm8") _, out("xmm9") _,
                out("xmm10") _, out("xmm11") _, out("xmm12") _, out("xmm13") _, out("xmm14") _,
                out("xmm15") _, out("st(0)") _, out("st(1)") _, out("st(2)") _, out("st(3)") _,
                out("st(4)") _, out("st(5)") _, out("st(6)") _, out("st(7)") _,
                options(nostack, readonly)
            );
        }
    }
}

/// What a switch keeps of a task that is not running.
#[derive(Debug)]
struct Saved {
    fx: UnsafeCell<FxState>,
    segments: UnsafeCell<Segments>,
}

// SAFETY: touched by the processor that switches from or to the task, one at a time (`on_cpu`), and
// by who makes the task, before it can run.
unsafe impl Sync for Saved {}

/// The machine's part of a task: kernel stack and registers.
#[derive(Debug)]
pub struct Thread {
    stack: IrqMutex<Option<KernelStack>>,
    stack_top: u64,
    context: Context,
    saved: Saved,
}

/// What a new task does first.
#[derive(Clone, Copy, Debug)]
pub enum Start<'a> {
    /// It enters user mode with these registers, this x87 state and these segments.
    User(&'a TrapFrame, &'a FxState, Segments),
    /// It calls a function of the kernel with an argument. The function does not return.
    Kernel(extern "C" fn(usize) -> !, usize),
}

impl Thread {
    /// Makes stack and registers for a task that shall begin with `start`.
    ///
    /// # Errors
    ///
    /// [`VmallocError`] when there is no memory for the stack.
    pub fn new(start: Start<'_>) -> Result<Self, VmallocError> {
        let stack = KernelStack::new()?;
        let stack_top = stack.top();
        let frame = frame_at(stack_top);
        let (function, argument, fx, segments) = match start {
            Start::User(registers, fx, segments) => {
                // SAFETY: the top of a new stack, aligned and large enough.
                unsafe { frame.write(*registers) };
                (0, 0, *fx, segments)
            }
            Start::Kernel(function, argument) => {
                let function = function as *const () as u64;
                (function, argument as u64, FxState::initial(), Segments::INITIAL)
            }
        };
        // What `switch_stacks` pops: r15, r14, r13, r12, rbx, rbp, and where to return.
        let words = [0, 0, 0, argument, function, 0, new_task as *const () as u64];
        let rsp = frame as u64 - size_of_val(&words) as u64;
        // SAFETY: below the frame on the new stack, aligned to 8.
        unsafe { (rsp as *mut [u64; 7]).write(words) };
        Ok(Self {
            stack: IrqMutex::new(Some(stack)),
            stack_top,
            context: Context(AtomicU64::new(rsp)),
            saved: Saved { fx: UnsafeCell::new(fx), segments: UnsafeCell::new(segments) },
        })
    }

    /// Takes the stack away from a task that has left it for good.
    pub(crate) fn take_stack(&self) -> Option<KernelStack> {
        self.stack.lock().take()
    }

    /// Returns the registers that the program entered the kernel with.
    ///
    /// # Safety
    ///
    /// This is the running task's, which came from user mode, and nobody changes its registers meanwhile.
    #[must_use]
    pub unsafe fn user_registers(&self) -> TrapFrame {
        // SAFETY: the way in has put them there.
        unsafe { frame_at(self.stack_top).read() }
    }
}

/// Where the way in from user mode puts a program's registers on the stack that ends at `top`.
fn frame_at(top: u64) -> *mut TrapFrame {
    (top - size_of::<TrapFrame>() as u64) as *mut TrapFrame
}

/// Hands the processor's registers over, all but those that [`switch`] does.
pub(crate) fn switch_registers(previous: Option<&Task>, next: Option<&Task>) {
    let is_user = |task: &&Task| task.kind() == TaskKind::User;
    if let Some(task) = previous.filter(is_user) {
        // SAFETY: this processor still has the task.
        unsafe {
            let saved = &task.parts().thread.saved;
            *saved.fx.get() = FxState::save();
            *saved.segments.get() = Segments::save();
        }
    }
    let Some(task) = next else { return };
    let thread = &task.parts().thread;
    // SAFETY: the end of the task's stack, which is empty while the task is in user mode, and mapped in
    // every address space.
    unsafe { area::set_kernel_stack_top(thread.stack_top) };
    if is_user(&task) {
        // SAFETY: this processor has the task from here on.
        unsafe {
            (*thread.saved.fx.get()).load();
            (*thread.saved.segments.get()).load();
        }
    }
}

/// First code on a new task's stack, called by `new_task`.
#[unsafe(no_mangle)]
extern "C" fn task_first_run() {
    crate::sched::finish_switch();
}
