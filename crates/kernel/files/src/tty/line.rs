//! The way in: Linux's N_TTY line discipline.
//!
//! A received byte is translated, may be a control character, is echoed, and is kept for readers. In
//! canonical mode it is part of a line that can still be edited; readers get whole lines. Otherwise
//! readers get bytes as they come.

use super::output::{Output, next_tab};
use super::termios::{Control, InputFlags, LocalFlags, Termios};
use super::{Signal, Timing};
use crate::Errno;
use crate::wait::Level;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// Bytes of a line, its end not counted: what is typed behind them is lost, as in Linux.
const LINE_MAX: usize = 4095;

/// Bytes that wait for readers. Linux has 4096 and holds the sender back; a serial line without flow
/// control cannot be held back, so there is more room before bytes are lost.
pub(super) const INPUT_MAX: usize = 65_536;

/// The state of a terminal's input.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) termios: Termios,
    /// For readers.
    ready: VecDeque<u8>,
    /// In canonical mode, the lengths of the lines in `ready`; a line of no bytes is an end of file.
    ends: VecDeque<usize>,
    /// The line that is being typed.
    edited: Vec<u8>,
    /// The column in which it began.
    start: usize,
    /// Whether the next byte is ordinary, whatever it is.
    literal: bool,
    /// Whether STOP holds output back.
    pub(super) stopped: bool,
}

impl Level for Line {
    fn level(&self) -> u32 {
        u32::from(self.has_input()) | u32::from(!self.stopped) << 1
    }
}

impl Line {
    pub(super) fn new() -> Self {
        Self {
            termios: Termios::default(),
            ready: VecDeque::new(),
            ends: VecDeque::new(),
            edited: Vec::new(),
            start: 0,
            literal: false,
            stopped: false,
        }
    }

    fn local(&self, flag: LocalFlags) -> bool {
        self.termios.local.contains(flag)
    }

    fn input(&self, flag: InputFlags) -> bool {
        self.termios.input.contains(flag)
    }

    fn canonical(&self) -> bool {
        self.local(LocalFlags::ICANON)
    }

    /// Returns how many more bytes can be received before some are lost.
    pub(super) fn room(&self) -> usize {
        INPUT_MAX.saturating_sub(self.ready.len() + self.edited.len())
    }

    /// Takes a received byte and returns the signal it stands for, if it does.
    pub(super) fn receive(&mut self, byte: u8, output: &mut Output) -> Option<Signal> {
        let mut byte = if self.input(InputFlags::ISTRIP) { byte & 0x7f } else { byte };
        if core::mem::take(&mut self.literal) {
            self.store_echoed(byte, output);
            return None;
        }
        if self.flow(byte) {
            return None;
        }
        if self.local(LocalFlags::ISIG)
            && let Some(signal) = self.signal_of(byte)
        {
            self.stopped = false;
            if !self.local(LocalFlags::NOFLSH) {
                self.flush_input();
            }
            self.echo(byte, output);
            return Some(signal);
        }
        match byte {
            b'\r' if self.input(InputFlags::IGNCR) => return None,
            b'\r' if self.input(InputFlags::ICRNL) => byte = b'\n',
            b'\n' if self.input(InputFlags::INLCR) => byte = b'\r',
            _ => {}
        }
        if !self.canonical() {
            if self.room() > 0 {
                self.echo(byte, output);
                self.ready.push_back(byte);
            }
            return None;
        }
        self.edit(byte, output);
        None
    }

    /// Handles STOP and START and tells whether `byte` was one of them.
    fn flow(&mut self, byte: u8) -> bool {
        if !self.input(InputFlags::IXON) {
            return false;
        }
        let start = self.termios.is(Control::Start, byte);
        let stop = self.termios.is(Control::Stop, byte);
        if start {
            self.stopped = false;
        } else if stop {
            self.stopped = true;
        } else if self.input(InputFlags::IXANY) {
            self.stopped = false;
        }
        start || stop
    }

    fn signal_of(&self, byte: u8) -> Option<Signal> {
        [
            (Control::Interrupt, Signal::Interrupt),
            (Control::Quit, Signal::Quit),
            (Control::Suspend, Signal::Stop),
        ]
        .into_iter()
        .find_map(|(control, signal)| self.termios.is(control, byte).then_some(signal))
    }

