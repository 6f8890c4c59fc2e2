//! A gate that every CPU passes without writing a line of another's, and that somebody closes now and then.
//!
//! Linux's `percpu_rw_semaphore`, which forks pass as readers too (`cgroup_threadgroup_rwsem`).
//!
//! ```text
//! pass (CPU A)                             close (CPU B)
//! p1 inside[A] = true                      c1 closed = true
//! p2 FULL BARRIER                          c2 FULL BARRIER
//! p3 closed? step back, wait, again        c3 wait until inside is false everywhere
//! p4 what is done inside                   c4 what is done while it is closed
//! p5 inside[A] = false                     c5 closed = false
//! ```
//!
//! By the barriers p3 sees c1 or c3 sees p1. So p4 has ended before c4 begins and c4 sees it, or begins after c5 and sees c4.

use crate::atomic::{AtomicBool, Ordering};
use crate::{Mutex, cpu_relax, smp_mb};

/// A gate for `CPUS` CPUs.
pub struct Gate<const CPUS: usize> {
    inside: [Line; CPUS],
    is_closed: AtomicBool,
    /// Who closes it takes turns with others.
    closer: Mutex<()>,
}

/// One CPU's word, on lines of its own.
#[repr(align(128))]
struct Line(AtomicBool);

/// As long as this lives, the gate is not closed.
#[must_use = "the gate is passed for as long as this lives"]
pub struct Passage<'a>(&'a AtomicBool);

/// Orders a CPU's announcement before its look at the gate. Partner: `closing_announced_before_look_inside`.
#[inline(always)]
fn passage_announced_before_look_at_gate() {
    #[cfg(loom)]
    if weakened::is(weakened::Barrier::Pass) {
        return crate::atomic::fence(Ordering::AcqRel);
    }
    smp_mb();
}

/// Orders the closing before the look for who is inside. Partner: `passage_announced_before_look_at_gate`.
#[inline(always)]
fn closing_announced_before_look_inside() {
    #[cfg(loom)]
    if weakened::is(weakened::Barrier::Close) {
        return crate::atomic::fence(Ordering::AcqRel);
    }
    smp_mb();
}

impl<const CPUS: usize> Gate<CPUS> {
    /// Makes an open gate.
    #[cfg(not(loom))]
    #[must_use]
    pub const fn new() -> Self {
        Self {
            inside: [const { Line(AtomicBool::new(false)) }; CPUS],
            is_closed: AtomicBool::new(false),
            closer: Mutex::new(()),
        }
    }

    /// Makes an open gate.
    #[cfg(loom)]
    #[must_use]
    pub fn new() -> Self {
        Self {
            inside: core::array::from_fn(|_| Line(AtomicBool::new(false))),
            is_closed: AtomicBool::new(false),
            closer: Mutex::new(()),
        }
    }

    /// Passes on CPU number `cpu`, where nobody else passes before the passage has been dropped; waits while it is closed.
    ///
    /// # Panics
    ///
    /// When `cpu` is not below `CPUS`.
    #[inline]
    pub fn pass(&self, cpu: usize) -> Passage<'_> {
        let inside = &self.inside[cpu].0;
        loop {
            inside.store(true, Ordering::Relaxed);
            passage_announced_before_look_at_gate();
            // Acquire: who finds it open again finds what was done while it was closed.
            if !self.is_closed.load(Ordering::Acquire) {
                return Passage(inside);
            }
            // Relaxed: nothing was done inside; what was done in an earlier passage, the barrier above releases.
            inside.store(false, Ordering::Relaxed);
            while self.is_closed.load(Ordering::Relaxed) {
                cpu_relax();
            }
        }
    }

    /// Runs `f` while nobody is inside. Not on a CPU that is inside: it would wait for itself.
    pub fn closed<R>(&self, f: impl FnOnce() -> R) -> R {
        let _turn = self.closer.lock();
        self.is_closed.store(true, Ordering::Relaxed);
        closing_announced_before_look_inside();
        for Line(inside) in &self.inside {
            // Acquire: what was done inside is seen.
            while inside.load(Ordering::Acquire) {
                cpu_relax();
            }
        }
        let result = f();
        // Release: see `pass`.
        self.is_closed.store(false, Ordering::Release);
        result
    }
}

impl<const CPUS: usize> Default for Gate<CPUS> {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Passage<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// Barriers that the model check weakens, to see that it would notice.
#[cfg(loom)]
pub mod weakened {
    use core::sync::atomic::{AtomicU8, Ordering};

    /// One of the two barriers of a gate.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Barrier {
        /// (p2).
        Pass = 1,
        /// (c2).
        Close,
    }

    /// Not the checker's atomic: set between explorations, and read in them as if it were a constant.
    static WEAKENED: AtomicU8 = AtomicU8::new(0);

    /// Makes one barrier acquire-release only, or none.
    pub fn set(barrier: Option<Barrier>) {
        WEAKENED.store(barrier.map_or(0, |it| it as u8), Ordering::Relaxed);
    }

    pub(super) fn is(barrier: Barrier) -> bool {
        WEAKENED.load(Ordering::Relaxed) == barrier as u8
    }
}
