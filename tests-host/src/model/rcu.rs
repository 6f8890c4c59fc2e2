//! RCU as its contract says and not a bit more: no fence, no lock that the model could see.
//!
//! A section orders nothing but what the contract promises: it sees what happened before every
//! `call_rcu` whose callback does not wait for it, and what it did happens before the callbacks that do. Without
//! the first half, a section that begins late could still find a pointer that was unlinked and freed before.
//!
//! loom runs all threads of a model on one thread of the host, so a thread-local is the domain of one model.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;

use kernel_sync::atomic::{AtomicUsize, Ordering};
use kernel_sync::{Callback, Rcu};
use mutants::Mutant;

#[derive(Default)]
struct Domain {
    edges: Option<Arc<Edges>>,
    next: u64,
    sections: BTreeSet<u64>,
    waiting: Vec<(BTreeSet<u64>, Callback)>,
    free_early: bool,
}

/// The happens-before edges of the contract. Read-modify-writes see the latest value, as a real
/// implementation's barriers make sure.
struct Edges {
    /// From `call_rcu` to sections that begin later.
    retired: AtomicUsize,
    /// From the end of a section to callbacks.
    ended: AtomicUsize,
}

thread_local! {
    static DOMAIN: RefCell<Domain> = RefCell::default();
}

fn edges() -> Arc<Edges> {
    DOMAIN.with_borrow(|domain| domain.edges.clone().expect("`reset` comes first"))
}

/// Read-copy update of the models.
pub struct ModelRcu;

/// A read-side section.
pub struct ModelGuard {
    section: u64,
    not_send: std::marker::PhantomData<*const ()>,
}

impl ModelRcu {
    /// Forgets the sections and callbacks of an execution that was given up, and sets the mutant.
    pub fn reset(mutant: Option<Mutant>) {
        // Callbacks of an execution that failed must not run in this one.
        let old = DOMAIN.take();
        std::mem::forget(old.waiting);
        DOMAIN.with_borrow_mut(|domain| {
            domain.edges =
                Some(Arc::new(Edges { retired: AtomicUsize::new(0), ended: AtomicUsize::new(0) }));
            domain.free_early = mutant == Some(Mutant::PgdFreedEarly);
        });
    }
}

// SAFETY: a callback waits for every section that was open when it was queued, unless a mutant says otherwise.
unsafe impl Rcu for ModelRcu {
    type Guard = ModelGuard;

    fn read_lock() -> ModelGuard {
        edges().retired.fetch_add(0, Ordering::Acquire);
        DOMAIN.with_borrow_mut(|domain| {
            let section = domain.next;
            domain.next += 1;
            domain.sections.insert(section);
            ModelGuard { section, not_send: std::marker::PhantomData }
        })
    }

    fn call_rcu(callback: Callback) {
        edges().retired.fetch_add(0, Ordering::Release);
        let now = DOMAIN.with_borrow_mut(|domain| {
            if domain.sections.is_empty() || domain.free_early {
                return Some(callback);
            }
            let sections = domain.sections.clone();
            domain.waiting.push((sections, callback));
            None
        });
        // Outside of the borrow: the callback is the product's code, and loom may switch threads in it.
        if let Some(callback) = now {
            edges().ended.fetch_add(0, Ordering::Acquire);
            callback.run();
        }
    }
}

impl Drop for ModelGuard {
    fn drop(&mut self) {
        edges().ended.fetch_add(0, Ordering::Release);
        let ready = DOMAIN.with_borrow_mut(|domain| {
            domain.sections.remove(&self.section);
            for (sections, _) in &mut domain.waiting {
                sections.remove(&self.section);
            }
            let (ready, waiting) = std::mem::take(&mut domain.waiting)
                .into_iter()
                .partition(|(sections, _)| sections.is_empty());
            domain.waiting = waiting;
            let ready: Vec<(BTreeSet<u64>, Callback)> = ready;
            ready
        });
        for (_, callback) in ready {
            edges().ended.fetch_add(0, Ordering::Acquire);
            callback.run();
        }
    }
}
