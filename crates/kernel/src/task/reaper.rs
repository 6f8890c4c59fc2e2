//! The process that orphans go to.

use super::ProcessRef;
use spin::Once;

static REAPER: Once<ProcessRef> = Once::new();

/// Makes `process` the reaper, unless there is one.
pub(super) fn install(process: ProcessRef) {
    REAPER.call_once(|| process);
}

/// Returns the process that orphans go to.
pub(super) fn reaper() -> Option<ProcessRef> {
    REAPER.get().cloned()
}
