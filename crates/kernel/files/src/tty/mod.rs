//! A terminal: the line discipline, job control, and what ioctl(2) asks of it.
//!
//! The kernel hands received bytes to [`Tty::input`] and sends the signals it returns; what is
//! written and echoed goes to the function given to [`Tty::new`]. Locks are taken in the order
//! line, output, and whatever that function takes.
//!
//! # Job control
//!
//! A terminal belongs to one session, and one of its process groups is in the foreground. Before a
//! read, a write, or an ioctl for which [`Request::changes`](crate::ioctl::Request::changes) holds, the
//! kernel asks [`Tty::background`] and does what it says.

mod line;
mod output;
mod termios;
#[cfg(test)]
mod tests;

pub use termios::{
    Control, InputFlags, LocalFlags, OutputFlags, TERMIOS_SIZE, TERMIOS2_SIZE, Termios,
    WINDOW_SIZE_SIZE, WindowSize,
};

use crate::stream::Stream;
use crate::wait::Watched;
use crate::{Caller, Errno, FileType, OpenFile, OpenFlags, Ready, WaitQueue};
use alloc::boxed::Box;
use alloc::sync::Arc;
use kernel_sync::Mutex;
use line::Line;
use output::Output;

/// A signal that a terminal sends, with its number on x86-64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Signal {
    /// `SIGHUP`, after which the kernel also sends `SIGCONT`: the terminal is gone.
    HangUp = 1,
    /// `SIGINT`
    Interrupt = 2,
    /// `SIGQUIT`
    Quit = 3,
    /// `SIGTSTP`
    Stop = 20,
    /// `SIGTTIN`
    BackgroundRead = 21,
    /// `SIGTTOU`
    BackgroundWrite = 22,
    /// `SIGWINCH`
    WindowChange = 28,
}

/// A signal for a process group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raised {
    /// Which signal.
    pub signal: Signal,
    /// Whose processes get it.
    pub group: u32,
}

/// What a process is about to do with a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read from it.
    Read,
    /// Write to it.
    Write,
    /// Change its settings.
    Change,
}

/// Outside of canonical mode, what a read waits for.
///
/// | least | tenths | a read returns                                                               |
/// |-------|--------|------------------------------------------------------------------------------|
/// | 0     | 0      | at once, maybe with nothing                                                  |
/// | n     | 0      | with n bytes (or as many as it asks for); never [`Errno::AGAIN`] with enough |
/// | 0     | t      | with what there is, or after t tenths of a second with nothing               |
/// | n     | t      | t tenths of a second after the last byte, the first of which it waits for    |
///
/// The last row is simplified: a read returns with the first bytes, however many. The kernel only has
/// to end a wait of the third kind, with [`Tty::read_now`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// `VMIN`: bytes that are enough.
    pub least: u8,
    /// `VTIME`: tenths of a second.
    pub tenths: u8,
}

/// Which bytes a TCFLSH forgets, and what else the by-value requests may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Forget received bytes.
    FlushInput,
    /// Hold output back.
    Stop,
    /// Let output go on.
    Start,
}

/// Whom the terminal belongs to.
#[derive(Clone, Copy, Debug, Default)]
struct Jobs {
    session: Option<u32>,
    foreground: Option<u32>,
}

/// A terminal.
#[derive(Debug)]
pub struct Tty<Q: WaitQueue> {
    line: Watched<Line, Q>,
    output: Mutex<Output>,
    jobs: Mutex<Jobs>,
    window: Mutex<WindowSize>,
}

impl<Q: WaitQueue> Tty<Q> {
    /// Makes a terminal of 80 columns and 25 lines whose output goes to `output`.
    #[must_use]
    pub fn new(output: fn(&[u8])) -> Arc<Self> {
        let window = WindowSize { rows: 25, columns: 80, pixels: [0; 2] };
        Arc::new(Self {
            line: Watched::new(Line::new()),
            output: Mutex::new(Output::new(output)),
            jobs: Mutex::new(Jobs::default()),
            window: Mutex::new(window),
        })
    }

    /// Takes a received byte. If it stands for a signal, the kernel sends that to the group.
    pub fn input(&self, byte: u8) -> Option<Raised> {
        let signal = self.line.change(|line| line.receive(byte, &mut self.output.lock()))?;
        let group = self.jobs.lock().foreground?;
        Some(Raised { signal, group })
    }

    /// Returns how many more bytes can be received before some are lost.
    #[must_use]
    pub fn room(&self) -> usize {
        self.line.look(|line| line.room())
    }

    /// Takes what was received, after the time of a read is over; maybe nothing.
    pub fn read_now(&self, buffer: &mut [u8]) -> usize {
        self.line.change(|line| line.read_now(buffer))
    }

    /// Returns how a read waits; `None` in canonical mode, where it waits for a line.
    #[must_use]
    pub fn read_timing(&self) -> Option<Timing> {
        self.line.look(|line| line.timing())
    }

    /// Returns the settings.
    #[must_use]
    pub fn termios(&self) -> Termios {
        self.line.look(|line| line.termios)
    }

    /// Changes the settings, and with `flush` forgets what was received.
    pub fn set_termios(&self, termios: Termios, flush: bool) {
        self.line.change(|line| {
            if flush {
                line.flush_input();
            }
            line.set_termios(termios);
        });
    }

