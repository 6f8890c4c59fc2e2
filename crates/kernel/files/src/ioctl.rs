//! ioctl(2): which requests there are, what they carry, and what they do.
//!
//! The kernel asks [`Request::decode`] first, copies [`Request::size`] bytes of argument from the
//! program if the request [reads](Request::reads) them, calls [`OpenFile::ioctl`], and copies them
//! back if it [writes](Request::writes) them. `FIOCLEX` and `FIONCLEX` concern descriptors and are
//! not here.

use crate::tty::{
    Flow, Raised, TERMIOS_SIZE, TERMIOS2_SIZE, Termios, Tty, WINDOW_SIZE_SIZE, WindowSize,
};
use crate::{Caller, Errno, OpenFile, OpenFlags, WaitQueue};
use alloc::sync::Arc;

/// Bytes of the longest argument.
pub const MAX_SIZE: usize = TERMIOS2_SIZE;

/// A request that some file here knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// `TCGETS`, and with `true` `TCGETS2`: the settings.
    GetTermios(bool),
    /// `TCSETS` and `TCSETSW`, and with `second` their successors. Output is never pending, so there is
    /// nothing to wait for. With `flush`, `TCSETSF`.
    SetTermios {
        /// The argument has speeds.
        second: bool,
        /// Received bytes are forgotten.
        flush: bool,
    },
    /// `TCSBRK` and `TCSBRKP`: send a break, or wait for output. Nothing to do.
    Break,
    /// `TCXONC`: halt output or let it go on.
    Flow,
    /// `TCFLSH`: forget input or output.
    Flush,
    /// `TIOCEXCL` and `TIOCNXCL`: root may always open it.
    Exclusive,
    /// `TIOCSCTTY`: make it the controlling terminal.
    Acquire,
    /// `TIOCNOTTY`: give it up.
    Release,
    /// `TIOCGPGRP`: the group in the foreground.
    GetForeground,
    /// `TIOCSPGRP`: another group in the foreground.
    SetForeground,
    /// `TIOCGSID`: the session.
    GetSession,
    /// `TIOCGWINSZ`: the size of the window.
    GetWindowSize,
    /// `TIOCSWINSZ`: another size.
    SetWindowSize,
    /// `FIONREAD`: bytes that can be read.
    Available,
    /// `TIOCOUTQ`: bytes that are not yet written.
    Unwritten,
    /// `FIONBIO`: switch `O_NONBLOCK`.
    SetNonblocking,
}

impl Request {
    /// Finds the request with Linux's number; `None` for one that nothing here knows ([`Errno::NOTTY`]).
    #[must_use]
    pub const fn decode(number: u32) -> Option<Self> {
        Some(match number {
            0x5401 => Self::GetTermios(false),
            0x802c_542a => Self::GetTermios(true),
            0x5402 | 0x5403 => Self::SetTermios { second: false, flush: false },
            0x5404 => Self::SetTermios { second: false, flush: true },
            0x402c_542b | 0x402c_542c => Self::SetTermios { second: true, flush: false },
            0x402c_542d => Self::SetTermios { second: true, flush: true },
            0x5409 | 0x5425 => Self::Break,
            0x540a => Self::Flow,
            0x540b => Self::Flush,
            0x540c | 0x540d => Self::Exclusive,
            0x540e => Self::Acquire,
            0x540f => Self::GetForeground,
            0x5410 => Self::SetForeground,
            0x5411 => Self::Unwritten,
            0x5413 => Self::GetWindowSize,
            0x5414 => Self::SetWindowSize,
            0x541b => Self::Available,
            0x5421 => Self::SetNonblocking,
            0x5422 => Self::Release,
            0x5429 => Self::GetSession,
            _ => return None,
        })
    }

    /// Returns the bytes that the argument points to; 0 if it is a value.
    #[must_use]
    pub const fn size(self) -> usize {
        match self {
            Self::GetTermios(false) | Self::SetTermios { second: false, .. } => TERMIOS_SIZE,
            Self::GetTermios(true) | Self::SetTermios { second: true, .. } => TERMIOS2_SIZE,
            Self::GetWindowSize | Self::SetWindowSize => WINDOW_SIZE_SIZE,
            Self::GetForeground
            | Self::SetForeground
            | Self::GetSession
            | Self::Available
            | Self::Unwritten
            | Self::SetNonblocking => 4,
            Self::Break
            | Self::Flow
            | Self::Flush
            | Self::Exclusive
            | Self::Acquire
            | Self::Release => 0,
        }
    }

    /// Tells whether the bytes come from the program.
    #[must_use]
    pub const fn reads(self) -> bool {
        matches!(
            self,
            Self::SetTermios { .. }
                | Self::SetForeground
                | Self::SetWindowSize
                | Self::SetNonblocking
        )
    }

