//! What a program reads from a terminal, after termios(3): the line discipline without its echo.

use std::collections::VecDeque;

/// The settings that the model knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Settings {
    pub canonical: bool,
    pub signals: bool,
    pub keeps_input: bool,
    pub extended: bool,
    pub strips: bool,
    pub cr_is_nl: bool,
    pub drops_cr: bool,
    pub nl_is_cr: bool,
    pub flow: bool,
    pub utf8: bool,
    /// `VMIN`.
    pub least: u8,
}

const INTERRUPT: u8 = 0x03;
const END: u8 = 0x04;
const START: u8 = 0x11;
const REPRINT: u8 = 0x12;
const STOP: u8 = 0x13;
const KILL: u8 = 0x15;
const LITERAL: u8 = 0x16;
const WORD_ERASE: u8 = 0x17;
const SUSPEND: u8 = 0x1a;
const QUIT: u8 = 0x1c;
const ERASE: u8 = 0x7f;

/// A terminal's input.
#[derive(Debug, Default)]
pub struct Terminal {
    pub settings: Settings,
    /// What can be read: lines, or in the other mode at most one that grows.
    lines: VecDeque<Vec<u8>>,
    typed: Vec<u8>,
    is_literal: bool,
}

impl Terminal {
    /// Takes a received byte; returns the number of the signal it stands for.
    pub fn receive(&mut self, byte: u8) -> Option<u8> {
        let with = self.settings;
        let mut byte = if with.strips { byte & 0x7f } else { byte };
        if std::mem::take(&mut self.is_literal) {
            self.keep(byte);
            return None;
        }
        if with.flow && matches!(byte, START | STOP) {
            return None;
        }
        let signal = match byte {
            INTERRUPT => Some(2),
            QUIT => Some(3),
            SUSPEND => Some(20),
            _ => None,
        };
        if let Some(signal) = signal.filter(|_| with.signals) {
            if !with.keeps_input {
                self.lines.clear();
                self.typed.clear();
            }
            return Some(signal);
        }
        match byte {
            b'\r' if with.drops_cr => return None,
            b'\r' if with.cr_is_nl => byte = b'\n',
            b'\n' if with.nl_is_cr => byte = b'\r',
            _ => {}
        }
        if !with.canonical {
            self.keep(byte);
            return None;
        }
        match byte {
            ERASE => {
                while let Some(byte) = self.typed.pop()
                    && with.utf8
                    && byte & 0xc0 == 0x80
                {}
            }
            KILL => self.typed.clear(),
            WORD_ERASE if with.extended => {
                let is_word =
                    |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_' || *byte >= 0x80;
                while self.typed.last().is_some_and(|byte| !is_word(byte)) {
                    self.typed.pop();
                }
                while self.typed.last().is_some_and(is_word) {
                    self.typed.pop();
                }
            }
            LITERAL if with.extended => self.is_literal = true,
            REPRINT if with.extended => {}
            END => self.lines.push_back(std::mem::take(&mut self.typed)),
            b'\n' => {
                self.typed.push(b'\n');
                self.lines.push_back(std::mem::take(&mut self.typed));
            }
            _ => self.keep(byte),
        }
        None
    }

    fn keep(&mut self, byte: u8) {
        if self.settings.canonical {
            self.typed.push(byte);
        } else if let Some(line) = self.lines.back_mut() {
            line.push(byte);
        } else {
            self.lines.push_back(vec![byte]);
        }
    }

    /// Changes the settings. Between the modes, all that waits becomes one line.
    pub fn set(&mut self, settings: Settings) {
        if settings.canonical != self.settings.canonical {
            let mut all = self.lines.drain(..).flatten().collect::<Vec<u8>>();
            all.append(&mut self.typed);
            self.lines.extend((!all.is_empty()).then_some(all));
            self.is_literal = false;
        }
        self.settings = settings;
    }

    /// What a read of `len` bytes returns; `None` where it waits.
    pub fn read(&mut self, len: usize) -> Option<Vec<u8>> {
        if len == 0 {
            return Some(Vec::new());
        }
        if !self.settings.canonical {
            let there = self.lines.front().map_or(0, Vec::len);
            if there < usize::from(self.settings.least).min(len) {
                return None;
            }
            let Some(line) = self.lines.front_mut() else { return Some(Vec::new()) };
            let read = line.drain(..there.min(len)).collect();
            self.lines.retain(|line| !line.is_empty());
            return Some(read);
        }
        let line = self.lines.front_mut()?;
        let read = line.drain(..line.len().min(len)).collect();
        if line.is_empty() {
            self.lines.pop_front();
        }
        Some(read)
    }
}
