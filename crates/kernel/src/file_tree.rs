//! The one file system of this kernel: its tree of names.

use crate::sched::WaitQueue;
use files::FileSystem;
use spin::Once;

static FILES: Once<FileSystem<WaitQueue>> = Once::new();

/// Makes `files` the tree, unless there is one.
pub fn install(files: FileSystem<WaitQueue>) {
    FILES.call_once(|| files);
}

/// Returns the file system.
///
/// # Panics
///
/// Before [`install`]: there are no programs then.
#[must_use]
pub fn files() -> &'static FileSystem<WaitQueue> {
    FILES.get().expect("made before the first program")
}
