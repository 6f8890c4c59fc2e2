//! Tests of the terminal: what is typed, what a program reads, and what the screen shows.

use super::*;
use crate::ioctl::Request;
use crate::testing::{Bell, CALLER, World, rings};
use crate::{OpenFile, OpenFlags};
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::cell::RefCell;
use proptest::prelude::*;

extern crate std;

std::thread_local! {
    /// What the terminals of this test's thread have shown.
    static SCREEN: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

fn show(bytes: &[u8]) {
    SCREEN.with_borrow_mut(|screen| screen.extend_from_slice(bytes));
}

/// Returns what was shown since the last call.
fn screen() -> String {
    String::from_utf8_lossy(&SCREEN.take()).into_owned()
}

struct Fixture {
    tty: Arc<Tty<Bell>>,
    file: Arc<OpenFile<Bell>>,
}

fn terminal() -> Fixture {
    let tty = Tty::new(show);
    tty.acquire(&CALLER).expect("leads a session");
    let file = OpenFile::stream(Box::new(tty.clone()), OpenFlags::RDWR);
    Fixture { tty, file }
}

impl Fixture {
    fn type_in(&self, text: &str) -> Vec<Signal> {
        text.bytes().filter_map(|byte| self.tty.input(byte)).map(|raised| raised.signal).collect()
    }

    fn read(&self) -> Result<String, Errno> {
        let mut buffer = [0; 100];
        let len = self.file.read(&mut buffer)?;
        Ok(String::from_utf8_lossy(&buffer[..len]).into_owned())
    }

    fn change(&self, change: impl FnOnce(&mut Termios)) {
        let mut termios = self.tty.termios();
        change(&mut termios);
        self.tty.set_termios(termios, false);
    }

    fn raw(&self, least: u8, tenths: u8) {
        self.change(|termios| {
            termios.local.remove(LocalFlags::ICANON | LocalFlags::ECHO);
            termios.characters[Control::Least as usize] = least;
            termios.characters[Control::Time as usize] = tenths;
        });
    }
}

#[test]
fn readers_get_whole_lines_and_the_screen_an_echo() {
    let t = terminal();
    assert_eq!(t.type_in("ls -l"), []);
    assert_eq!(t.read(), Err(Errno::AGAIN));
    assert_eq!(t.file.poll(), Ready::OUT | Ready::WRNORM);
    assert_eq!(rings(&t.file), 0);
    t.type_in("\rnext\rrest");
    assert_eq!(rings(&t.file), 1, "the first line; the second changes nothing");
    assert_eq!(screen(), "ls -l\r\nnext\r\nrest");
    let mut small = [0; 3];
    assert_eq!(t.file.read(&mut small), Ok(3));
    assert_eq!(&small, b"ls ");
    assert_eq!(t.read().as_deref(), Ok("-l\n"), "never more than a line");
    assert_eq!(t.file.available(), Some(5));
    assert_eq!(t.read().as_deref(), Ok("next\n"));
    assert_eq!(t.read(), Err(Errno::AGAIN));
}

#[test]
fn erasing_works_on_line_and_screen() {
    let t = terminal();
    t.type_in("ab\x7f\x7f\x7fc\r");
    assert_eq!(screen(), "ab\x08 \x08\x08 \x08c\r\n", "nothing is erased before the line");
    assert_eq!(t.read().as_deref(), Ok("c\n"));
    t.type_in("x\x01\x7f\r");
    assert_eq!(screen(), "x^A\x08 \x08\x08 \x08\r\n", "two columns");
    assert_eq!(t.read().as_deref(), Ok("x\n"));
    t.type_in("one two  \x17\r");
    assert_eq!(t.read().as_deref(), Ok("one \n"));
    t.type_in("gone\x15kept\r");
    assert_eq!(t.read().as_deref(), Ok("kept\n"));
    screen();
    t.file.write(b"$ ").expect("not stopped");
    t.type_in("\t\x7f");
    assert_eq!(screen(), "$ \t\x08\x08\x08\x08\x08\x08", "from column 8 to 2");
    t.change(|termios| termios.input.insert(InputFlags::IUTF8));
    t.type_in("aä\x7f\r");
    assert_eq!(t.read().as_deref(), Ok("a\n"));
}

/// How a recorded terminal differed from [`Termios::default`].
#[derive(Clone, Copy, Debug)]
enum Change {
    None,
    NoFlush,
    Utf8,
    NoEcho,
    EchoNewline,
    NoVisualErase,
    NoVisualKill,
    NoCarets,
    NoExtensions,
    EndOfLine,
    Raw,
    IgnoreReturn,
    NewlineToReturn,
    Strip,
}

impl Change {
    fn apply(self, termios: &mut Termios) {
        let (input, local) = (&mut termios.input, &mut termios.local);
        match self {
            Self::None => {}
            Self::NoFlush => local.insert(LocalFlags::NOFLSH),
            Self::Utf8 => input.insert(InputFlags::IUTF8),
            Self::NoEcho => local.remove(LocalFlags::ECHO),
            Self::EchoNewline => {
                local.remove(LocalFlags::ECHO);
                local.insert(LocalFlags::ECHONL);
            }
            Self::NoVisualErase => local.remove(LocalFlags::ECHOE),
            Self::NoVisualKill => local.remove(LocalFlags::ECHOKE),
            Self::NoCarets => local.remove(LocalFlags::ECHOCTL),
            Self::NoExtensions => local.remove(LocalFlags::IEXTEN),
            Self::EndOfLine => {
                termios.characters[Control::EndOfLine as usize] = b';';
                termios.characters[Control::EndOfLine2 as usize] = b',';
            }
            Self::Raw => local.remove(LocalFlags::ICANON),
            Self::IgnoreReturn => {
                input.remove(InputFlags::ICRNL);
                input.insert(InputFlags::IGNCR);
            }
            Self::NewlineToReturn => input.insert(InputFlags::INLCR),
            Self::Strip => input.insert(InputFlags::ISTRIP),
        }
    }
}

/// Settings, what was typed, what came back to the typist, and what reads returned.
type Recorded = (Change, &'static [u8], &'static [u8], &'static [&'static [u8]]);

