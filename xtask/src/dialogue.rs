//! A dialogue with a guest over its serial port: what is typed, and what has to appear.

use crate::qemu::{Ending, Guest, Serial};
use std::error::Error;
use std::io::{Read, Write};
use std::process::{ChildStdin, ChildStdout};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// A step of a dialogue.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    /// These bytes are typed.
    Type(&'static str),
    /// This text has to appear in what the guest has printed since the step before.
    See(&'static str),
    /// Nothing is typed for some milliseconds: a program is to get as far as reading.
    Pause(u64),
}

/// What the guest prints, as it comes.
struct Screen {
    arrivals: Receiver<Vec<u8>>,
    /// All of it.
    text: Vec<u8>,
    /// Length of the part that steps have seen.
    seen: usize,
}

impl Screen {
    fn new(mut output: ChildStdout) -> Self {
        let (sender, arrivals) = mpsc::channel();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(len @ 1..) = output.read(&mut buffer) {
                if sender.send(buffer[..len].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self { arrivals, text: Vec::new(), seen: 0 }
    }

    /// Waits until `text` appears behind what has been seen; false when it does not before `deadline`.
    fn wait_for(&mut self, text: &str, deadline: Instant) -> bool {
        loop {
            let place = self.text[self.seen..]
                .windows(text.len())
                .position(|window| window == text.as_bytes());
            if let Some(place) = place {
                self.seen += place + text.len();
                return true;
            }
            match self.arrivals.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(bytes) => self.text.extend(bytes),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return false,
            }
        }
    }

    /// Takes what comes until the guest closes its port.
    fn drain(&mut self) {
        while let Ok(bytes) = self.arrivals.recv() {
            self.text.extend(bytes);
        }
    }
}

/// Boots `guest` and goes through `steps`. Returns how the guest ended and all that it printed; the error
/// says at which step the dialogue went another way.
pub(crate) fn hold(
    guest: &Guest,
    steps: &[Step],
    timeout: Duration,
) -> Result<(Ending, Vec<u8>), Box<dyn Error>> {
    let start = Instant::now();
    let deadline = start + timeout;
    let mut qemu = guest.spawn(Serial::Pipes)?;
    let mut input = qemu.process.stdin.take().ok_or("QEMU has no standard input")?;
    let mut screen = Screen::new(qemu.process.stdout.take().ok_or("QEMU has no standard output")?);
    for (number, step) in (1..).zip(steps) {
        if let Err(complaint) = take(step, &mut input, &mut screen, deadline) {
            qemu.end()?;
            screen.drain();
            let text = String::from_utf8_lossy(&screen.text).into_owned();
            return Err(format!("step {number}: {complaint}; the guest printed {text:?}").into());
        }
    }
    let ending = guest.wait(qemu, start, Some(timeout))?;
    screen.drain();
    Ok((ending, screen.text))
}

fn take(
    step: &Step,
    input: &mut ChildStdin,
    screen: &mut Screen,
    deadline: Instant,
) -> Result<(), String> {
    match *step {
        Step::Type(text) => {
            let typed = input.write_all(text.as_bytes()).and_then(|()| input.flush());
            typed.map_err(|error| format!("{text:?} cannot be typed: {error}"))
        }
        Step::See(text) if screen.wait_for(text, deadline) => Ok(()),
        Step::See(text) => Err(format!("{text:?} did not appear")),
        Step::Pause(milliseconds) => {
            thread::sleep(Duration::from_millis(milliseconds));
            Ok(())
        }
    }
}
