//! QEMU's monitor, for one thing: asking a guest that does not come to an end where its processors are.
//!
//! `inject-nmi` makes a non-maskable interrupt on every processor, and the reference kernel answers that with a report, wherever
//! it is and whether its interrupts are on or not.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Time that QEMU has for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The socket of one QEMU's monitor.
#[derive(Debug)]
pub(crate) struct Monitor(PathBuf);

impl Monitor {
    /// Chooses a socket that nobody else has.
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        // The name of a socket has to be short: beside the guest's other files it may be too long.
        Self(env::temp_dir().join(format!("xtask-{}-{number}.qmp", std::process::id())))
    }

    /// QEMU's options for it.
    pub(crate) fn options(&self) -> [String; 2] {
        ["-qmp".into(), format!("unix:{},server=on,wait=off", self.0.display())]
    }

    /// Interrupts every processor of the guest.
    pub(crate) fn interrupt(&self) -> std::io::Result<()> {
        let mut socket = UnixStream::connect(&self.0)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let mut answers = BufReader::new(socket.try_clone()?).lines();
        // QEMU greets, and then answers every command.
        answers.next().transpose()?;
        for command in ["qmp_capabilities", "inject-nmi"] {
            socket.write_all(format!("{{\"execute\":\"{command}\"}}\n").as_bytes())?;
            answers.next().transpose()?;
        }
        Ok(())
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        // QEMU removes it itself, unless it was killed.
        let _ = fs::remove_file(&self.0);
    }
}
