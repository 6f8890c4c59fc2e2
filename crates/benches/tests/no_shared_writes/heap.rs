//! A heap that can put what is allocated during a call into pages that hold nothing else.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ops::Range;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

#[global_allocator]
static HEAP: Heap = Heap { next: AtomicUsize::new(0), end: AtomicUsize::new(0) };

thread_local! {
    /// Whether this thread's allocations go into pages of their own.
    static APART: Cell<bool> = const { Cell::new(false) };
}

/// Address space for everything that is set apart in this process. It is never given back.
const ARENA: usize = 1 << 20;

const PAGE: usize = 4096;

/// The system's heap, and beside it an arena that only grows.
struct Heap {
    /// Next free byte of the arena; 0 before there is one.
    next: AtomicUsize,
    /// End of the arena.
    end: AtomicUsize,
}

impl Heap {
    /// Takes `len` bytes of the arena, at a multiple of `align`.
    fn take(&self, len: usize, align: usize) -> *mut u8 {
        let mut at = 0;
        let taken = self.next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |next| {
            at = next.next_multiple_of(align);
            (next != 0 && at + len <= self.end.load(Ordering::Relaxed)).then_some(at + len)
        });
        if taken.is_ok() { ptr::with_exposed_provenance_mut(at) } else { ptr::null_mut() }
    }

    /// Makes the arena, if there is none yet.
    fn prepare(&self) {
        static ONCE: std::sync::Once = std::sync::Once::new();
        ONCE.call_once(|| {
            let (rights, kind) =
                (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
            // SAFETY: new memory, wherever there is room.
            let arena = unsafe { libc::mmap(ptr::null_mut(), ARENA, rights, kind, -1, 0) };
            assert_ne!(arena, libc::MAP_FAILED, "a megabyte of address space");
            let start = arena.expose_provenance();
            self.end.store(start + ARENA, Ordering::Relaxed);
            self.next.store(start, Ordering::Release);
        });
    }

    fn is_apart(&self, memory: *mut u8) -> bool {
        let end = self.end.load(Ordering::Relaxed);
        (end.saturating_sub(ARENA)..end).contains(&memory.addr())
    }
}

// SAFETY: the system's heap keeps the promises; the arena hands out each byte once, aligned, within its bounds.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if APART.get() {
            return self.take(layout.size(), layout.align());
        }
        // SAFETY: the caller's promises are the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        if !self.is_apart(memory) {
            // SAFETY: the caller's promises are the same, and the memory came from there.
            unsafe { System.dealloc(memory, layout) };
        }
    }
}

/// Calls `make`, and returns its value with the pages that hold all heap memory it allocated, and nothing else.
pub(crate) fn in_own_pages<T>(make: impl FnOnce() -> T) -> (T, Range<usize>) {
    HEAP.prepare();
    let start = HEAP.take(0, PAGE).addr();
    APART.set(true);
    let value = make();
    APART.set(false);
    let end = HEAP.take(0, PAGE).addr();
    assert!(start < end, "something was allocated");
    (value, start..end)
}
