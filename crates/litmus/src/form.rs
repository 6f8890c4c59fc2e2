//! The forms that are raced: a test with certain barriers, and what must come of it.

use serde::Serialize;

use crate::barrier::{
    AcquireRelease, Both, Full, Lock, LockedWord, MemoryFence, None, OnSide, StoreFence,
};
use crate::race::{Counted, Race, Shape, race};
use crate::shapes::{ExchangeBuffering, GateRace, LoadBuffering, MessagePassing, StoreBuffering};

/// What must come of a form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Expectation {
    /// Every x86 processor shows it, given time.
    Seen,
    /// The barriers forbid it.
    Never,
    /// C11 allows it and no x86 processor does it: a barrier against it could not be seen to be missing here.
    NeverOnX86,
}

impl Expectation {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Seen => "some",
            Self::Never => "none",
            Self::NeverOnX86 => "none on x86",
        }
    }
}

/// A form.
pub(crate) struct Form {
    pub(crate) name: &'static str,
    pub(crate) expectation: Expectation,
    pub(crate) run: fn(&Race) -> Counted,
}

const fn form<S: Shape>(name: &'static str, expectation: Expectation) -> Form {
    Form { name, expectation, run: race::<S> }
}

pub(crate) const FORMS: &[Form] = &[
    form::<StoreBuffering<Both<None>>>("store buffering, no barrier", Expectation::Seen),
    form::<StoreBuffering<Both<AcquireRelease>>>(
        "store buffering, acquire-release fences",
        Expectation::Seen,
    ),
    form::<StoreBuffering<Both<StoreFence>>>(
        "store buffering, sfence (the 2015 patch's smp_wmb)",
        Expectation::Seen,
    ),
    form::<StoreBuffering<OnSide<0, Full>>>(
        "store buffering, a full barrier on one side only",
        Expectation::Seen,
    ),
    form::<StoreBuffering<OnSide<1, Full>>>(
        "store buffering, a full barrier on the other side only",
        Expectation::Seen,
    ),
    form::<StoreBuffering<Both<Full>>>(
        "store buffering, fence(SeqCst) on both (smp_mb)",
        Expectation::Never,
    ),
    form::<StoreBuffering<Both<MemoryFence>>>(
        "store buffering, mfence on both",
        Expectation::Never,
    ),
    form::<StoreBuffering<Both<LockedWord>>>(
        "store buffering, a locked instruction on both",
        Expectation::Never,
    ),
    form::<StoreBuffering<Both<Lock>>>(
        "store buffering, a spin lock of its own on both",
        Expectation::Never,
    ),
    form::<ExchangeBuffering>("store buffering, SeqCst stores (xchg)", Expectation::Never),
    form::<GateRace>("the gate of forks and signals to many, as it is", Expectation::Never),
    form::<MessagePassing<true>>("message passing, release and acquire", Expectation::Never),
    form::<MessagePassing<false>>("message passing, relaxed", Expectation::NeverOnX86),
    form::<LoadBuffering>("load buffering, relaxed", Expectation::NeverOnX86),
];
