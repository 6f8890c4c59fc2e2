//! Which mutant is chosen. Part of a mutated copy, in its lowest crate; no part of the product.
//!
//! The number comes from the environment, once: within a process it is a constant, and to a model checker it is invisible.

extern crate std;

use core::sync::atomic::{AtomicBool, Ordering};
use std::io::Write;
use std::sync::OnceLock;

/// The number of the mutant; 0 for none.
const CHOSEN: &str = "MUTANT";

/// A file to which the number of each mutant is appended whose site is executed.
const REACHED: &str = "MUTANTS_REACHED";

static SITES: [AtomicBool; 4096] = [const { AtomicBool::new(false) }; 4096];

fn chosen() -> usize {
    static NUMBER: OnceLock<usize> = OnceLock::new();
    *NUMBER.get_or_init(|| {
        std::env::var(CHOSEN).map_or(0, |number| number.parse().expect("a mutant's number"))
    })
}

/// Notes that a site has been executed.
fn reach(number: usize) {
    static FILE: OnceLock<Option<std::ffi::OsString>> = OnceLock::new();
    if let Some(path) = FILE.get_or_init(|| std::env::var_os(REACHED))
        && !SITES[number].swap(true, Ordering::Relaxed)
    {
        let mut file =
            std::fs::File::options().append(true).create(true).open(path).expect("a file");
        writeln!(file, "{number}").expect("written");
    }
}

/// Tells whether mutant `number` is the chosen one.
pub fn is(number: usize) -> bool {
    reach(number);
    number == chosen()
}

/// The ordering of an access: `right`, or that of the chosen mutant.
pub fn ordering(right: Ordering, mutants: &[(usize, Ordering)]) -> Ordering {
    let chosen = |&&(number, _): &&(usize, Ordering)| is(number);
    // All of them are reached, chosen or not.
    let found: std::vec::Vec<_> = mutants.iter().filter(chosen).collect();
    found.first().map_or(right, |&&(_, weaker)| weaker)
}
