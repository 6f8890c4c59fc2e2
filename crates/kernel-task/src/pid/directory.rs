//! Where the chunks are: made on demand, found by index, summarised for walkers.
//!
//! A segment is an array of chunks that is allocated when the first pid in it is wanted and freed
//! with the table: 64 chunks, 40 KiB, 4096 pids. At the largest limit an untouched table costs
//! 16 KiB: 1024 pointers and 1024 words of summary. Finding a pid's slot is one load (the segment)
//! and an index.
//!
//! The summary has one word per segment, one bit per chunk, set while the chunk may hold a task. It
//! is an array of its own: the pointers are read by every fork and written once in the life of the
//! table, and must not share a line with words that change.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::marker::PhantomData;
use core::ptr;

use kernel_sync::Rcu;
use kernel_sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use super::chunk::{CHUNK_PIDS, Chunk, FULL, Place};
use super::error::PidError;

/// Chunks per segment, and so bits per word of the summary. Two in the model checker.
const SEGMENT_CHUNKS: usize = if cfg!(loom) { 2 } else { 64 };

const _: () = assert!(SEGMENT_CHUNKS <= 64, "a segment has one word of summary");

/// The chunks of one table.
pub(super) struct Directory<T: Send + Sync + 'static, R: Rcu> {
    /// INVARIANT: null, or from `Box::into_raw` of a boxed slice of [`SEGMENT_CHUNKS`] chunks. Goes
    /// from null to that once and stays until the directory is dropped.
    segments: Box<[AtomicPtr<Chunk<T, R>>]>,
    summary: Box<[AtomicU64]>,
    /// One above the largest pid.
    limit: u32,
    owns: PhantomData<Chunk<T, R>>,
}

impl<T: Send + Sync + 'static, R: Rcu> Directory<T, R> {
    /// Makes a directory for the pids below `limit`, without any chunk.
    ///
    /// # Errors
    ///
    /// [`PidError::NoMemory`] if there is none for the pointers and the summary.
    pub(super) fn new(limit: u32) -> Result<Self, PidError> {
        let segments = chunks_below(limit).div_ceil(SEGMENT_CHUNKS);
        Ok(Self {
            segments: boxed_slice(segments, || AtomicPtr::new(ptr::null_mut()))?,
            summary: boxed_slice(segments, || AtomicU64::new(0))?,
            limit,
            owns: PhantomData,
        })
    }

    /// Returns one above the largest pid.
    pub(super) fn limit(&self) -> u32 {
        self.limit
    }

    /// Returns how many chunks the limit makes.
    pub(super) fn chunks(&self) -> usize {
        chunks_below(self.limit)
    }

    /// Returns the chunk with this index if its segment was ever needed.
    pub(super) fn find(&self, index: usize) -> Option<Place<'_, T, R>> {
        // Acquire: the chunks are seen initialised.
        let first = self.segments.get(index / SEGMENT_CHUNKS)?.load(Ordering::Acquire);
        if first.is_null() {
            return None;
        }
        // SAFETY: the invariant: `first` points to SEGMENT_CHUNKS chunks that live as long as
        // `self`, shared from the moment they were published; the offset is below that number.
        let chunk = unsafe { &*first.add(index % SEGMENT_CHUNKS) };
        Some(Place::new(
            chunk,
            &self.summary[index / SEGMENT_CHUNKS],
            1 << (index % SEGMENT_CHUNKS),
            empty(index, self.limit),
        ))
    }

    /// Returns the chunk with this index, which is below [`Directory::chunks`]; makes its segment if
    /// need be.
    ///
    /// # Errors
    ///
    /// [`PidError::NoMemory`] if there is none for the segment. Nothing was changed then.
    pub(super) fn find_or_make(&self, index: usize) -> Result<Place<'_, T, R>, PidError> {
        if let Some(place) = self.find(index) {
            return Ok(place);
        }
        let fresh: *mut [Chunk<T, R>] = Box::into_raw(boxed_slice(SEGMENT_CHUNKS, Chunk::new)?);
        // INVARIANT: from null to a boxed slice of the right length.
        // Release: the chunks are seen initialised. Not acquire: `find` loads again.
        let made = self.segments[index / SEGMENT_CHUNKS].compare_exchange(
            ptr::null_mut(),
            fresh.cast(),
            Ordering::Release,
            Ordering::Relaxed,
        );
        if made.is_err() {
            // SAFETY: from `into_raw` above, and the exchange that would have shared it failed.
            drop(unsafe { Box::from_raw(fresh) });
        }
        Ok(self.find(index).expect("a segment once made stays"))
    }

    /// Calls `visit` with every chunk in the summary.
    pub(super) fn for_each_listed<'a>(&'a self, mut visit: impl FnMut(Place<'a, T, R>)) {
        for (segment, word) in self.summary.iter().enumerate() {
            // Acquire: the segment was made before its first bit was set.
            let mut listed = word.load(Ordering::Acquire);
            while listed != 0 {
                let index = segment * SEGMENT_CHUNKS + listed.trailing_zeros() as usize;
                visit(self.find(index).expect("a listed chunk has a segment"));
                listed &= listed - 1;
            }
        }
    }

    /// Returns the words of the summary, for the test that proves forks leave them alone.
    #[cfg(all(test, not(loom)))]
    pub(super) fn summary(&self) -> Vec<u64> {
        self.summary.iter().map(|word| word.load(Ordering::Relaxed)).collect()
    }
}

impl<T: Send + Sync + 'static, R: Rcu> Drop for Directory<T, R> {
    fn drop(&mut self) {
        for segment in &self.segments {
            let first = segment.load(Ordering::Relaxed);
            if !first.is_null() {
                let chunks = ptr::slice_from_raw_parts_mut(first, SEGMENT_CHUNKS);
                // SAFETY: the invariant gives origin and length; `&mut self` means no `Place` is
                // left. The slots drop what they own.
                drop(unsafe { Box::from_raw(chunks) });
            }
        }
    }
}

/// Returns how many chunks it takes to cover pids `0..limit`.
fn chunks_below(limit: u32) -> usize {
    limit.div_ceil(CHUNK_PIDS) as usize
}

/// Returns the bits of chunk `index` that are no pids: pid 0, and pids of `limit` or more.
fn empty(index: usize, limit: u32) -> u64 {
    let first = u32::try_from(index).map_or(limit, |index| index.saturating_mul(CHUNK_PIDS));
    let below = limit.saturating_sub(first);
    let beyond = if below < CHUNK_PIDS { FULL << below & FULL } else { 0 };
    beyond | u64::from(index == 0)
}

/// Allocates a slice or says that there is no memory, where `Box` would abort the kernel.
pub(super) fn boxed_slice<V>(
    len: usize,
    mut make: impl FnMut() -> V,
) -> Result<Box<[V]>, PidError> {
    let mut slice = Vec::new();
    slice
        .try_reserve_exact(len)
        .map_err(|_| PidError::NoMemory { bytes: len.saturating_mul(size_of::<V>()) })?;
    slice.extend((0..len).map(|_| make()));
    Ok(slice.into_boxed_slice())
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{FULL, empty};

    #[test]
    fn pid_zero_and_pids_at_the_limit_are_never_free() {
        assert_eq!(empty(0, 64), 1);
        assert_eq!(empty(0, 2), FULL & !0b10);
        assert_eq!(empty(1, 128), 0);
        assert_eq!(empty(1, 127), 1 << 63);
        assert_eq!(empty(1, 65), FULL & !1);
        assert_eq!(empty(65_535, 4 * 1024 * 1024), 0);
    }
}
