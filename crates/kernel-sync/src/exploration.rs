//! How a model is explored, and how far that went. In builds for the model checker only.

use core::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Explores `model` in all interleavings up to `preemptions` preemptive switches (`None`: all of them), and prints how many executions
/// that took.
///
/// # Panics
///
/// When an execution fails; prints which one.
pub fn explore(preemptions: Option<usize>, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    builder.max_branches = 100_000;
    let executions = Executions::default();
    let counter = Arc::clone(&executions.0);
    builder.check(move || {
        counter.fetch_add(1, Ordering::Relaxed);
        model();
    });
    println!("{executions} executions");
}

/// The executions of a model so far; says in which one it failed. Not the checker's atomic: it is no part of the model.
///
/// A clone of the count goes into the model, and may never be dropped: the checker leaks the threads of an execution that fails.
#[derive(Default)]
struct Executions(Arc<AtomicUsize>);

impl fmt::Display for Executions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.load(Ordering::Relaxed).fmt(f)
    }
}

impl Drop for Executions {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // Read by `cargo xtask mutation`.
            println!("failed in execution {self}");
        }
    }
}