    /// Tells whether the bytes go to the program.
    #[must_use]
    pub const fn writes(self) -> bool {
        self.size() > 0 && !self.reads()
    }

    /// Tells whether a process in the background must not do this to its terminal: the kernel asks
    /// [`Tty::background`] with [`Access::Change`](crate::tty::Access::Change) before.
    #[must_use]
    pub const fn changes(self) -> bool {
        matches!(
            self,
            Self::SetTermios { .. } | Self::SetForeground | Self::Break | Self::Flow | Self::Flush
        )
    }
}

impl<Q: WaitQueue> OpenFile<Q> {
    /// Does `request` for `caller`. `value` is the argument as the program passed it; `bytes` is what
    /// it points to, at least [`Request::size`] bytes. Returns a signal that the kernel has to send.
    ///
    /// For [`Request::SetForeground`], the kernel checks before that the group is in the caller's session.
    ///
    /// # Errors
    ///
    /// [`Errno::NOTTY`] where the file does not know the request, and where job control is asked of a
    /// terminal that is not the caller's; [`Errno::INVAL`] for values that are unknown or bytes that are
    /// too few; [`Errno::PERM`] as [`Tty::acquire`]; [`Errno::BADF`] for a place.
    pub fn ioctl(
        &self,
        caller: &Caller,
        request: Request,
        value: u64,
        bytes: &mut [u8],
    ) -> Result<Option<Raised>, Errno> {
        if self.flags().contains(OpenFlags::PATH) {
            return Err(Errno::BADF);
        }
        let bytes = bytes.get_mut(..request.size()).ok_or(Errno::INVAL)?;
        match request {
            Request::Available => {
                let available = self.available().ok_or(Errno::NOTTY)?;
                put_u32(bytes, u32::try_from(available).unwrap_or(i32::MAX as u32))?;
                Ok(None)
            }
            Request::SetNonblocking => {
                let mut flags = self.flags();
                flags.set(OpenFlags::NONBLOCK, get_u32(bytes)? != 0);
                self.set_flags(flags);
                Ok(None)
            }
            request => tty_ioctl(self.tty().ok_or(Errno::NOTTY)?, caller, request, value, bytes),
        }
    }
}

/// Does what only a terminal can.
fn tty_ioctl<Q: WaitQueue>(
    tty: &Arc<Tty<Q>>,
    caller: &Caller,
    request: Request,
    value: u64,
    bytes: &mut [u8],
) -> Result<Option<Raised>, Errno> {
    let if_controlling = || if tty.controls(caller) { Ok(()) } else { Err(Errno::NOTTY) };
    match request {
        Request::GetTermios(_) => {
            let len = bytes.len();
            bytes.copy_from_slice(&tty.termios().to_bytes()[..len]);
        }
        Request::SetTermios { flush, .. } => {
            let termios = Termios::from_bytes(bytes, &tty.termios()).ok_or(Errno::INVAL)?;
            tty.set_termios(termios, flush);
        }
        Request::Break | Request::Exclusive => {}
        Request::Flow => match value {
            0 => tty.control(Flow::Stop),
            1 => tty.control(Flow::Start),
            // TCIOFF and TCION ask the terminal to send less; nothing to do.
            2 | 3 => {}
            _ => return Err(Errno::INVAL),
        },
        Request::Flush => match value {
            0 | 2 => tty.control(Flow::FlushInput),
            1 => {}
            _ => return Err(Errno::INVAL),
        },
        Request::Acquire => tty.acquire(caller)?,
        Request::Release => {
            if_controlling()?;
            if caller.leads_session() {
                return Ok(tty.hang_up(caller.session));
            }
        }
        Request::GetForeground => {
            if_controlling()?;
            put_u32(bytes, tty.foreground().unwrap_or(0))?;
        }
        Request::SetForeground => tty.set_foreground(caller, get_u32(bytes)?)?,
        Request::GetSession => {
            if_controlling()?;
            put_u32(bytes, caller.session)?;
        }
        Request::GetWindowSize => {
            bytes.copy_from_slice(&tty.window_size().to_bytes());
        }
        Request::SetWindowSize => {
            let size = *bytes.first_chunk().ok_or(Errno::INVAL)?;
            return Ok(tty.set_window_size(WindowSize::from_bytes(size)));
        }
        Request::Unwritten => put_u32(bytes, 0)?,
        Request::Available | Request::SetNonblocking => return Err(Errno::NOTTY),
    }
    Ok(None)
}

fn get_u32(bytes: &[u8]) -> Result<u32, Errno> {
    bytes.first_chunk().map(|&bytes| u32::from_le_bytes(bytes)).ok_or(Errno::INVAL)
}

fn put_u32(bytes: &mut [u8], value: u32) -> Result<(), Errno> {
    *bytes.first_chunk_mut().ok_or(Errno::INVAL)? = value.to_le_bytes();
    Ok(())
}