/// Recorded on a pseudo-terminal of Linux 6.18.
#[rustfmt::skip]
const RECORDED: &[Recorded] = &[
    (Change::None, b"ab\x7f\x7f\x7fc\x0d", b"ab\x08 \x08\x08 \x08c\x0d\x0a", &[b"c\x0a"]),
    (Change::None, b"x\x01\x7fy\x0d", b"x^A\x08 \x08\x08 \x08y\x0d\x0a", &[b"xy\x0a"]),
    (Change::None, b"a\x09b\x7f\x7f\x7f\x0d", b"a\x09b\x08 \x08\x08\x08\x08\x08\x08\x08\x08\x08 \x08\x0d\x0a", &[b"\x0a"]),
    (Change::None, b"\x09\x7f\x0d", b"\x09\x08\x08\x08\x08\x08\x08\x08\x08\x0d\x0a", &[b"\x0a"]),
    (Change::None, b"one two  \x17\x0d", b"one two  \x08 \x08\x08 \x08\x08 \x08\x08 \x08\x08 \x08\x0d\x0a", &[b"one \x0a"]),
    (Change::None, b"a_b-c!\x17\x0d", b"a_b-c!\x08 \x08\x08 \x08\x0d\x0a", &[b"a_b-\x0a"]),
    (Change::None, b"  \x17x\x0d", b"  \x08 \x08\x08 \x08x\x0d\x0a", &[b"x\x0a"]),
    (Change::None, b"gone\x15kept\x0d", b"gone\x08 \x08\x08 \x08\x08 \x08\x08 \x08kept\x0d\x0a", &[b"kept\x0a"]),
    (Change::None, b"part\x04", b"part", &[b"part"]),
    (Change::None, b"\x04", b"", &[b""]),
    (Change::None, b"a\x04\x04b\x0d", b"ab\x0d\x0a", &[b"a", b"", b"b\x0a"]),
    (Change::None, b"\x16\x04\x0d", b"^\x08^D\x0d\x0a", &[b"\x04\x0a"]),
    (Change::None, b"\x16\x0d\x0d", b"^\x08^M\x0d\x0a", &[b"\x0d\x0a"]),
    (Change::None, b"\x16\x16\x03\x0d", b"^\x08^V^C\x0d\x0a", &[b"\x0a"]),
    (Change::None, b"ab\x12c\x0d", b"ab^R\x0d\x0aabc\x0d\x0a", &[b"abc\x0a"]),
    (Change::None, b"typed\x03x\x0d", b"typed^Cx\x0d\x0a", &[b"x\x0a"]),
    (Change::None, b"q\x1c\x1ax\x0d", b"q^\x5c^Zx\x0d\x0a", &[b"x\x0a"]),
    (Change::NoFlush, b"kept\x03\x0d", b"kept^C\x0d\x0a", &[b"kept\x0a"]),
    (Change::None, b"one\x0dtwo\x03three\x0d", b"one\x0d\x0atwo^Cthree\x0d\x0a", &[b"three\x0a"]),
    (Change::None, b"\x80\xff\x7f\x7f\x0d", b"\x80\xff\x08 \x08\x08 \x08\x0d\x0a", &[b"\x0a"]),
    (Change::Utf8, b"a\xc3\xa4\x7f\x0d", b"a\xc3\xa4\x08 \x08\x0d\x0a", &[b"a\x0a"]),
    (Change::Utf8, b"\xe2\x82\xac\x09\x7f\x7fz\x0d", b"\xe2\x82\xac\x09\x08\x08\x08\x08\x08\x08\x08\x08 \x08z\x0d\x0a", &[b"z\x0a"]),
    (Change::NoEcho, b"x\x7fy\x0d", b"", &[b"y\x0a"]),
    (Change::EchoNewline, b"xy\x0d", b"\x0d\x0a", &[b"xy\x0a"]),
    (Change::NoVisualErase, b"ab\x7fc\x0d", b"ab^?c\x0d\x0a", &[b"ac\x0a"]),
    (Change::NoVisualKill, b"ab\x15c\x0d", b"ab^U\x0d\x0ac\x0d\x0a", &[b"c\x0a"]),
    (Change::NoCarets, b"\x01b\x7f\x7fc\x0d", b"\x01b\x08 \x08c\x0d\x0a", &[b"c\x0a"]),
    (Change::NoExtensions, b"a b\x17\x16\x12\x0d", b"a b^W^V^R\x0d\x0a", &[b"a b\x17\x16\x12\x0a"]),
    (Change::EndOfLine, b"a;b,c\x0d", b"a;b,c\x0d\x0a", &[b"a;", b"b,", b"c\x0a"]),
    (Change::Raw, b"a\x7f\x04\x15\x0d\x16\x01", b"a^?^D^U\x0d\x0a^V^A", &[b"a\x7f\x04\x15\x0a\x16\x01"]),
    (Change::IgnoreReturn, b"a\x0db\x0a", b"ab\x0d\x0a", &[b"ab\x0a"]),
    (Change::NewlineToReturn, b"a\x0ab\x0d", b"a^Mb\x0d\x0a", &[b"a\x0db\x0a"]),
    (Change::Strip, b"\xe1b\x0d", b"ab\x0d\x0a", &[b"ab\x0a"]),
    (Change::None, b"a\x13b\x11c\x0d", b"abc\x0d\x0a", &[b"abc\x0a"]),
    (Change::None, b"a\x00b\x0d", b"a^@b\x0d\x0a", &[b"a\x00b\x0a"]),
    (Change::None, b"\x01\x02\x15z\x0d", b"^A^B\x08 \x08\x08 \x08\x08 \x08\x08 \x08z\x0d\x0a", &[b"z\x0a"]),
    (Change::None, b"abc\x12\x7f\x0d", b"abc^R\x0d\x0aabc\x08 \x08\x0d\x0a", &[b"ab\x0a"]),
    (Change::None, b"\x7f\x17\x15\x04", b"", &[b""]),
    (Change::None, b"\x1b[A\x7f\x0d", b"^[[A\x08 \x08\x0d\x0a", &[b"\x1b[\x0a"]),
    (Change::NoVisualErase, b"ab\x15c\x0d", b"ab^U\x0d\x0ac\x0d\x0a", &[b"c\x0a"]),
    (Change::NoVisualErase, b"a b\x17c\x0d", b"a b\x08 \x08c\x0d\x0a", &[b"a c\x0a"]),
    (Change::NoEcho, b"\x15\x12\x16a\x03\x0d", b"", &[b"\x0a"]),
];

