//! A box that can be refused.

use alloc::alloc::{Layout, alloc};
use alloc::boxed::Box;
use core::ptr::NonNull;

/// The heap had no room for an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutOfHeap {
    /// Bytes that were asked for.
    pub bytes: usize,
}

impl core::fmt::Display for OutOfHeap {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "out of heap memory: {} bytes were asked for", self.bytes)
    }
}

impl core::error::Error for OutOfHeap {}

/// Moves `value` to the heap. (`Box::try_new` is not stable.)
///
/// # Errors
///
/// [`OutOfHeap`]; `value` is dropped.
pub fn try_box<T>(value: T) -> Result<Box<T>, OutOfHeap> {
    const { assert!(size_of::<T>() > 0, "nothing is to be allocated") };
    let layout = Layout::new::<T>();
    // SAFETY: the layout is not empty.
    let memory = unsafe { alloc(layout) }.cast::<T>();
    let memory = NonNull::new(memory).ok_or(OutOfHeap { bytes: layout.size() })?;
    // SAFETY: freshly allocated by the global allocator for exactly this type, and given a value before it is a box.
    unsafe {
        memory.write(value);
        Ok(Box::from_raw(memory.as_ptr()))
    }
}
