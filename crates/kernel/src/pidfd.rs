//! pidfd: a process as a descriptor, which is readable once the process has ended, and which never stands for another one.

use crate::sched::WaitQueue;
use crate::task::ProcessRef;
use crate::task::process::ProcessData;
use alloc::boxed::Box;
use alloc::sync::Arc;
use files::{FileType, OpenFile, OpenFlags, Ready, Stream};

/// A process.
pub struct ProcessFile {
    process: ProcessRef,
    /// Its end is announced there.
    data: Arc<ProcessData>,
}

/// Makes a description of a process.
#[must_use]
pub fn open(
    process: ProcessRef,
    data: Arc<ProcessData>,
    flags: OpenFlags,
) -> Arc<OpenFile<WaitQueue>> {
    let file = ProcessFile { process, data };
    OpenFile::stream(Box::new(file), flags & OpenFlags::NONBLOCK | OpenFlags::RDWR)
}

impl ProcessFile {
    /// Returns the process.
    #[must_use]
    pub fn process(&self) -> &ProcessRef {
        &self.process
    }
}

impl Stream<WaitQueue> for ProcessFile {
    fn kind(&self) -> FileType {
        FileType::Regular
    }

    fn label(&self) -> &'static str {
        "pidfd"
    }

    fn poll(&self) -> Ready {
        let has_ended = self.process.exit_status().is_some();
        if has_ended { Ready::IN | Ready::RDNORM } else { Ready::empty() }
    }

    fn queue(&self) -> Option<&WaitQueue> {
        Some(&self.data.child_event)
    }
}
