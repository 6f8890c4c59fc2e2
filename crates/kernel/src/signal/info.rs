//! What is known about a signal: `siginfo_t`.

use super::numbers::Signal;

/// A signal with its circumstances.
#[derive(Clone, Copy, Debug)]
pub struct Info {
    /// The signal.
    pub signal: Signal,
    /// Who or what sent it (`si_code`).
    pub code: i32,
    /// More, depending on the above.
    pub details: Details,
}

/// What else `siginfo_t` says.
#[derive(Clone, Copy, Debug)]
pub enum Details {
    /// Nothing.
    None,
    /// A process sent the signal.
    Sender {
        /// Its id.
        pid: u32,
        /// Its user.
        uid: u32,
        /// What it sent along (`sigqueue`).
        value: u64,
    },
    /// A child has changed its state.
    Child {
        /// Its id.
        pid: u32,
        /// Its user.
        uid: u32,
        /// Exit code or signal.
        status: i32,
    },
    /// An instruction faulted.
    Fault {
        /// The address it used, or its own.
        address: u64,
    },
}

/// Sent by kill(2).
pub const SI_USER: i32 = 0;
/// Sent by the kernel.
pub const SI_KERNEL: i32 = 0x80;
/// Sent by a timer of timer_create(2).
pub const SI_TIMER: i32 = -2;
/// Sent by tkill(2) and tgkill(2).
pub const SI_TKILL: i32 = -6;
/// A child has exited.
pub const CLD_EXITED: i32 = 1;
/// A child was killed.
pub const CLD_KILLED: i32 = 2;
/// A child was killed, with a core file.
pub const CLD_DUMPED: i32 = 3;
/// A child has stopped.
pub const CLD_STOPPED: i32 = 5;
/// A child goes on.
pub const CLD_CONTINUED: i32 = 6;
/// Nothing is mapped there.
pub const SEGV_MAPERR: i32 = 1;
/// What is mapped there does not allow it.
pub const SEGV_ACCERR: i32 = 2;
/// Not aligned.
pub const BUS_ADRALN: i32 = 1;
/// The file does not reach so far.
pub const BUS_ADRERR: i32 = 2;
/// Integer division by zero.
pub const FPE_INTDIV: i32 = 1;
/// Exceptions of the x87 and of SSE arithmetic: divisor 0, overflow, underflow, inexact result, invalid operation.
pub const FPE_FLTDIV: i32 = 3;
/// See [`FPE_FLTDIV`].
pub const FPE_FLTOVF: i32 = 4;
/// See [`FPE_FLTDIV`].
pub const FPE_FLTUND: i32 = 5;
/// See [`FPE_FLTDIV`].
pub const FPE_FLTRES: i32 = 6;
/// See [`FPE_FLTDIV`].
pub const FPE_FLTINV: i32 = 7;
/// An instruction that is none.
pub const ILL_ILLOPN: i32 = 2;
/// A single step.
pub const TRAP_TRACE: i32 = 2;

/// Bytes of `siginfo_t`.
pub const SIZE: usize = 128;

impl Info {
    /// A signal of the kernel's, with nothing else to say.
    #[must_use]
    pub const fn kernel(signal: Signal) -> Self {
        Self { signal, code: SI_KERNEL, details: Details::None }
    }

    /// Returns the bytes of `siginfo_t`.
    #[must_use]
    pub fn to_bytes(self) -> [u8; SIZE] {
        let mut bytes = [0; SIZE];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(0, &u32::from(self.signal.number()).to_le_bytes());
        put(8, &self.code.to_le_bytes());
        match self.details {
            Details::None => {}
            Details::Sender { pid, uid, value } => {
                put(16, &pid.to_le_bytes());
                put(20, &uid.to_le_bytes());
                put(24, &value.to_le_bytes());
            }
            Details::Child { pid, uid, status } => {
                put(16, &pid.to_le_bytes());
                put(20, &uid.to_le_bytes());
                put(24, &status.to_le_bytes());
            }
            Details::Fault { address } => put(16, &address.to_le_bytes()),
        }
        bytes
    }
}
