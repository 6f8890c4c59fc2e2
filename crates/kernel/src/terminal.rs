//! The console as a terminal: bytes from the serial port's interrupt to the line discipline, and signals
//! from there to programs.

use crate::boot::Machine;
use crate::console;
use crate::sched::{Patience, WaitQueue, sleep_until};
use crate::signal::info::Info;
use crate::signal::{Signal, send};
use crate::sync::IrqMutex;
use crate::task::spawn_kernel_thread;
use alloc::sync::Arc;
use files::tty::{Raised, Tty};
use spin::Once;

/// A terminal of this kernel.
pub type Terminal = Tty<WaitQueue>;

static TERMINAL: Once<Arc<Terminal>> = Once::new();

/// Bytes that wait for the thread, which holds less than a line's worth on a busy machine.
const RING: usize = 4096;

/// Received bytes, in a ring.
struct Received {
    bytes: [u8; RING],
    first: usize,
    len: usize,
}

static RECEIVED: IrqMutex<Received> =
    IrqMutex::new(Received { bytes: [0; RING], first: 0, len: 0 });

static ARRIVED: WaitQueue = WaitQueue::new();

impl Received {
    fn push(&mut self, byte: u8) {
        // What does not fit is lost, as in a real serial port.
        if self.len < RING {
            self.bytes[(self.first + self.len) % RING] = byte;
            self.len += 1;
        }
    }

    fn pop(&mut self) -> Option<u8> {
        let byte = (self.len > 0).then(|| self.bytes[self.first])?;
        self.first = (self.first + 1) % RING;
        self.len -= 1;
        Some(byte)
    }
}

/// Makes the terminal on the console. Input comes only where the serial port's interrupt can be had.
pub fn install(machine: &Machine) -> Arc<Terminal> {
    let terminal = TERMINAL.call_once(|| Tty::new(console::write_bytes)).clone();
    let receive = |byte| {
        RECEIVED.lock().push(byte);
        ARRIVED.wake_all();
    };
    if let Err(error) = console::install_input(machine.platform.isa[console::COM1_IRQ], receive) {
        log::warn!("nothing can be typed: {error}");
    } else if let Err(error) = spawn_kernel_thread("terminal", feed, 0) {
        log::warn!("nothing can be typed: {error}");
    }
    terminal
}

/// Returns the terminal.
#[must_use]
pub fn get() -> Option<&'static Arc<Terminal>> {
    TERMINAL.get()
}

/// Sends a signal that the terminal has raised.
pub fn send(raised: Raised) {
    if let Some(signal) = Signal::new(raised.signal as u64) {
        // A group without processes has nobody who could miss it.
        let _ = send::to_group(raised.group, Info::kernel(signal));
    }
}

/// Takes received bytes to the terminal.
extern "C" fn feed(_: usize) -> ! {
    loop {
        let byte = sleep_until(&[&ARRIVED], Patience::Endless, None, || RECEIVED.lock().pop());
        if let (Ok(byte), Some(terminal)) = (byte, get())
            && let Some(raised) = terminal.input(byte)
        {
            send(raised);
        }
    }
}
