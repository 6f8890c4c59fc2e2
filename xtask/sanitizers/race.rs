//! Two threads write one word, and nothing orders them: ThreadSanitizer must say so.

use std::cell::UnsafeCell;

struct Shared(UnsafeCell<u64>);

// SAFETY: none. That is the fault.
unsafe impl Sync for Shared {}

static SHARED: Shared = Shared(UnsafeCell::new(0));

fn main() {
    let threads = [1, 2].map(|value| {
        std::thread::spawn(move || {
            for _ in 0..1000 {
                // SAFETY: none.
                unsafe { SHARED.0.get().write_volatile(value) };
            }
        })
    });
    for thread in threads {
        thread.join().expect("a thread");
    }
}
