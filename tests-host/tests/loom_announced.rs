//! Announced roots under loom: a page that is taken away is not given back while a CPU has it cached.
//!
//! Two threads, every interleaving. CPU B goes from one mm through another, whose page is taken away, to a third.
#![cfg(loom)]

use std::sync::Arc;

use kernel_sync::atomic::{AtomicU64, Ordering};
use kernel_sync::explore;
use loom::thread;
use mm_generic::announced::{AnnouncedRoot, EntriesChanged};
use mm_generic::frames::Frame;

struct World {
    announced: AnnouncedRoot,
    /// Stands for B's `LoadedMm`: the root of the mm that it names.
    loaded: AtomicU64,
    /// The entry of the page.
    entry: AtomicU64,
    /// What is in the page's frame.
    page: AtomicU64,
}

const MAPPED: u64 = 1;
const LIVE: u64 = 7;

fn root(number: u64) -> Frame {
    Frame::at(number << 12).expect("a page")
}

#[test]
fn a_page_that_a_cpu_may_have_cached_is_flushed_before_it_is_free() {
    let [from, through, to] = [1, 2, 3].map(root);
    explore(None, move || {
        let world = Arc::new(World {
            announced: AnnouncedRoot::new(),
            loaded: AtomicU64::new(from.phys()),
            entry: AtomicU64::new(MAPPED),
            page: AtomicU64::new(LIVE),
        });
        world.announced.announce(from);
        let other = Arc::clone(&world);
        let switches = thread::spawn(move || {
            other.announced.announce(through);
            // Relaxed: the MMU walks.
            let is_cached = other.entry.load(Ordering::Relaxed) == MAPPED;
            other.loaded.store(through.phys(), Ordering::Release);
            other.announced.announce(to);
            // Still on the PGD in the middle.
            if is_cached {
                assert_eq!(other.page.load(Ordering::Relaxed), LIVE, "free, and still cached");
            }
            // Off it: CR3 has been loaded.
            other.loaded.store(to.phys(), Ordering::Release);
        });
        world.entry.store(0, Ordering::Relaxed);
        let changed = EntriesChanged::before_looks();
        // Acquire, as `LoadedMm::get` is.
        let is_loaded = || world.loaded.load(Ordering::Acquire) == through.phys();
        if !world.announced.may_translate(through, &changed, is_loaded) {
            world.page.store(0, Ordering::Relaxed);
        }
        switches.join().expect("no panic");
    });
}