    /// Forgets input, or halts output.
    pub fn control(&self, flow: Flow) {
        self.line.change(|line| match flow {
            Flow::FlushInput => line.flush_input(),
            Flow::Stop => line.stopped = true,
            Flow::Start => line.stopped = false,
        });
    }

    /// Returns the size of the window.
    #[must_use]
    pub fn window_size(&self) -> WindowSize {
        *self.window.lock()
    }

    /// Sets the size of the window; the group in the foreground is told of a change.
    pub fn set_window_size(&self, size: WindowSize) -> Option<Raised> {
        let old = core::mem::replace(&mut *self.window.lock(), size);
        let group = self.jobs.lock().foreground.filter(|_| old != size)?;
        Some(Raised { signal: Signal::WindowChange, group })
    }

    /// Tells whether this is the controlling terminal of the caller's session.
    #[must_use]
    pub fn controls(&self, caller: &Caller) -> bool {
        self.jobs.lock().session == Some(caller.session)
    }

    /// Returns the session the terminal belongs to.
    #[must_use]
    pub fn session(&self) -> Option<u32> {
        self.jobs.lock().session
    }

    /// Returns the process group in the foreground.
    #[must_use]
    pub fn foreground(&self) -> Option<u32> {
        self.jobs.lock().foreground
    }

    /// Makes this the controlling terminal of the caller's session, and its group the one in the
    /// foreground.
    ///
    /// # Errors
    ///
    /// [`Errno::PERM`] if the caller does not lead its session, or the terminal belongs to another.
    pub fn acquire(&self, caller: &Caller) -> Result<(), Errno> {
        let mut jobs = self.jobs.lock();
        match jobs.session {
            Some(session) if session == caller.session => Ok(()),
            None if caller.leads_session() => {
                *jobs = Jobs { session: Some(caller.session), foreground: Some(caller.group) };
                Ok(())
            }
            _ => Err(Errno::PERM),
        }
    }

    /// Puts a process group into the foreground. That the group is one of the caller's session
    /// ([`Errno::PERM`] otherwise) the kernel checks before.
    ///
    /// # Errors
    ///
    /// [`Errno::NOTTY`] if this is not the caller's controlling terminal.
    pub fn set_foreground(&self, caller: &Caller, group: u32) -> Result<(), Errno> {
        let mut jobs = self.jobs.lock();
        if jobs.session != Some(caller.session) {
            return Err(Errno::NOTTY);
        }
        jobs.foreground = Some(group);
        Ok(())
    }

    /// Takes the terminal from a session whose leader exits or gives it up. The kernel sends
    /// `SIGHUP` and `SIGCONT` to the returned group.
    pub fn hang_up(&self, session: u32) -> Option<Raised> {
        let mut jobs = self.jobs.lock();
        if jobs.session != Some(session) {
            return None;
        }
        let foreground = core::mem::take(&mut *jobs).foreground;
        foreground.map(|group| Raised { signal: Signal::HangUp, group })
    }

    /// Tells what stands against the caller's access: the signal for its process group if the caller is
    /// in the background, or nothing.
    ///
    /// The kernel sends the signal and lets the system call restart; unless the caller ignores or
    /// blocks it, or its group is orphaned. Then a read fails with [`Errno::IO`], and a write or a
    /// change goes on (fails with [`Errno::IO`] for an orphaned group).
    #[must_use]
    pub fn background(&self, caller: &Caller, access: Access) -> Option<Raised> {
        let jobs = *self.jobs.lock();
        let in_background = jobs.session == Some(caller.session)
            && jobs.foreground.is_some_and(|group| group != caller.group);
        if !in_background {
            return None;
        }
        let signal = match access {
            Access::Read => Signal::BackgroundRead,
            Access::Write if !self.termios().local.contains(LocalFlags::TOSTOP) => return None,
            Access::Write | Access::Change => Signal::BackgroundWrite,
        };
        Some(Raised { signal, group: caller.group })
    }
}

impl<Q: WaitQueue> Stream<Q> for Arc<Tty<Q>> {
    fn kind(&self) -> FileType {
        FileType::Character
    }

    fn label(&self) -> &'static str {
        "tty"
    }

    fn read(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        self.line.change(|line| line.read(buffer))
    }

    fn write(&self, bytes: &[u8]) -> Result<usize, Errno> {
        let termios = self.line.look(|line| (!line.stopped).then_some(line.termios));
        let termios = termios.ok_or(Errno::AGAIN)?;
        self.output.lock().write(bytes, &termios);
        Ok(bytes.len())
    }

    fn poll(&self) -> Ready {
        self.line.look(|line| Ready::readable(line.has_input()) | Ready::writable(!line.stopped))
    }

    fn queue(&self) -> Option<&Q> {
        Some(self.line.queue())
    }

    fn edges(&self) -> u64 {
        self.line.edges()
    }

    fn available(&self) -> Option<usize> {
        Some(self.line.look(|line| line.available()))
    }

    fn reopen(&self, _flags: OpenFlags) -> Result<Box<dyn Stream<Q>>, Errno> {
        Ok(Box::new(self.clone()))
    }
}

impl<Q: WaitQueue> OpenFile<Q> {
    /// Returns the terminal, if this is one.
    #[must_use]
    pub fn tty(&self) -> Option<&Arc<Tty<Q>>> {
        self.stream_as()
    }
}
