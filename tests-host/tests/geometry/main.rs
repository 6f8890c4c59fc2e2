//! Bad input and exhausted frames: a typed error that carries the value, and nothing changed, kept
//! or lost.
#![cfg(not(loom))]

mod exhaustion;
mod high_frames;
#[cfg(feature = "pgd-init-late")]
mod kept;
mod publication;
mod ranges;
mod setup;
mod slots;

use arch_x86::geometry::Geometry;
use hosted::frames::HostFrames;
use tests_host::machine::{Machine, PgdScheme};

/// How frames run out: for good, or once.
const WAYS: [fn(&HostFrames, u64); 2] = [HostFrames::fail_after, HostFrames::fail_once_after];

/// What a failed growth must leave as it is.
#[derive(Debug, PartialEq)]
struct State {
    reference: Vec<u64>,
    mms: Vec<Vec<u64>>,
    stamp: u64,
    populated: usize,
    synced: Vec<bool>,
    allocated: usize,
}

impl State {
    fn of<G: Geometry, A: PgdScheme<G>>(machine: &Machine<G, A>) -> Self {
        let reference = machine.reference();
        Self {
            reference: machine.reference_slots(),
            mms: machine.roots().into_iter().map(|root| machine.slots_of(root)).collect(),
            stamp: reference.stamp().to_u64(),
            populated: reference.populated(),
            synced: (0..reference.len()).map(|slot| reference.is_synced(slot..slot + 1)).collect(),
            allocated: machine.frames().allocated(),
        }
    }
}