#[test]
fn editing_looks_and_reads_as_recorded_from_linux() {
    for &(change, typed, shown, lines) in RECORDED {
        let t = terminal();
        t.change(|termios| change.apply(termios));
        for &byte in typed {
            t.tty.input(byte);
        }
        let screen = SCREEN.take();
        let mut read = Vec::new();
        let mut buffer = [0; 100];
        while let Ok(len) = t.file.read(&mut buffer) {
            read.push(buffer[..len].to_vec());
        }
        let case = std::format!("{change:?} {}", typed.escape_ascii());
        assert_eq!(screen.escape_ascii().to_string(), shown.escape_ascii().to_string(), "{case}");
        assert_eq!(read, lines, "{case}");
    }
}

#[test]
fn control_d_ends_a_line_or_the_file() {
    let t = terminal();
    t.type_in("part\x04");
    assert_eq!(t.read().as_deref(), Ok("part"));
    t.type_in("\x04");
    assert!(t.file.poll().contains(Ready::IN));
    assert_eq!(t.read().as_deref(), Ok(""));
    assert_eq!(t.read(), Err(Errno::AGAIN), "it ends one read, not all");
    t.type_in("\x16\x04\r");
    assert_eq!(t.read().as_deref(), Ok("\x04\n"), "after LNEXT it is a byte");
    assert_eq!(screen(), "part^\x08^D\r\n");
}