    /// Takes a byte in canonical mode.
    fn edit(&mut self, byte: u8, output: &mut Output) {
        let extended = self.local(LocalFlags::IEXTEN);
        let is = |control| self.termios.is(control, byte);
        if is(Control::Erase) {
            self.erase(byte, output);
        } else if is(Control::WordErase) && extended {
            let len = last_word(&self.edited);
            self.erase_bytes(len, output);
        } else if is(Control::Kill) {
            self.kill(byte, output);
        } else if is(Control::LiteralNext) && extended {
            self.literal = true;
            if self.local(LocalFlags::ECHO) && self.local(LocalFlags::ECHOCTL) {
                self.show(b"^\x08", output);
            }
        } else if is(Control::Reprint) && extended && self.local(LocalFlags::ECHO) {
            self.echo(byte, output);
            self.show(b"\n", output);
            self.start = output.column();
            for at in 0..self.edited.len() {
                self.echo(self.edited[at], output);
            }
        } else if is(Control::EndOfFile) {
            self.end_line();
        } else if byte == b'\n' {
            if self.local(LocalFlags::ECHO) || self.local(LocalFlags::ECHONL) {
                self.show(b"\n", output);
            }
            self.edited.push(byte);
            self.end_line();
        } else if is(Control::EndOfLine) || (is(Control::EndOfLine2) && extended) {
            self.echo(byte, output);
            self.edited.push(byte);
            self.end_line();
        } else {
            self.store_echoed(byte, output);
        }
    }

    /// Keeps an ordinary byte, if there is room for it.
    fn store_echoed(&mut self, byte: u8, output: &mut Output) {
        if !self.canonical() {
            if self.room() > 0 {
                self.echo(byte, output);
                self.ready.push_back(byte);
            }
            return;
        }
        if self.edited.len() >= LINE_MAX || self.room() <= 1 {
            if self.input(InputFlags::IMAXBEL) {
                self.show(b"\x07", output);
            }
            return;
        }
        if self.edited.is_empty() {
            self.start = output.column();
        }
        self.echo(byte, output);
        self.edited.push(byte);
    }

    /// Hands the edited line to readers.
    fn end_line(&mut self) {
        self.ends.push_back(self.edited.len());
        self.ready.extend(self.edited.drain(..));
    }

    /// Erases the last character.
    fn erase(&mut self, byte: u8, output: &mut Output) {
        if self.edited.is_empty() {
            return;
        }
        let len = self.last_character();
        if self.local(LocalFlags::ECHOE) {
            self.erase_bytes(len, output);
        } else {
            self.edited.truncate(self.edited.len() - len);
            self.echo(byte, output);
        }
    }

    /// Erases the whole line.
    fn kill(&mut self, byte: u8, output: &mut Output) {
        if self.local(LocalFlags::ECHOKE | LocalFlags::ECHOK | LocalFlags::ECHOE) {
            self.erase_bytes(self.edited.len(), output);
            return;
        }
        self.edited.clear();
        self.echo(byte, output);
        if self.local(LocalFlags::ECHOK | LocalFlags::ECHO) {
            self.show(b"\n", output);
        }
    }

    /// Returns the bytes in the last character of the line.
    fn last_character(&self) -> usize {
        let mut len = 1.min(self.edited.len());
        if self.input(InputFlags::IUTF8) {
            let is_continuation = |byte: &u8| byte & 0xc0 == 0x80;
            len += self.edited.iter().rev().take_while(|byte| is_continuation(byte)).count();
        }
        len.min(self.edited.len())
    }

    /// Takes the last `len` bytes off the line and off the screen.
    fn erase_bytes(&mut self, len: usize, output: &mut Output) {
        for _ in 0..len {
            let Some(byte) = self.edited.pop() else { return };
            if !self.local(LocalFlags::ECHO) {
                continue;
            }
            if byte == b'\t' {
                // How wide it was depends on where it began. Nothing has to be wiped out there.
                let column = self.edited.iter().fold(self.start, |at, &byte| self.behind(at, byte));
                for _ in column..next_tab(column) {
                    self.show(b"\x08", output);
                }
            } else {
                for _ in 0..self.behind(0, byte) {
                    self.show(b"\x08 \x08", output);
                }
            }
        }
    }

