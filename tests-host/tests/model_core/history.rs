//! What can happen to a kernel.

use std::ops::Range;

use proptest::prelude::*;

/// One event. Indices are taken modulo what there is to choose from.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    /// The kernel half grows by a page in each of these slots.
    Grow(Range<usize>),
    /// A thread forks.
    Fork { who: usize },
    /// A thread makes a process on its own mm.
    Vfork { who: usize },
    /// A thread makes a thread.
    Thread { who: usize },
    /// A thread runs on a CPU and execs there.
    Exec { who: usize, cpu: usize },
    /// A thread exits, wherever it is loaded.
    Exit { who: usize },
    /// A CPU switches to a thread.
    Switch { cpu: usize, who: usize },
    /// A CPU goes to the reference PGD.
    Leave { cpu: usize },
    /// A driver takes a share in a thread's mm.
    Hold { who: usize },
    /// The driver drops a share.
    Release,
    /// The driver's kernel thread works in an mm that it holds, on a CPU.
    Attach { cpu: usize },
    /// It ends that. The CPU keeps the mm, lazily.
    Detach,
    /// A thread stores to its memory.
    Store { who: usize, page: u64, value: u8 },
}

/// An event, and another one in the middle of it: where, and which.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) op: Op,
    pub(crate) meanwhile: Option<(usize, Op)>,
}

fn grow() -> impl Strategy<Value = Op> {
    (0..6usize, 1..4usize).prop_map(|(first, len)| Op::Grow(first..first + len))
}

fn op() -> impl Strategy<Value = Op> {
    let (who, cpu) = (0..64usize, 0..4usize);
    prop_oneof![
        4 => grow(),
        4 => who.clone().prop_map(|who| Op::Fork { who }),
        2 => who.clone().prop_map(|who| Op::Vfork { who }),
        2 => who.clone().prop_map(|who| Op::Thread { who }),
        3 => (who.clone(), cpu.clone()).prop_map(|(who, cpu)| Op::Exec { who, cpu }),
        4 => who.clone().prop_map(|who| Op::Exit { who }),
        5 => (cpu.clone(), who.clone()).prop_map(|(cpu, who)| Op::Switch { cpu, who }),
        2 => cpu.clone().prop_map(|cpu| Op::Leave { cpu }),
        2 => who.clone().prop_map(|who| Op::Hold { who }),
        1 => Just(Op::Release),
        3 => cpu.prop_map(|cpu| Op::Attach { cpu }),
        2 => Just(Op::Detach),
        3 => (who, 0..4u64, 1..=u8::MAX)
            .prop_map(|(who, page, value)| Op::Store { who, page, value }),
    ]
}

/// Anything may happen during a growth, and a growth during anything.
pub(crate) fn step() -> impl Strategy<Value = Step> {
    let at = 0..8usize;
    prop_oneof![
        2 => op().prop_map(|op| Step { op, meanwhile: None }),
        1 => (grow(), at.clone(), op())
            .prop_map(|(op, at, other)| Step { op, meanwhile: Some((at, other)) }),
        1 => (op(), at, grow()).prop_map(|(op, at, other)| Step { op, meanwhile: Some((at, other)) }),
    ]
}