#[test]
fn control_characters_send_signals_to_the_foreground_and_drop_the_line() {
    let t = terminal();
    let raised = "typed\x03".bytes().filter_map(|byte| t.tty.input(byte)).next();
    assert_eq!(raised, Some(Raised { signal: Signal::Interrupt, group: CALLER.group }));
    assert_eq!(screen(), "typed^C");
    assert_eq!(t.type_in("\x1c\x1ax\r"), [Signal::Quit, Signal::Stop]);
    assert_eq!(t.read().as_deref(), Ok("x\n"));
    t.change(|termios| termios.local.insert(LocalFlags::NOFLSH));
    assert_eq!(t.type_in("kept\x03\r"), [Signal::Interrupt]);
    assert_eq!(t.read().as_deref(), Ok("kept\n"));
    t.change(|termios| termios.local.remove(LocalFlags::ISIG));
    assert_eq!(t.type_in("\x03\r"), []);
    assert_eq!(t.read().as_deref(), Ok("\x03\n"));
    let fresh = Tty::<Bell>::new(show);
    assert_eq!(fresh.input(3), None, "nobody is in the foreground");
}

#[test]
fn a_control_character_of_zero_is_none() {
    let t = terminal();
    t.change(|termios| termios.characters = [0; 19]);
    assert_eq!(t.type_in("a\0\x03\x04\x7f\r"), []);
    assert_eq!(t.read().as_deref(), Ok("a\0\x03\x04\x7f\n"));
}

#[test]
fn raw_mode_gives_bytes_as_they_come() {
    let t = terminal();
    t.raw(1, 0);
    assert_eq!(t.read(), Err(Errno::AGAIN));
    t.type_in("\x1b[A\r\x04");
    assert_eq!(t.read().as_deref(), Ok("\x1b[A\n\x04"), "ICRNL is separate");
    assert_eq!(screen(), "");
    t.raw(3, 0);
    t.type_in("ab");
    assert_eq!((t.read(), t.file.poll().contains(Ready::IN)), (Err(Errno::AGAIN), false));
    assert_eq!(t.file.read(&mut [0; 2]), Ok(2), "no more than asked for is waited for");
    t.type_in("abc");
    assert_eq!(t.read().as_deref(), Ok("abc"));
    t.raw(0, 0);
    assert_eq!(t.read().as_deref(), Ok(""));
    assert!(!t.file.poll().contains(Ready::IN), "poll waits for bytes even so");
    let before = rings(&t.file);
    t.type_in("x");
    assert_eq!(rings(&t.file), before + 1);
    t.raw(0, 5);
    assert_eq!(t.tty.read_timing(), Some(Timing { least: 0, tenths: 5 }));
    assert_eq!(t.read().as_deref(), Ok("x"));
    assert_eq!(t.read(), Err(Errno::AGAIN));
    assert_eq!(t.tty.read_now(&mut [0; 4]), 0, "the time is over");
}

