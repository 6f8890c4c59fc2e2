//! What the CPUs of a domain share.

use kernel_sync::Mutex;
use kernel_sync::atomic::AtomicU64;

use super::member::Members;
use super::section::CurrentEpoch;
use super::waiting::Common;

/// The state of a domain.
pub(super) struct Shared {
    pub(super) epoch: CurrentEpoch,
    pub(super) generation: Generation,
    pub(super) common: Common,
    pub(super) members: Members,
    /// Held by a barrier; the generation changes only under it.
    pub(super) barrier: Mutex<()>,
}

/// The generation, on lines of its own: CPUs read it often, and only barriers write it.
#[repr(align(128))]
pub(super) struct Generation(pub(super) AtomicU64);

impl Shared {
    pub(super) fn new() -> Self {
        Self {
            epoch: CurrentEpoch::new(),
            generation: Generation(AtomicU64::new(0)),
            common: Common::new(),
            members: Members::new(),
            barrier: Mutex::new(()),
        }
    }
}
