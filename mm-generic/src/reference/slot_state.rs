//! What updaters know of a slot and fork, exec and exit need not.

use alloc::vec::Vec;

use kernel_sync::OutOfHeap;

/// What updaters know of one slot, under their lock.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct SlotState {
    /// Growths that have a share in the slot. At zero the entry goes, unless it is the kernel's for ever.
    pub(super) shares: usize,
    /// The entry came with the boot tables.
    pub(super) permanent: bool,
    /// The generation of the last store.
    pub(super) changed_at: u64,
    /// CPUs may translate through an entry that the slot held before.
    pub(super) flush_due: bool,
}

/// Makes the states of `slots` slots.
pub(super) fn states(slots: usize) -> Result<Vec<SlotState>, OutOfHeap> {
    let mut states = Vec::new();
    states
        .try_reserve_exact(slots)
        .map_err(|_| OutOfHeap { bytes: slots * size_of::<SlotState>() })?;
    states.resize(slots, SlotState::default());
    Ok(states)
}
