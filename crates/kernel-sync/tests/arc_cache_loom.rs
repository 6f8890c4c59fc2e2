//! Object caches under loom: memory has one owner at a time, and who gets it comes after who had it.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p kernel-sync --release --test arc_cache_loom`
#![cfg(loom)]

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use kernel_sync::{ArcCache, Callback, Rcu, RcuArc};
use loom::cell::UnsafeCell;
use loom::thread;

/// Grace periods of no length: no model has sections, and each object has one reference.
struct AtOnce;

// SAFETY: there are no sections.
unsafe impl Rcu for AtOnce {
    type Guard = ();

    fn read_lock() {}

    fn call_rcu(callback: Callback) {
        callback.run();
    }
}

/// The places that objects have lain in: each has a cell that its objects write, and the checker says when two of them are not in order.
#[derive(Default)]
struct Places(Mutex<HashMap<usize, Arc<Place>>>);

#[derive(Default)]
struct Place {
    written: UnsafeCell<u32>,
    live: AtomicUsize,
}

impl Places {
    /// The place of `object`. No step of the model is taken with the lock held.
    fn of(&self, object: &Object) -> Arc<Place> {
        let addr = std::ptr::from_ref(object).addr();
        Arc::clone(self.0.lock().expect("no panic").entry(addr).or_default())
    }
}

/// What is made and ended.
struct Object(Arc<Places>);

impl Object {
    fn begins(&self) {
        let place = self.0.of(self);
        assert_eq!(place.live.fetch_add(1, Ordering::Relaxed), 0, "two objects in one place");
        // SAFETY: the checker looks whether anybody else is at it.
        place.written.with_mut(|written| unsafe { *written += 1 });
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        let place = self.0.of(self);
        // SAFETY: as above.
        place.written.with_mut(|written| unsafe { *written += 1 });
        assert_eq!(place.live.fetch_sub(1, Ordering::Relaxed), 1, "an object that ended twice");
    }
}

// SAFETY: what it leads to is watched by the checker.
unsafe impl Send for Object {}
// SAFETY: as above.
unsafe impl Sync for Object {}

loom::thread_local!(static CPU: std::cell::Cell<usize> = std::cell::Cell::new(0));

type Cache = &'static ArcCache<Object>;

fn live_and_end(cache: Cache, places: &Arc<Places>) {
    let object = RcuArc::<_, AtOnce>::try_new_in(Object(Arc::clone(places)), Some(cache));
    let object = object.expect("heap");
    object.begins();
}

/// Explores all interleavings, says how many those were, and sees that nothing is kept in the end that was not given back.
fn explore(body: impl Fn(Cache, Arc<Places>) + Send + Sync + 'static) {
    kernel_sync::explore(None, move || {
        let this_cpu = || CPU.with(std::cell::Cell::get);
        let cache = Box::into_raw(Box::new(ArcCache::try_new(2, 2, this_cpu).expect("heap")));
        // SAFETY: it goes at the end of this execution, after every object.
        body(unsafe { &*cache }, Arc::default());
        // SAFETY: from `into_raw`.
        drop(unsafe { Box::from_raw(cache) });
    });
}

/// The second CPU finds the first one's memory in the middle, or on its stack when it steals, or takes its own from the heap.
#[test]
fn memory_that_another_cpu_kept_is_taken_after_it_was_given() {
    explore(|cache, places| {
        let others = Arc::clone(&places);
        let other = thread::spawn(move || {
            CPU.with(|cpu| cpu.set(1));
            live_and_end(cache, &others);
        });
        live_and_end(cache, &places);
        live_and_end(cache, &places);
        other.join().expect("no panic");
        assert!((1..=2).contains(&cache.kept()));
    });
}

/// Two tasks of one CPU, one of which was moved between asking for its number and taking: the same stack.
#[test]
fn two_that_take_from_one_stack_get_memory_of_their_own() {
    explore(|cache, places| {
        live_and_end(cache, &places);
        let others = Arc::clone(&places);
        let other = thread::spawn(move || live_and_end(cache, &others));
        live_and_end(cache, &places);
        other.join().expect("no panic");
        assert!((1..=2).contains(&cache.kept()));
    });
}

#[test]
fn who_gives_memory_back_to_the_heap_takes_none_that_is_in_use() {
    explore(|cache, places| {
        live_and_end(cache, &places);
        let other = thread::spawn(move || cache.shrink());
        live_and_end(cache, &places);
        let shrunk = other.join().expect("no panic");
        assert!(shrunk + cache.kept() >= 1);
    });
}
