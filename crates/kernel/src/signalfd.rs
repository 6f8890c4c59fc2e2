//! signalfd: signals that are read.
//!
//! What is read is what the reader's own thread and process have waiting, whoever has made the descriptor, as in Linux.

use crate::sched::{WaitQueue, current};
use crate::signal::SignalSet;
use crate::signal::info::{Details, Info};
use crate::task::process::ProcessData;
use alloc::boxed::Box;
use alloc::sync::Arc;
use files::{Errno, FileType, OpenFile, OpenFlags, Ready, Stream};
use kernel_sync::atomic::{AtomicU64, Ordering};

/// Bytes of `struct signalfd_siginfo`.
const SIZE: usize = 128;

/// The signals that a descriptor is for.
pub struct SignalFile {
    mask: AtomicU64,
    /// Where signals are announced: to the process that has made the descriptor.
    process: Arc<ProcessData>,
}

/// Makes a description for the signals in `mask`.
#[must_use]
pub fn open(
    mask: SignalSet,
    process: Arc<ProcessData>,
    flags: OpenFlags,
) -> Arc<OpenFile<WaitQueue>> {
    let file = SignalFile { mask: AtomicU64::new(mask.0), process };
    OpenFile::stream(Box::new(file), flags & OpenFlags::NONBLOCK | OpenFlags::RDWR)
}

impl SignalFile {
    /// Changes which signals the descriptor is for.
    pub fn set_mask(&self, mask: SignalSet) {
        self.mask.store(mask.0, Ordering::Relaxed);
        self.process.signal_event.wake_all();
    }

    fn mask(&self) -> SignalSet {
        SignalSet(self.mask.load(Ordering::Relaxed)).without(SignalSet::UNBLOCKABLE)
    }
}

fn to_bytes(info: &Info) -> [u8; SIZE] {
    let mut bytes = [0; SIZE];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(0, &u32::from(info.signal.number()).to_le_bytes());
    put(8, &info.code.to_le_bytes());
    match info.details {
        Details::None => {}
        Details::Sender { pid, uid, value } => {
            put(12, &pid.to_le_bytes());
            put(16, &uid.to_le_bytes());
            put(44, &(value as u32).to_le_bytes());
            put(48, &value.to_le_bytes());
        }
        Details::Child { pid, uid, status } => {
            put(12, &pid.to_le_bytes());
            put(16, &uid.to_le_bytes());
            put(40, &status.to_le_bytes());
        }
        Details::Fault { address } => put(72, &address.to_le_bytes()),
    }
    bytes
}

impl Stream<WaitQueue> for SignalFile {
    fn kind(&self) -> FileType {
        FileType::Regular
    }

    fn label(&self) -> &'static str {
        "signalfd"
    }

    fn read(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        if buffer.len() < SIZE {
            return Err(Errno::INVAL);
        }
        let me = current();
        let parts = me.parts();
        let mask = self.mask();
        let mut done = 0;
        for to in buffer.chunks_exact_mut(SIZE) {
            let taken = parts.signals.pending.take_of(mask);
            let Some(info) = taken.or_else(|| parts.process.pending.take_of(mask)) else { break };
            to.copy_from_slice(&to_bytes(&info));
            done += SIZE;
        }
        if done == 0 { Err(Errno::AGAIN) } else { Ok(done) }
    }

    fn poll(&self) -> Ready {
        let me = current();
        let waiting = me.parts().signals.pending.set().with(me.parts().process.pending.set());
        if waiting.and(self.mask()).is_empty() { Ready::empty() } else { Ready::IN | Ready::RDNORM }
    }

    fn queue(&self) -> Option<&WaitQueue> {
        Some(&self.process.signal_event)
    }

    fn edges(&self) -> u64 {
        self.process.signals_sent.load(Ordering::Acquire)
    }
}
