//! What the storm counts.

use crate::println;
use kernel_sync::atomic::{AtomicU64, Ordering};

/// A figure.
pub(super) struct Count(AtomicU64);

impl Count {
    pub(super) fn one(&self) {
        self.add(1);
    }

    pub(super) fn add(&self, number: u64) {
        self.0.fetch_add(number, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! figures {
    ($($name:ident = $word:literal;)+) => {
        $(pub(super) static $name: Count = Count(AtomicU64::new(0));)+

        /// Every figure with its name, in the order in which they are printed.
        static ALL: &[(&str, &Count)] = &[$(($word, &$name)),+];
    };
}

figures! {
    FORKS = "forks";
    EXECS = "execs";
    EXITS = "exits";
    ATTACHES = "attaches";
    GROWTHS = "growths";
    RECLAIMS = "reclaims";
    REPLACEMENTS = "replacements";
    SCENES = "scenes";
    DUELS = "duels";
    CHECKS_OWN = "checks_on_own_mm";
    CHECKS_LAZY = "checks_lazy";
    CHECKS_ATTACHED = "checks_attached";
    CHECKS_REFERENCE = "checks_on_reference";
    CHECKS_GONE = "checks_gone";
    PGDS_COMPARED = "pgds_compared";
    SLOTS_COMPARED = "slots_compared";
    LITMUS_ROUNDS = "litmus_rounds";
    LITMUS_PLAIN = "litmus_plain";
    LITMUS_FIRST_GONE = "litmus_first_gone";
    LITMUS_SECOND_GONE = "litmus_second_gone";
    LITMUS_FENCED = "litmus_fenced";
    LITMUS_EXCHANGED = "litmus_exchanged";
    LITMUS_LOADS = "litmus_loads";
    TABLES_TRIED = "tables_tried";
    REMEMBERED_TABLES = "remembered_tables";
    MISSED = "missed";
    STALE = "stale";
    CORRUPTED = "corrupted";
    LEAKED = "leaked";
}

/// Prints all of them in one line, which `xtask` reads.
pub(super) fn print(verdict: &str) {
    crate::print!("storm figures: verdict={verdict}");
    for (name, count) in ALL {
        crate::print!(" {name}={}", count.get());
    }
    println!();
}
