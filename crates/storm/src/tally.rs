//! What a storm counts.

use std::ops::AddAssign;

use serde::Serialize;

/// Operations done and mistakes seen, by one CPU or by all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Tally {
    /// Processes made by `copy_process`, with a copied or a shared mm.
    pub(crate) forks: u64,
    /// Threads made by `copy_process`.
    pub(crate) threads: u64,
    /// Calls of `exec_mmap`.
    pub(crate) execs: u64,
    /// Tasks that exited, threads included.
    pub(crate) exits: u64,
    /// Calls of `kthread_use_mm`.
    pub(crate) attaches: u64,
    /// Growths of the kernel half.
    pub(crate) growths: u64,
    /// Top-level entries replaced by others.
    pub(crate) replacements: u64,
    /// Replacements that were refused: another range had a share in the slot.
    pub(crate) refused: u64,
    /// Ranges given back.
    pub(crate) reclaims: u64,
    /// Kernel addresses that a CPU resolved through the PGD it had loaded.
    pub(crate) resolved: u64,
    /// Kernel addresses, handed out, that a PGD did not map.
    pub(crate) missed: u64,
    /// Kernel addresses that a PGD, or what a CPU remembered of one, mapped to something else, or still mapped after they were reclaimed.
    pub(crate) stale: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.forks += other.forks;
        self.threads += other.threads;
        self.execs += other.execs;
        self.exits += other.exits;
        self.attaches += other.attaches;
        self.growths += other.growths;
        self.replacements += other.replacements;
        self.refused += other.refused;
        self.reclaims += other.reclaims;
        self.resolved += other.resolved;
        self.missed += other.missed;
        self.stale += other.stale;
    }
}
