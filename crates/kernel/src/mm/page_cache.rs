//! Pages of the initramfs that programs have mapped, kept for the next ones: the text of a program is in memory once.
//!
//! Files lie in the archive at any address, and a page needs a frame, so the first mapping of a page copies it. The
//! copy is kept by where its bytes lie in the archive, which never change; a file that has been written to is no
//! longer the archive's (`Inode::archive_bytes`), and its pages are copied for each address space.

use super::page_frames::{PAGE_FRAMES, PageFrames};
use crate::cpu::local::Padded;
use crate::layout::PAGE_SIZE;
use alloc::collections::BTreeMap;
use kernel_sync::Mutex;
use kernel_sync::atomic::{AtomicUsize, Ordering};
use mm_generic::counted_frame::CountedFrame;

/// Address and number of the bytes, in the archive.
type Key = (usize, usize);

type Pages = BTreeMap<Key, CountedFrame<PageFrames>>;

/// Parts with a lock each: programs on all processors come here.
const PARTS: usize = 16;

static CACHE: [Padded<Mutex<Pages>>; PARTS] =
    [const { Padded(Mutex::new(BTreeMap::new())) }; PARTS];

/// Frames in the cache.
static LEN: AtomicUsize = AtomicUsize::new(0);

/// Where to look for `bytes`, and what for.
fn place(bytes: &'static [u8]) -> (&'static Mutex<Pages>, Key) {
    let key = (bytes.as_ptr().addr(), bytes.len());
    (&CACHE[key.0 / PAGE_SIZE as usize % PARTS].0, key)
}

/// Returns the frame that [`page`] would, if it is there already.
pub fn peek(bytes: &'static [u8]) -> Option<CountedFrame<PageFrames>> {
    let (part, key) = place(bytes);
    part.lock().get(&key).cloned()
}

/// Returns a frame that begins with `bytes`, which lie in the archive, and has zeros behind them; `None` when there
/// is no frame for it.
pub fn page(bytes: &'static [u8]) -> Option<CountedFrame<PageFrames>> {
    let (part, key) = place(bytes);
    let mut pages = part.lock();
    if let Some(frame) = pages.get(&key) {
        return Some(frame.clone());
    }
    let mut frame = CountedFrame::alloc(&PAGE_FRAMES).ok()?;
    frame.bytes()?[..bytes.len()].copy_from_slice(bytes);
    pages.insert(key, frame.clone());
    LEN.fetch_add(1, Ordering::Relaxed);
    Some(frame)
}

/// Returns the number of frames that are kept.
#[must_use]
pub fn len() -> usize {
    LEN.load(Ordering::Relaxed)
}

/// Gives back the frames that no program has mapped: for when there are no others.
pub fn shrink() {
    for part in &CACHE {
        part.0.lock().retain(|_, frame| {
            // One that is mapped meanwhile keeps its frame; this cache forgets it.
            let is_mapped = frame.is_shared();
            if !is_mapped {
                LEN.fetch_sub(1, Ordering::Relaxed);
            }
            is_mapped
        });
    }
}
