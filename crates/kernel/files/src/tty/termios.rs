//! `struct termios`: how a terminal treats input and output.
//!
//! Source: Linux's `asm-generic/termbits.h`. The flags that a console does not have (parity, modem
//! lines, delays) are stored and reported but mean nothing.

use bitflags::bitflags;

/// Control characters in a `struct termios`: `NCCS`.
const CONTROL_CHARACTERS: usize = 19;

bitflags! {
    /// `c_iflag`: what happens to received bytes.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct InputFlags: u32 {
        /// Clear the eighth bit.
        const ISTRIP = 0o40;
        /// Turn NL into CR.
        const INLCR = 0o100;
        /// Drop CR.
        const IGNCR = 0o200;
        /// Turn CR into NL.
        const ICRNL = 0o400;
        /// STOP halts output, START lets it go on.
        const IXON = 0o2000;
        /// Any byte lets halted output go on.
        const IXANY = 0o4000;
        /// Ring the bell when a line gets too long.
        const IMAXBEL = 0o20000;
        /// Erase whole UTF-8 characters.
        const IUTF8 = 0o40000;
        const _ = !0;
    }
}

bitflags! {
    /// `c_oflag`: what happens to written bytes.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct OutputFlags: u32 {
        /// Do any of the following.
        const OPOST = 0o1;
        /// Turn NL into CR NL.
        const ONLCR = 0o4;
        /// Turn CR into NL.
        const OCRNL = 0o10;
        /// Drop CR in the first column.
        const ONOCR = 0o20;
        /// NL also returns the carriage.
        const ONLRET = 0o40;
        /// Turn tabs into spaces.
        const XTABS = 0o14000;
        const _ = !0;
    }
}

bitflags! {
    /// `c_lflag`: how input is edited.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct LocalFlags: u32 {
        /// INTR, QUIT and SUSP send signals.
        const ISIG = 0o1;
        /// Collect lines.
        const ICANON = 0o2;
        /// Show what is typed.
        const ECHO = 0o10;
        /// Show erasing as erasing.
        const ECHOE = 0o20;
        /// Go to a new line after KILL.
        const ECHOK = 0o40;
        /// Show NL even without `ECHO`.
        const ECHONL = 0o100;
        /// Keep what was typed before a signal.
        const NOFLSH = 0o200;
        /// Stop background processes that write.
        const TOSTOP = 0o400;
        /// Show control characters as `^X`.
        const ECHOCTL = 0o1000;
        /// Show KILL by erasing the line.
        const ECHOKE = 0o4000;
        /// WERASE, REPRINT, LNEXT and EOL2 work.
        const IEXTEN = 0o100_000;
        const _ = !0;
    }
}

/// Which control character: the index into `c_cc`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Control {
    /// Sends `SIGINT`.
    Interrupt = 0,
    /// Sends `SIGQUIT`.
    Quit = 1,
    /// Erases a character.
    Erase = 2,
    /// Erases the line.
    Kill = 3,
    /// Ends the line without being part of it; alone, ends the file.
    EndOfFile = 4,
    /// Tenths of a second that a read waits; not a character.
    Time = 5,
    /// Bytes that a read waits for; not a character.
    Least = 6,
    /// Lets output go on.
    Start = 8,
    /// Halts output.
    Stop = 9,
    /// Sends `SIGTSTP`.
    Suspend = 10,
    /// Ends a line and is part of it.
    EndOfLine = 11,
    /// Shows the line anew.
    Reprint = 12,
    /// Erases a word.
    WordErase = 14,
    /// Makes the next byte ordinary.
    LiteralNext = 15,
    /// As `EndOfLine`.
    EndOfLine2 = 16,
}

/// The settings of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Termios {
    /// Treatment of input.
    pub input: InputFlags,
    /// Treatment of output.
    pub output: OutputFlags,
    /// `c_cflag`: the line itself.
    pub control: u32,
    /// Editing.
    pub local: LocalFlags,
    /// `c_line`: always reported as it was set.
    pub discipline: u8,
    /// `c_cc`: the control characters. 0 turns one off.
    pub characters: [u8; CONTROL_CHARACTERS],
    /// Speed of input and output in bits per second, as `struct termios2` has it.
    pub speeds: [u32; 2],
}

impl Default for Termios {
    /// The settings a terminal starts with in Linux, and 115200 bits per second.
    fn default() -> Self {
        /// `B115200 | CS8 | CREAD | HUPCL | CLOCAL`.
        const CONTROL: u32 = 0o10002 | 0o60 | 0o200 | 0o2000 | 0o4000;
        let mut characters = [0; CONTROL_CHARACTERS];
        for (which, character) in [
            (Control::Interrupt, 0x03),
            (Control::Quit, 0x1c),
            (Control::Erase, 0x7f),
            (Control::Kill, 0x15),
            (Control::EndOfFile, 0x04),
            (Control::Least, 1),
            (Control::Start, 0x11),
            (Control::Stop, 0x13),
            (Control::Suspend, 0x1a),
            (Control::Reprint, 0x12),
            (Control::WordErase, 0x17),
            (Control::LiteralNext, 0x16),
        ] {
            characters[which as usize] = character;
        }
        Self {
            input: InputFlags::ICRNL | InputFlags::IXON,
            output: OutputFlags::OPOST | OutputFlags::ONLCR,
            control: CONTROL,
            local: LocalFlags::ISIG
                | LocalFlags::ICANON
                | LocalFlags::ECHO
                | LocalFlags::ECHOE
                | LocalFlags::ECHOK
                | LocalFlags::ECHOCTL
                | LocalFlags::ECHOKE
                | LocalFlags::IEXTEN,
            discipline: 0,
            characters,
            speeds: [115_200; 2],
        }
    }
}

