//! Forks, and signals to many processes at once.
//!
//! `kill(-1, SIGKILL)` visits the processes there are. A child that is published behind the visitor's back, by a parent
//! whom the signal has not reached yet, would get away, and a fork bomb consists of such children. Linux orders the two by
//! `tasklist_lock`, which every fork takes. Here a fork passes a gate, which writes a word of its own processor's, and a signal closes it:
//! a publication either comes before the visit, which finds the child, or after it, and then the fork finds the signal that the parent was sent.
//!
//! Kernel code is not preempted and nothing sleeps inside: the wait is short.

use super::Parts;
use crate::cpu::MAX_CPUS;
use crate::cpu::area::cpu_index;
use kernel_sync::Gate;
use kernel_sync::gate::Passage;

static GATE: Gate<MAX_CPUS> = Gate::new();

/// As long as this lives, no signal to many is on its way.
pub(super) struct Publication(#[expect(dead_code, reason = "held for its drop")] Passage<'static>);

impl Publication {
    /// Begins a publication by the running task, whose parts are `parts`; `None` if a signal came first, which is to be
    /// taken before a child can be made.
    pub(super) fn begin(parts: &Parts) -> Option<Self> {
        let passage = GATE.pass(cpu_index());
        (!parts.has_signal()).then_some(Self(passage))
    }
}

/// Runs `send` while no child is published. Not from an interrupt handler, which may have interrupted a fork.
pub(crate) fn without_publications<R>(send: impl FnOnce() -> R) -> R {
    GATE.closed(send)
}
