//! The counted reference under loom: what every holder did happens before the object is dropped, whoever is last.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p kernel-sync --release --test rcu_arc_loom`
#![cfg(loom)]

use std::ptr::NonNull;
use std::sync::Arc;

use kernel_sync::{Callback, Rcu, RcuArc};
use loom::cell::UnsafeCell;
use loom::thread;

/// A domain without sections: every grace period is over at once. It orders nothing, so what the count does not order is not ordered.
struct Immediate;

// SAFETY: no model has a reader that relies on a section, but for `try_from_found`'s, which holds a reference.
unsafe impl Rcu for Immediate {
    type Guard = ();

    fn read_lock() {}

    fn call_rcu(callback: Callback) {
        callback.run();
    }
}

/// An object that its holders read and that is written to when it goes. loom fails where the two are not ordered.
struct Watched(UnsafeCell<bool>);

// SAFETY: loom watches the accesses.
unsafe impl Sync for Watched {}
// SAFETY: as above.
unsafe impl Send for Watched {}

impl Watched {
    fn new() -> RcuArc<Self, Immediate> {
        RcuArc::try_new(Self(UnsafeCell::new(true))).expect("heap")
    }

    fn look(&self) {
        // SAFETY: written to in `drop` alone.
        self.0.with(|alive| assert!(unsafe { *alive }, "looked at after it was dropped"));
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // SAFETY: nobody has a reference any more.
        self.0.with_mut(|alive| unsafe { *alive = false });
    }
}

/// Explores all interleavings.
fn explore(body: impl Fn() + Send + Sync + 'static) {
    kernel_sync::explore(None, body);
}

#[test]
fn what_each_holder_did_happens_before_the_drop() {
    explore(|| {
        let first = Watched::new();
        let other = first.clone();
        let holder = thread::spawn(move || {
            other.look();
            drop(other);
        });
        first.look();
        drop(first);
        holder.join().expect("no panic");
    });
}

/// `kref_get_unless_zero`: a reference that was found is had, or was the last one's and is not had any more.
#[test]
fn a_found_object_is_had_or_gone() {
    explore(|| {
        let first = Watched::new();
        let found = first.clone().into_raw() as usize;
        let finder = thread::spawn(move || {
            let pointer = NonNull::new(found as *mut Watched).expect("an object");
            // SAFETY: from `into_raw`, whose reference is taken up below.
            let own = unsafe { RcuArc::<Watched, Immediate>::try_from_found(pointer, &()) };
            own.expect("the raw reference keeps it").look();
            // SAFETY: the reference of `into_raw`, once.
            drop(unsafe { RcuArc::<Watched, Immediate>::from_raw(pointer.as_ptr()) });
        });
        first.look();
        first.release(Watched::look);
        finder.join().expect("no panic");
    });
}