/// Bytes in the `struct termios` of the system call; the C library's is longer.
pub const TERMIOS_SIZE: usize = 36;

/// Bytes in a `struct termios2`.
pub const TERMIOS2_SIZE: usize = 44;

impl Termios {
    /// Returns a control character, or the number in its place.
    #[must_use]
    pub const fn character(&self, which: Control) -> u8 {
        self.characters[which as usize]
    }

    /// Tells whether `byte` is the control character `which`; one that is turned off is no byte.
    #[must_use]
    pub const fn is(&self, which: Control, byte: u8) -> bool {
        byte != 0 && self.character(which) == byte
    }

    /// Makes a `struct termios2`; its first [`TERMIOS_SIZE`] bytes are a `struct termios`.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; TERMIOS2_SIZE] {
        let mut bytes = [0; TERMIOS2_SIZE];
        let words = [self.input.bits(), self.output.bits(), self.control, self.local.bits()];
        for (word, to) in words.into_iter().zip(bytes.as_chunks_mut().0) {
            *to = word.to_le_bytes();
        }
        bytes[16] = self.discipline;
        bytes[17..TERMIOS_SIZE].copy_from_slice(&self.characters);
        bytes[36..40].copy_from_slice(&self.speeds[0].to_le_bytes());
        bytes[40..44].copy_from_slice(&self.speeds[1].to_le_bytes());
        bytes
    }

    /// Reads a `struct termios2`, or a `struct termios`, which leaves the speeds as in `old`. `None` if
    /// the bytes are too few for either.
    #[must_use]
    pub fn from_bytes(bytes: &[u8], old: &Self) -> Option<Self> {
        let word =
            |at: usize| bytes.get(at..)?.first_chunk::<4>().map(|&bytes| u32::from_le_bytes(bytes));
        Some(Self {
            input: InputFlags::from_bits_retain(word(0)?),
            output: OutputFlags::from_bits_retain(word(4)?),
            control: word(8)?,
            local: LocalFlags::from_bits_retain(word(12)?),
            discipline: *bytes.get(16)?,
            characters: *bytes.get(17..)?.first_chunk()?,
            speeds: [word(36).unwrap_or(old.speeds[0]), word(40).unwrap_or(old.speeds[1])],
        })
    }
}

/// A `struct winsize`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowSize {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
    /// Width and height in pixels.
    pub pixels: [u16; 2],
}

/// Bytes in a `struct winsize`.
pub const WINDOW_SIZE_SIZE: usize = 8;

impl WindowSize {
    /// Makes a `struct winsize`.
    #[must_use]
    pub fn to_bytes(self) -> [u8; WINDOW_SIZE_SIZE] {
        let mut bytes = [0; WINDOW_SIZE_SIZE];
        let words = [self.rows, self.columns, self.pixels[0], self.pixels[1]];
        for (word, to) in words.into_iter().zip(bytes.as_chunks_mut().0) {
            *to = word.to_le_bytes();
        }
        bytes
    }

    /// Reads a `struct winsize`.
    #[must_use]
    pub fn from_bytes(bytes: [u8; WINDOW_SIZE_SIZE]) -> Self {
        let word = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        Self { rows: word(0), columns: word(2), pixels: [word(4), word(6)] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_terminal_starts_as_in_linux() {
        // Printed by TCGETS on a fresh pseudo-terminal of Linux 6.1, with the console's c_cflag.
        let bytes = Termios::default().to_bytes();
        assert_eq!(bytes[..16], *b"\x00\x05\0\0\x05\0\0\0\xb2\x1c\0\0\x3b\x8a\0\0");
        assert_eq!(
            bytes[16..36],
            *b"\0\x03\x1c\x7f\x15\x04\0\x01\0\x11\x13\x1a\0\x12\0\x17\x16\0\0\0"
        );
    }

    proptest! {
        #[test]
        fn settings_come_back(bytes in proptest::array::uniform32(any::<u8>()), tail: [u8; 12]) {
            let mut all = [0; TERMIOS2_SIZE];
            all[..32].copy_from_slice(&bytes);
            all[32..].copy_from_slice(&tail);
            let read = Termios::from_bytes(&all, &Termios::default()).expect("long enough");
            prop_assert_eq!(read.to_bytes(), all);
            let short = Termios::from_bytes(&all[..TERMIOS_SIZE], &Termios::default()).expect("too");
            prop_assert_eq!(short.speeds, [115_200; 2]);
            prop_assert_eq!(Termios::from_bytes(&all[..35], &read), None);
        }
    }
}