#[test]
fn input_that_waits_survives_a_change_of_mode() {
    let t = terminal();
    t.type_in("one\rtw");
    t.raw(1, 0);
    assert_eq!(t.read().as_deref(), Ok("one\ntw"));
    t.type_in("typed ahead");
    let before = rings(&t.file);
    t.change(|termios| termios.local.insert(LocalFlags::ICANON));
    assert_eq!(rings(&t.file), before);
    assert_eq!(t.read().as_deref(), Ok("typed ahead"));
    assert_eq!(t.tty.read_timing(), None);
    t.type_in("forgotten\r");
    t.tty.set_termios(t.tty.termios(), true);
    assert_eq!(t.read(), Err(Errno::AGAIN));
}

#[test]
fn output_is_processed_as_asked() {
    let t = terminal();
    t.file.write(b"a\nb\tc\r\n").expect("not stopped");
    assert_eq!(screen(), "a\r\nb\tc\r\r\n");
    t.change(|termios| termios.output |= OutputFlags::XTABS | OutputFlags::ONOCR);
    t.file.write(b"\rab\tc\n").expect("not stopped");
    assert_eq!(screen(), "ab      c\r\n");
    t.change(|termios| termios.output = OutputFlags::OPOST | OutputFlags::OCRNL);
    t.file.write(b"a\r\n").expect("not stopped");
    assert_eq!(screen(), "a\n\n");
    t.change(|termios| termios.output = OutputFlags::ONLCR);
    t.file.write(b"a\n\t").expect("not stopped");
    assert_eq!(screen(), "a\n\t", "nothing without OPOST");
    t.change(|termios| termios.output |= OutputFlags::OPOST);
    let long = "line\n".repeat(1000);
    assert_eq!(t.file.write(long.as_bytes()), Ok(5000));
    assert_eq!(screen(), long.replace('\n', "\r\n"));
}

#[test]
fn stop_holds_output_back_until_start() {
    let t = terminal();
    t.type_in("\x13");
    assert_eq!(t.file.write(b"x"), Err(Errno::AGAIN));
    assert_eq!(t.file.poll(), Ready::empty());
    let before = rings(&t.file);
    t.type_in("\x11");
    assert_eq!(rings(&t.file), before + 1);
    assert_eq!(t.file.write(b"x"), Ok(1));
    t.type_in("\x13");
    assert_eq!(t.type_in("\x03"), [Signal::Interrupt], "a signal lets it go on, too");
    assert_eq!(t.file.write(b"x"), Ok(1));
    t.type_in("\x13");
    t.change(|termios| termios.input.remove(InputFlags::IXON));
    assert_eq!(t.file.write(b"x"), Ok(1));
    t.type_in("\x13\r");
    assert_eq!(t.read().as_deref(), Ok("\x13\n"));
}

#[test]
fn lines_and_input_have_limits_and_the_end_of_a_line_always_fits() {
    let t = terminal();
    t.change(|termios| termios.local.remove(LocalFlags::ECHO));
    t.type_in(&"x".repeat(5000));
    t.type_in("\r");
    let mut buffer = vec![0; 6000];
    assert_eq!(t.file.read(&mut buffer), Ok(4096));
    assert_eq!(buffer[4095], b'\n');
    let room = t.tty.room();
    for _ in 0..room {
        t.type_in("yy\r");
    }
    assert!(t.tty.room() < 2);
    t.raw(1, 0);
    t.type_in(&"z".repeat(10));
    assert_eq!(t.tty.room(), 0);
}

