//! The task list is walked inside a read-side section, and the guard is the evidence; a lock is none (review of the 2015 patch).
use kernel_sync::Mutex;
use mm_generic::kernel::Kernel;
use mm_generic::walk::Walkers;

fn walk_under_a_lock<K: Kernel>(walkers: &K::Walkers, pgd_lock: &Mutex<()>) {
    let guard = pgd_lock.lock();
    walkers.for_each_published(&guard, &mut |_| {});
}

fn main() {}
