//! Object caches: memory is used again, comes home, and is bounded.
#![cfg(not(loom))]

use std::cell::Cell;
use std::sync::Arc;

use kernel_sync::{ArcCache, Callback, Rcu, RcuArc};

/// Grace periods of no length: nobody looks.
struct AtOnce;

// SAFETY: the tests have no sections.
unsafe impl Rcu for AtOnce {
    type Guard = ();

    fn read_lock() {}

    fn call_rcu(callback: Callback) {
        callback.run();
    }
}

thread_local!(static CPU: Cell<usize> = const { Cell::new(0) });

fn cache<T: Send + Sync>() -> &'static ArcCache<T> {
    Box::leak(Box::new(ArcCache::try_new(2, 4, || CPU.get()).expect("heap")))
}

fn make<T: Send + Sync>(value: T, cache: &'static ArcCache<T>) -> RcuArc<T, AtOnce> {
    RcuArc::try_new_in(value, Some(cache)).expect("heap")
}

#[test]
fn memory_is_used_again_and_holds_what_it_was_given() {
    let cache = cache();
    let first = make(1_u64, cache);
    let place = &raw const *first;
    drop(first);
    assert_eq!(cache.kept(), 1);
    let second = make(2_u64, cache);
    assert_eq!((&raw const *second, *second, cache.kept()), (place, 2, 0));
}

#[test]
fn an_object_is_dropped_when_its_memory_is_kept() {
    let (cache, counted) = (cache(), Arc::new(()));
    drop(make(Arc::clone(&counted), cache));
    assert_eq!((Arc::strong_count(&counted), cache.kept()), (1, 1));
}

#[test]
fn more_than_there_is_room_for_goes_to_the_heap() {
    let cache = cache();
    let objects: Vec<_> = (0..40_u32).map(|number| make(number, cache)).collect();
    drop(objects);
    // A stack of four, and the depot, which holds as much for each CPU.
    assert_eq!(cache.kept(), 4 + 8);
    assert_eq!((cache.shrink(), cache.kept()), (12, 0));
}

#[test]
fn memory_comes_home_wherever_the_last_reference_goes() {
    let cache = cache();
    let object = make(7_u8, cache);
    std::thread::spawn(move || {
        CPU.set(1);
        drop(object);
    })
    .join()
    .expect("no panic");
    assert_eq!(cache.kept(), 1);
}

#[test]
fn objects_of_no_cache_and_of_one_lie_on_lines_of_their_own() {
    let cache = cache();
    let objects = [make(1_u8, cache), make(2, cache), RcuArc::try_new(3).expect("heap")];
    let mut lines = objects.each_ref().map(|object| (&raw const **object).addr() / 128);
    lines.sort_unstable();
    assert!(lines[0] < lines[1] && lines[1] < lines[2], "{lines:?}");
}
