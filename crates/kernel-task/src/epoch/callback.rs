//! A closure without a heap allocation, if it is small.
//!
//! `call_rcu` is called to free memory, often because there is none; a box for every callback would
//! be the wrong price. Nearly all callbacks capture one pointer.

use alloc::boxed::Box;
use core::mem::{MaybeUninit, align_of, size_of};

/// Room for what a closure captures.
type Captured = MaybeUninit<[usize; 3]>;

/// Closure to be called once, on any CPU. Dropping it uncalled leaks what it captured.
///
/// INVARIANT: `captured` holds what `call` expects: an `F`, or, if `F` does not fit, a `Box<F>`, where
/// `F` is the closure type that `call` is an instance for, and is `Send`.
pub(super) struct Callback {
    call: unsafe fn(Captured),
    captured: Captured,
}

// SAFETY: by the invariant what is captured is `Send`, and nothing else is in it.
unsafe impl Send for Callback {}

impl Callback {
    /// Wraps up `closure`. Allocates if it captures more than three words.
    pub(super) fn new<F: FnOnce() + Send + 'static>(closure: F) -> Self {
        // INVARIANT: each function is paired with what it takes out.
        if fits::<F>() {
            Self { call: call::<F>, captured: store(closure) }
        } else {
            Self { call: call_boxed::<F>, captured: store(Box::new(closure)) }
        }
    }

    /// Calls the closure.
    pub(super) fn run(self) {
        // SAFETY: the invariant; and `self` is consumed, so the closure is taken out once.
        unsafe { (self.call)(self.captured) }
    }
}

/// Says whether a `V` can be captured in place.
const fn fits<V>() -> bool {
    size_of::<V>() <= size_of::<Captured>() && align_of::<V>() <= align_of::<Captured>()
}

fn store<V>(value: V) -> Captured {
    assert!(fits::<V>(), "a box fits, and the rest was checked");
    let mut captured = Captured::uninit();
    // SAFETY: size and alignment were checked.
    unsafe { captured.as_mut_ptr().cast::<V>().write(value) };
    captured
}

/// # Safety
///
/// `captured` holds a `V`, which is not used again.
unsafe fn load<V>(captured: &Captured) -> V {
    // SAFETY: the caller's promise; what was stored there was aligned, and so is every `Captured`.
    unsafe { captured.as_ptr().cast::<V>().read() }
}

/// # Safety
///
/// `captured` holds an `F`, which is not used again.
unsafe fn call<F: FnOnce()>(captured: Captured) {
    // SAFETY: the caller's promise.
    let closure = unsafe { load::<F>(&captured) };
    closure();
}

/// # Safety
///
/// `captured` holds a `Box<F>`, which is not used again.
unsafe fn call_boxed<F: FnOnce()>(captured: Captured) {
    // SAFETY: the caller's promise.
    let closure = unsafe { load::<Box<F>>(&captured) };
    closure();
}

#[cfg(all(test, not(loom)))]
mod tests {
    use alloc::sync::Arc;

    use super::{Callback, fits};

    /// Runs a callback that captures `captured` beside a counted reference, and checks that the
    /// reference is neither lost nor dropped twice.
    fn runs_and_drops<C: Copy + PartialEq + Send + 'static>(captured: C, in_place: bool) {
        fn fits_value<V>(_: &V) -> bool {
            fits::<V>()
        }
        let count = Arc::new(());
        let held = Arc::clone(&count);
        let ran = Arc::new(core::sync::atomic::AtomicBool::new(false));
        let flag = Arc::clone(&ran);
        let closure = move || {
            let _held = held;
            let again = captured;
            flag.store(again == captured, core::sync::atomic::Ordering::Relaxed);
        };
        assert_eq!(fits_value(&closure), in_place);
        let callback = Callback::new(closure);
        assert_eq!(Arc::strong_count(&count), 2);
        callback.run();
        assert!(ran.load(core::sync::atomic::Ordering::Relaxed));
        assert_eq!(Arc::strong_count(&count), 1);
    }

    #[test]
    fn closures_of_all_sizes_run_once_and_drop_what_they_captured() {
        runs_and_drops((), true);
        runs_and_drops(7_u8, true);
        runs_and_drops(7_usize, true);
        runs_and_drops([1_usize, 2], false);
        runs_and_drops([7_u64; 64], false);
        #[derive(Clone, Copy, PartialEq)]
        #[repr(align(64))]
        struct Aligned(u8);
        runs_and_drops(Aligned(3), false);
    }
}