#[test]
fn a_terminal_belongs_to_one_session() {
    let t = terminal();
    let member = Caller { pid: 11, group: 11, session: 10 };
    let stranger = Caller { pid: 20, group: 20, session: 20 };
    assert!(t.tty.controls(&member) && !t.tty.controls(&stranger));
    assert_eq!(t.tty.acquire(&stranger), Err(Errno::PERM));
    assert_eq!(Tty::<Bell>::new(show).acquire(&member), Err(Errno::PERM), "does not lead");
    assert_eq!(
        t.tty.background(&member, Access::Read).map(|r| r.signal),
        Some(Signal::BackgroundRead)
    );
    assert_eq!(t.tty.background(&member, Access::Write), None);
    t.change(|termios| termios.local.insert(LocalFlags::TOSTOP));
    let raised = Raised { signal: Signal::BackgroundWrite, group: 11 };
    assert_eq!(t.tty.background(&member, Access::Write), Some(raised));
    assert_eq!(t.tty.background(&member, Access::Change), Some(raised));
    assert_eq!(t.tty.background(&CALLER, Access::Read), None);
    assert_eq!(t.tty.background(&stranger, Access::Read), None);
    assert_eq!(t.tty.set_foreground(&stranger, 20), Err(Errno::NOTTY));
    assert_eq!(t.tty.set_foreground(&CALLER, 11), Ok(()));
    assert_eq!(t.tty.background(&member, Access::Read), None);
    assert_eq!(t.tty.hang_up(20), None);
    assert_eq!(t.tty.hang_up(10), Some(Raised { signal: Signal::HangUp, group: 11 }));
    assert_eq!((t.tty.session(), t.tty.foreground()), (None, None));
    assert_eq!(t.tty.acquire(&stranger), Ok(()));
}

#[test]
fn ioctls_speak_linuxs_numbers() {
    let t = terminal();
    let ioctl = |number: u32, value: u64, bytes: &mut [u8]| {
        let request = Request::decode(number).expect("known");
        t.file.ioctl(&CALLER, request, value, bytes)
    };
    let mut termios = [0; TERMIOS_SIZE];
    assert_eq!(ioctl(0x5401, 0, &mut termios), Ok(None));
    assert_eq!(termios, Termios::default().to_bytes()[..TERMIOS_SIZE]);
    termios[12] &= !8;
    t.type_in("typed\r");
    assert_eq!(ioctl(0x5404, 0, &mut termios), Ok(None));
    assert!(!t.tty.termios().local.contains(LocalFlags::ECHO));
    assert_eq!(t.read(), Err(Errno::AGAIN), "TCSETSF forgets input");
    assert_eq!(ioctl(0x5402, 0, &mut [0; 35]), Err(Errno::INVAL));

    let mut size = [30, 0, 100, 0, 0, 0, 0, 0];
    let raised = Raised { signal: Signal::WindowChange, group: 10 };
    assert_eq!(ioctl(0x5414, 0, &mut size), Ok(Some(raised)));
    assert_eq!(ioctl(0x5414, 0, &mut size), Ok(None), "no change");
    let mut size = [0; 8];
    assert_eq!(ioctl(0x5413, 0, &mut size), Ok(None));
    assert_eq!(size, [30, 0, 100, 0, 0, 0, 0, 0]);

    let mut word = [0; 4];
    assert_eq!(ioctl(0x540f, 0, &mut word), Ok(None));
    assert_eq!(word, 10_u32.to_le_bytes());
    assert_eq!(ioctl(0x5410, 0, &mut 12_u32.to_le_bytes()), Ok(None));
    assert_eq!(t.tty.foreground(), Some(12));
    assert_eq!(ioctl(0x5429, 0, &mut word), Ok(None));
    assert_eq!(word, 10_u32.to_le_bytes());
    t.type_in("abc\r");
    assert_eq!(ioctl(0x541b, 0, &mut word), Ok(None));
    assert_eq!(word, 4_u32.to_le_bytes());
    assert_eq!(ioctl(0x540b, 0, &mut []), Ok(None));
    assert_eq!(t.read(), Err(Errno::AGAIN));
    assert_eq!(ioctl(0x540b, 9, &mut []), Err(Errno::INVAL));
    assert_eq!(ioctl(0x540a, 0, &mut []), Ok(None));
    assert_eq!(t.file.write(b"x"), Err(Errno::AGAIN));
    assert_eq!(ioctl(0x540a, 1, &mut []), Ok(None));
    assert_eq!(ioctl(0x5421, 0, &mut [1, 0, 0, 0]), Ok(None));
    assert!(t.file.flags().contains(OpenFlags::NONBLOCK));
    let hang_up = Raised { signal: Signal::HangUp, group: 12 };
    assert_eq!(ioctl(0x5422, 0, &mut []), Ok(Some(hang_up)));
    assert_eq!(ioctl(0x540f, 0, &mut word), Err(Errno::NOTTY));
    assert_eq!(ioctl(0x540e, 0, &mut []), Ok(None));
    assert_eq!(Request::decode(0x1234), None);
}

