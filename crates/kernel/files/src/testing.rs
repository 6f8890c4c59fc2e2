//! What the tests of this crate share: a wait queue that counts.

use crate::{OpenFile, WaitQueue};
use kernel_sync::atomic::{AtomicUsize, Ordering};

/// A queue that nobody sleeps on.
#[derive(Debug)]
pub(crate) struct Bell(AtomicUsize);

impl WaitQueue for Bell {
    fn new() -> Self {
        Self(AtomicUsize::new(0))
    }

    fn wake_all(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Returns how often the waiters of `file` were woken.
pub(crate) fn rings(file: &OpenFile<Bell>) -> usize {
    file.queue().expect("a file that can block").0.load(Ordering::Relaxed)
}