    /// Returns the column behind the echo of `byte` at `column`.
    fn behind(&self, column: usize, byte: u8) -> usize {
        match byte {
            b'\t' => next_tab(column),
            0..0x20 | 0x7f if self.local(LocalFlags::ECHOCTL) => column + 2,
            0..0x20 | 0x7f => column,
            0x80..0xc0 if self.input(InputFlags::IUTF8) => column,
            _ => column + 1,
        }
    }

    /// Shows a typed byte, if echoing is on.
    fn echo(&self, byte: u8, output: &mut Output) {
        if !self.local(LocalFlags::ECHO) {
            return;
        }
        match byte {
            b'\n' | b'\t' => self.show(&[byte], output),
            0..0x20 | 0x7f if self.local(LocalFlags::ECHOCTL) => {
                self.show(&[b'^', byte ^ 0x40], output);
            }
            _ => self.show(&[byte], output),
        }
    }

    fn show(&self, bytes: &[u8], output: &mut Output) {
        output.write(bytes, &self.termios);
    }

    /// Forgets all input that was not read.
    pub(super) fn flush_input(&mut self) {
        self.ready.clear();
        self.ends.clear();
        self.edited.clear();
        self.literal = false;
    }

    /// Changes the settings. Between canonical mode and the other, input that waits changes sides
    /// as in Linux: all of it can be read, as one line.
    pub(super) fn set_termios(&mut self, termios: Termios) {
        let was_canonical = self.canonical();
        self.termios = termios;
        if was_canonical != self.canonical() {
            self.ready.extend(self.edited.drain(..));
            self.ends.clear();
            if self.canonical() && !self.ready.is_empty() {
                self.ends.push_back(self.ready.len());
            }
            self.literal = false;
        }
        if !self.input(InputFlags::IXON) {
            self.stopped = false;
        }
    }

    /// Returns what a read waits for outside of canonical mode.
    pub(super) fn timing(&self) -> Option<Timing> {
        let character = |which| self.termios.character(which);
        (!self.canonical())
            .then(|| Timing { least: character(Control::Least), tenths: character(Control::Time) })
    }

    /// Tells whether there is enough to read. A read that never waits (VMIN and VTIME 0) returns without,
    /// but poll waits for bytes.
    pub(super) fn has_input(&self) -> bool {
        match self.timing() {
            None => !self.ends.is_empty(),
            Some(Timing { least, tenths: 0 }) => self.ready.len() >= usize::from(least).max(1),
            Some(_) => !self.ready.is_empty(),
        }
    }

    /// Returns the bytes that can be read now.
    pub(super) fn available(&self) -> usize {
        self.ready.len()
    }

    /// Takes a line, or bytes, or a part of them.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Errno> {
        if buffer.is_empty() {
            return Ok(0);
        }
        match self.timing() {
            None => {
                let line = self.ends.front_mut().ok_or(Errno::AGAIN)?;
                let len = buffer.len().min(*line);
                *line -= len;
                if *line == 0 {
                    self.ends.pop_front();
                }
                self.take(&mut buffer[..len]);
                Ok(len)
            }
            Some(Timing { least, tenths }) => {
                let least = usize::from(least).min(buffer.len());
                let enough = match (least, tenths) {
                    (0, 0) => true,
                    (least, 0) => self.ready.len() >= least,
                    _ => !self.ready.is_empty(),
                };
                if enough { Ok(self.read_now(buffer)) } else { Err(Errno::AGAIN) }
            }
        }
    }

    /// Takes what there is, which may be nothing: after the time of a read is over.
    pub(super) fn read_now(&mut self, buffer: &mut [u8]) -> usize {
        let len = buffer.len().min(self.ready.len());
        self.take(&mut buffer[..len]);
        len
    }

    /// Moves bytes that are there from `ready` to `to`.
    fn take(&mut self, to: &mut [u8]) {
        for (byte, to) in self.ready.drain(..to.len()).zip(to) {
            *to = byte;
        }
    }
}

/// Returns the length of the last word, with the spaces behind it. As in Linux, a word is of letters,
/// digits and underscores, or else whatever is no space.
fn last_word(line: &[u8]) -> usize {
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_' || *byte >= 0x80;
    let spaces = line.iter().rev().take_while(|byte| !is_word(byte)).count();
    let word = line[..line.len() - spaces].iter().rev().take_while(|byte| is_word(byte)).count();
    spaces + word
}