#[test]
fn other_files_are_no_terminals() {
    let world = World::new(1 << 20);
    world.put("f", b"four");
    let file = world.open("f", OpenFlags::empty()).expect("there");
    let mut word = [0; 4];
    let request = |number| Request::decode(number).expect("known");
    assert_eq!(file.ioctl(&CALLER, request(0x540f), 0, &mut word), Err(Errno::NOTTY));
    assert_eq!(file.ioctl(&CALLER, request(0x541b), 0, &mut word), Ok(None));
    assert_eq!(word, [4, 0, 0, 0]);
    let place = world.open("f", OpenFlags::PATH).expect("there");
    assert_eq!(place.ioctl(&CALLER, request(0x541b), 0, &mut word), Err(Errno::BADF));
}

#[test]
fn opening_a_serial_line_acquires_it_and_opening_the_console_does_not() {
    let world = World::new(1 << 20);
    let open = |name: &str, flags| {
        let file = world.open(name, flags | OpenFlags::RDWR).expect("a terminal");
        file.tty().expect("a terminal").session()
    };
    assert_eq!(world.open("/dev/tty", OpenFlags::RDWR).map(|_| ()), Err(Errno::NXIO));
    assert_eq!(open("/dev/console", OpenFlags::empty()), None);
    assert_eq!(open("/dev/ttyS0", OpenFlags::NOCTTY), None);
    assert_eq!(open("/dev/ttyS0", OpenFlags::empty()), Some(10));
    assert_eq!(open("/dev/tty", OpenFlags::empty()), Some(10));
}

proptest! {
    #[test]
    fn no_bytes_and_no_settings_panic(
        typed in proptest::collection::vec(
            prop_oneof![0..0x20_u8, Just(0x7f), any::<u8>()], 0..200),
        settings: [u8; TERMIOS2_SIZE],
        sensible in any::<bool>(),
    ) {
        let t = terminal();
        if !sensible {
            let old = t.tty.termios();
            t.tty.set_termios(Termios::from_bytes(&settings, &old).expect("long enough"), false);
        }
        for (at, &byte) in typed.iter().enumerate() {
            t.tty.input(byte);
            if at % 7 == 0 {
                let _ = t.file.read(&mut [0; 5]);
                let _ = t.file.write(&typed[..at]);
            }
            if at % 50 == 49 {
                let old = t.tty.termios();
                let swapped = Termios { local: old.local ^ LocalFlags::ICANON, ..old };
                t.tty.set_termios(swapped, false);
            }
        }
        screen();
    }

    /// Without editing, what is read is what was typed.
    #[test]
    fn plain_text_comes_through_unchanged(lines in proptest::collection::vec("[ -~]{0,30}", 0..10)) {
        let t = terminal();
        for line in &lines {
            t.type_in(line);
            t.type_in("\n");
        }
        for line in &lines {
            prop_assert_eq!(t.read(), Ok(std::format!("{line}\n")));
        }
        prop_assert_eq!(t.read(), Err(Errno::AGAIN));
        let echo: String = lines.iter().map(|line| std::format!("{line}\r\n")).collect();
        prop_assert_eq!(screen(), echo);
    }
}
