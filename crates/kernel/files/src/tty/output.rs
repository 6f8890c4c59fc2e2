//! The way out: what is written, and echoed, becomes what the screen gets.

use super::termios::{InputFlags, OutputFlags, Termios};

/// Bytes handed to the console at a time.
const BATCH: usize = 256;

/// A tab stop every so many columns.
const TAB: usize = 8;

/// Where the cursor is, and the console.
#[derive(Debug)]
pub(super) struct Output {
    put: fn(&[u8]),
    column: usize,
}

impl Output {
    pub(super) fn new(put: fn(&[u8])) -> Self {
        Self { put, column: 0 }
    }

    /// Returns the column of the cursor, as far as what was written says.
    pub(super) fn column(&self) -> usize {
        self.column
    }

    /// Writes `bytes` the way `termios` wants.
    pub(super) fn write(&mut self, bytes: &[u8], termios: &Termios) {
        let flags = termios.output;
        if !flags.contains(OutputFlags::OPOST) {
            (self.put)(bytes);
            return;
        }
        let mut batch = Batch { put: self.put, bytes: [0; BATCH], len: 0 };
        for &byte in bytes {
            let byte = match byte {
                b'\r' if flags.contains(OutputFlags::OCRNL) => b'\n',
                _ => byte,
            };
            match byte {
                b'\n' if flags.contains(OutputFlags::ONLCR) => {
                    batch.push(b"\r\n");
                    self.column = 0;
                }
                b'\n' => {
                    batch.push(b"\n");
                    if flags.contains(OutputFlags::ONLRET) {
                        self.column = 0;
                    }
                }
                b'\r' => {
                    if !flags.contains(OutputFlags::ONOCR) || self.column != 0 {
                        batch.push(b"\r");
                    }
                    self.column = 0;
                }
                b'\t' => {
                    let next = next_tab(self.column);
                    if flags.contains(OutputFlags::XTABS) {
                        batch.push(&[b' '; TAB][..next - self.column]);
                    } else {
                        batch.push(b"\t");
                    }
                    self.column = next;
                }
                byte => {
                    batch.push(&[byte]);
                    let utf8 = termios.input.contains(InputFlags::IUTF8);
                    self.column = match byte {
                        0x08 => self.column.saturating_sub(1),
                        0..0x20 | 0x7f => self.column,
                        0x80..0xc0 if utf8 => self.column,
                        _ => self.column + 1,
                    };
                }
            }
        }
        batch.flush();
    }
}

/// Returns the tab stop behind `column`.
pub(super) fn next_tab(column: usize) -> usize {
    (column / TAB + 1) * TAB
}

/// Collects bytes, because each call to the console takes a lock.
struct Batch {
    put: fn(&[u8]),
    bytes: [u8; BATCH],
    len: usize,
}

impl Batch {
    /// Adds a few bytes, at most a tab's.
    fn push(&mut self, bytes: &[u8]) {
        if BATCH - self.len < bytes.len() {
            self.flush();
        }
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    fn flush(&mut self) {
        if self.len > 0 {
            (self.put)(&self.bytes[..self.len]);
            self.len = 0;
        }
    }
}
